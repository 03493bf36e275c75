"""Everything that is wrong with a target file is said at once, each with its place, and nothing dangerous is done."""

from pathlib import Path

import pytest

from proofload.core.errors import PlanError
from proofload.plan.reader import from_resolved, parse_target, read_target, resolved

GOOD = """\
version: 1
address: http://127.0.0.1:8080
ownership: {token: "${env:OWNER_TOKEN}"}
users: {register: sign_up, login: sign_in}
operations:
  sign_up: {method: POST, path: /users, json: {name: "${name}"}, effect: lasting}
  sign_in: {method: POST, path: /login}
  read: {path: /api/thing, auth: bearer}
policies:
  rate_limit:
    - {limit: 100, window: 60s, probe: read, exempt: [/health]}
"""
ENVIRON = {"OWNER_TOKEN": "s3cret-of-the-owner"}


def refused(text: str) -> str:
    with pytest.raises(PlanError) as caught:
        parse_target(text, "t.yaml", {})
    return str(caught.value)


def test_a_good_file_is_read_with_its_defaults() -> None:
    target = parse_target(GOOD, "t.yaml", ENVIRON)
    (policy,) = target.policies.rate_limit
    assert (policy.limit, policy.window, policy.headers.remaining) == (100, 60_000_000_000, "X-RateLimit-Remaining")
    assert target.operations["read"].name == "read"
    assert target.users is not None
    assert target.users.prefix == "load_test_user_"


def test_what_is_resolved_reads_back_and_holds_no_secret() -> None:
    target = parse_target(GOOD, "t.yaml", ENVIRON)
    content = resolved(target)
    assert "s3cret" not in repr(content) + repr(target)
    assert resolved(from_resolved(content)) == content
    assert from_resolved(content).policies == target.policies


def test_all_problems_are_said_at_once_each_with_its_line() -> None:
    told = refused(
        "version: 1\naddress: http://127.0.0.1:1\noperatoins: {}\noperations: {a: {path: /, metod: GET}}\n"
        "policies:\n  rate_limit:\n    - {limit: x, window: 1 fortnight, probe: a}\n"
    )
    assert "t.yaml:3 operatoins: got the unknown key 'operatoins'" in told
    assert "did you mean operations?" in told
    assert "t.yaml:4 operations.a.metod: got the unknown key 'metod'" in told
    assert "did you mean method?" in told
    assert "t.yaml:7 policies.rate_limit[0].limit: got 'x', expected a valid integer" in told
    assert (
        "t.yaml:7 policies.rate_limit[0].window: got '1 fortnight', expected a duration such as 60s, 250ms or 1m30s; "
        "see docs/target.md" in told
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "t.yaml: got nothing, expected a mapping"),
        ("- a\n", "t.yaml: got a list, expected a mapping"),
        ("a: [1,\nb: 2", "t.yaml:2: got broken YAML"),
        ("version: 1\nversion: 1\n", "t.yaml:2 version: got the key twice"),
        ("version: !!python/object/apply:os.system ['ls']\n", "got the tag tag:yaml.org,2002:python/object"),
        ("version: !mine 1\n", "got the tag !mine"),
        ("&a [*a]", "a document that grows without end"),
        ("{[1]: 2}", "a key that is no plain text"),
        ("version: \x00\n", "expected YAML"),
        (GOOD.replace("probe: read", "probe: raed"), "policies.rate_limit[0].probe: got 'raed', expected one of"),
        (GOOD.replace("login: sign_in", "login: nope"), "users.login: got 'nope'"),
        (GOOD.replace("http://127.0.0.1:8080", "ftp://x"), "expected a URL such as http://127.0.0.1:8080"),
        (GOOD.replace("http://127.0.0.1:8080", "http://u:p@h"), "without user name"),
        (GOOD.replace("{register", "{prefix: admin_, register"), "users.prefix: got 'admin_'"),
        (GOOD, "t.yaml:3 ownership.token: got ${env:OWNER_TOKEN}, which is not set"),
        (GOOD.replace("window: 60s", "window: 60"), "window: got 60, expected a duration such as 60s"),
    ],
)
def test_what_is_wrong_is_said(text: str, told: str) -> None:
    assert told in refused(text)


def test_an_alias_bomb_is_refused_soon() -> None:
    rows = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    rows += [f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 9)}]" for i in range(12)]
    assert "grows without end" in refused("\n".join(rows))


def test_what_is_no_readable_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"name: \xff")
    (tmp_path / "huge.yaml").write_bytes(b"#" * (1 << 21))
    for path, told in (
        (tmp_path / "none.yaml", "no such file or directory"),
        (tmp_path, "is a directory"),
        (tmp_path / "latin.yaml", "no UTF-8"),
        (tmp_path / "huge.yaml", "2097152 bytes"),
    ):
        with pytest.raises(PlanError, match=told):
            read_target(path, {})

"""Everything that is wrong with a target file is said at once, each with its place, and nothing dangerous is done."""

from pathlib import Path

import pytest

from proofload.core.errors import PlanError
from proofload.plan.reader import from_resolved, parse_target, read_target, resolved
from proofload.plan.target import Target

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


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("limit: 100", "limit: yes", "limit: got the truth value True, expected no truth value"),
        ("limit: 100", "limit: 0100", "limit: got '0100', expected a plain decimal number"),
        ("limit: 100", "limit: 1:40", "limit: got '1:40', expected a plain decimal number"),
        ("limit: 100", "limit: .inf", "limit: got '.inf', expected a plain decimal number"),
        ("limit: 100", "limit: 2000000", "limit: got 2000000, expected less than or equal to 1000000"),
        ("limit: 100", "burst: 5, limit: 100", "[0].burst: got a burst for fixed_window"),
        ("limit: 100", "algorithm: gcra, alignment: clock, limit: 9", "[0].alignment: got 'clock' for gcra"),
        ("exempt: [/health]", 'exempt: ["/api/*"]', "[0].probe: got 'read' (/api/thing), which `exempt` lists"),
        ("exempt: [/health]", 'exempt: ["/*"]', "[0].exempt[0]: got '/*', which `applies_to` lists too"),
        ("exempt: [/health]", "applies_to: [/v2/*]", "[0].probe: got 'read' (/api/thing), which `applies_to` leaves"),
        ("probe: read", "probe: sign_in, scope: user", "[0].probe: got 'sign_in' (/login), which no user sends"),
        ("users: {register: sign_up, login: sign_in}", "", "operations.read.auth: got 'bearer', expected users.login"),
        (", login: sign_in}", "}", "users.login: got nothing, expected the operation that logs"),
        ("login: sign_in", "login: read", "users.login: got 'read', which needs a token"),
        ("/login}", "/login, json: {}, body: x}", "operations.sign_in.body: got a `body` beside a `json`"),
        ("/login}", "/login, service: auth}", "operations.sign_in.service: got 'auth', expected one of the services"),
        ("/login}", '/login, headers: {X: "a\\r\\nb"}}', "headers.X: got a control character, expected a value"),
        ("/login}", '/login, headers: {"a b": c}}', "got the header name 'a b', expected a name that HTTP"),
        (
            "/login}",
            "/login, headers: {X-Version: 1}}",
            "headers.X-Version: got 1, expected a valid string; write it in",
        ),
        ("/login}", "/login, headers: {X-Flag: on}}", "headers.X-Flag: got the truth value True"),
        ("/login}", "/login, name: other}", "operations without a name of their own"),
        ("/login}", "/login, keep_body: 7}", "operations.sign_in.keep_body: got 7, expected a valid boolean"),
        ("  sign_in:", "  sign/in:", "operations.sign/in: got the name 'sign/in', expected letters, digits"),
        ("policies:", "sources: [localhost]\npolicies:", "sources[0]: got 'localhost', expected an IP address of this"),
        (
            "policies:",
            "allow: [8.0.0.0/8, x]\npolicies:",
            "t.yaml:9 allow[0]: got '8.0.0.0/8', expected a network of /16",
        ),
        (
            "policies:",
            "allow: [8.0.0.0/8, x]\npolicies:",
            "t.yaml:9 allow[1]: got 'x', expected an IP address or network",
        ),
        (
            "policies:",
            "services: {a: {metrics: 'file:///etc/passwd'}}\npolicies:",
            "got 'file:///etc/passwd', expected a",
        ),
        ("policies:", "faults: {a: {driver: magic}}\npolicies:", "faults.a: got a mapping, expected"),
        ("policies:", "faults: {a: {driver: command, stpo: [x], start: [y]}}\npolicies:", "did you mean stop?"),
        ("policies:", "faults: {a: {stop: [x]}}\npolicies:", "faults.a: got a mapping, expected a `driver`"),
        (
            "policies:",
            "faults: {db: {driver: command, stop: [x], start: [y]}}\npolicies:",
            "faults.db: got 'db', expected",
        ),
        ("policies:", "tls: {key: k.pem}\npolicies:", "tls.key: got a key without a certificate"),
        ("policies:", "tls: {verify: false, ca: ca.pem}\npolicies:", "tls: got certificates for an http address"),
        ("policies:", "<<: {}\npolicies:", "t.yaml:9: got a merge key (<<), expected a name"),
        ("policies:", '"\\e[31m": 1\npolicies:', "got the unknown key '\\x1b[31m'"),
        ("address: http://127.0.0.1:8080", 'address: "http://a\\ud800"', "address: got half of a surrogate pair"),
        ("address: http://127.0.0.1:8080", "address: http://127.0.0.1:99999", "address: got 'http://127.0.0.1:99999'"),
        ("address: http://127.0.0.1:8080", "address: http://127.0.0.1/v1", "without user name, path or query"),
        ('"${env:OWNER_TOKEN}"', "in-the-open", "ownership.token: got a secret as it stands, expected `${env:NAME}`"),
        ('"${env:OWNER_TOKEN}"', '"x${env:OWNER_TOKEN}"', "ownership.token: got a secret as it stands"),
        ('"${env:OWNER_TOKEN}"', '"${file:/no/such/file}"', "ownership.token: got ${file:/no/such/file} (no such file"),
        ("window: 60s", 'window: "${env:WINDOW}"', "[0].window: got what ${env:WINDOW} was filled in with, expected a"),
    ],
)
def test_what_contradicts_itself_or_tricks_the_reader_is_said(old: str, new: str, told: str) -> None:
    assert old in GOOD
    with pytest.raises(PlanError) as caught:
        parse_target(GOOD.replace(old, new), "t.yaml", {**ENVIRON, "WINDOW": "a secret thing"})
    assert told in str(caught.value)
    assert "a secret thing" not in str(caught.value)


BREAKER = """\
version: 1
address: http://127.0.0.1:8080
operations: {ok: {path: /ok, service: a}, bad: {path: /bad, service: b}}
services: {a: {}, b: {}}
policies:
  circuit_breaker:
    - {service: a, operation: ok}
"""


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (", failing_operation: ok}", "failing_operation: got 'ok', the `operation` itself"),
        (", failing_operation: bad}", "failing_operation: got 'bad', which the service b answers"),
        (", ratio: 0.5}", "[0].ratio_window: got nothing beside `ratio`"),
        (", ratio_window: 1s}", "[0].ratio: got nothing beside `ratio_window`"),
        (", status_when_open: 200}", "status_when_open: got 200, expected greater than or equal to 400"),
        ("}\n    - {service: a, operation: ok}", "[1].service: got 'a' a second time"),
        ("}\n    - {service: c, operation: ok}", "[1].service: got 'c', expected one of the services (a, b)"),
        ("}\n  latency: {p90_within: 2s, p99_within: 1s}", "p90_within: got more than p99_within"),
        ("}\n  overload: {operation: ok, health: ok}", "overload.health: got 'ok', the `operation` itself"),
        ("}\n  locks: [{name: a, operation: none}]", "policies.locks[0].operation: got 'none', expected one of"),
    ],
)
def test_promises_that_exclude_one_another_are_said(more: str, told: str) -> None:
    parse_target(BREAKER, "t.yaml", {})
    assert told in refused(BREAKER[:-2] + f"{more}\n")


def test_a_service_may_be_called_like_a_kind_of_fault() -> None:
    told = refused(GOOD + "services: {command: {metricss: x}}\n")
    assert "services.command.metricss: got the unknown key 'metricss'" in told
    assert "did you mean metrics?" in told


def test_every_secret_stays_out_of_what_is_written_down(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from-the-file\n")
    text = GOOD.replace("${env:OWNER_TOKEN}", f"${{file:{tmp_path / 'token'}}}").replace(
        "/login}",
        "'/login?api_key=in-the-query', headers: {X-Api-Key: in-a-header, Authorization: 'Bearer ${user.token}', "
        "X-Trace: 'a ${env:TRACE_SECRET} b'}, json: {name: '${name}', password: '${password}', pin_secret: 1234, "
        "inner: [{client_secret: in-the-body}]}}",
    )
    text += (
        "services: {a: {metrics: 'http://me:in-the-url@127.0.0.1:9/metrics'}}\n"
        "faults: {a: {driver: command, stop: [x, --password=in-a-command], start: [y]}}\n"
    )
    target = parse_target(text, "t.yaml", {"TRACE_SECRET": "in-a-variable"})
    assert target.ownership is not None
    assert target.ownership.token.get_secret_value() == "from-the-file"
    content = resolved(target)
    for secret in ("in-the-query", "in-a-header", "in-a-variable", "1234", "in-the-body", "in-the-url", "in-a-command"):
        assert secret not in repr(content), secret
    assert "from-the-file" not in repr(content) + repr(target)
    operation = content["operations"]["sign_in"]
    assert operation["headers"]["Authorization"] == "Bearer ${user.token}"
    assert operation["json"]["password"] == "${password}"
    assert target.operations["sign_in"].headers["X-Api-Key"] == "in-a-header", "what is sent is not masked"
    assert resolved(from_resolved(content)) == content
    assert isinstance(from_resolved(content), Target)


def test_a_date_is_the_text_that_somebody_wrote() -> None:
    target = parse_target(GOOD.replace("/login}", "/login, json: {born: 2001-02-03, n: 1_000, x: 1.5}}"), "t", ENVIRON)
    assert target.operations["sign_in"].json_body == {"born": "2001-02-03", "n": 1000, "x": 1.5}


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_bytes(b"\xef\xbb\xbf" + GOOD.encode())
    assert read_target(tmp_path / "t.yaml", ENVIRON).address == "http://127.0.0.1:8080"


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
        (Path("/dev/zero"), "more than 262144 bytes"),
        (tmp_path / "huge.yaml", "more than 262144 bytes"),
    ):
        with pytest.raises(PlanError, match=told):
            read_target(path, {})

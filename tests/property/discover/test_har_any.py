"""Whatever an archive holds: a target file that can be read, or a PlanError; and never a secret."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import urlencode
from xml.sax.saxutils import escape, quoteattr

from hypothesis import example, given
from hypothesis import strategies as st

from proofload.core.errors import PlanError
from proofload.discover.har import read_har
from proofload.plan.reader import parse_target

SECRET = "q7Zk-never-to-be-seen"
scraps = st.one_of(
    st.text(max_size=12), st.sampled_from(["${x}", "/a/1", "%", "\ud800", "a: b", "#", "..", "\r\nX: y"])
)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), scraps),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(scraps, inner, max_size=3),
        st.fixed_dictionaries(
            {"password": st.just(SECRET), "api_key": st.just([SECRET]), "token": st.just({"a": SECRET})}
        ),
    ),
    max_leaves=6,
)
named = st.fixed_dictionaries({"name": st.sampled_from(["Accept", "Content-Type", "X-Y"]), "value": scraps})
posted = st.builds(
    lambda kind, body: {"mimeType": kind, "text": json.dumps(body)},
    st.sampled_from(["", "application/json", "text/plain", "application/x-www-form-urlencoded", "0"]),
    values,
)
requests = st.fixed_dictionaries(
    {
        "method": st.sampled_from(["GET", "post", "PUT", "BREW", ""]),
        "url": st.builds(lambda path, query: f"http://h.test/{path}?secret={SECRET}&{query}", scraps, scraps),
        "headers": st.lists(st.one_of(values, named), max_size=3),
    },
    optional={"postData": st.one_of(values, posted)},
)


def _typed(kind: str, **body: Any) -> list[dict[str, Any]]:
    header = [{"name": "Content-Type", "value": kind}] if kind else []
    posted = {"mimeType": kind, "text": json.dumps(body)}
    return [{"method": "POST", "url": "http://h.test/a", "headers": header, "postData": posted}]


@given(st.lists(requests, max_size=4))
@example(_typed("0", api_key=[SECRET]))
@example(_typed("text/plain", token={"a": SECRET}))
@example(_typed("application/x-www-form-urlencoded", password=SECRET))
@example(_typed("application/json", packed=json.dumps({"api_key": [SECRET]})))
@example(_typed("application/json", token=[float("nan"), SECRET]))
def test_an_archive_gives_a_readable_file_without_secrets_or_a_told_problem(listed: list[dict[str, Any]]) -> None:
    text = json.dumps({"log": {"entries": [{"request": one} for one in listed]}})
    with suppress(PlanError):
        found = read_har(text, "x.har")
        written = found.text("x.har")
        assert SECRET not in written
        # Outside the suppressed part: what we write must be what we read.
        _read_back(written, found.variables, set(found.operations))


def _read_back(written: str, variables: set[str], names: set[str]) -> None:
    try:
        target = parse_target(written, "x.har", dict.fromkeys(variables, "held"))
    except PlanError as error:
        raise AssertionError(f"{error}\n{written}") from error
    assert set(target.operations) == names


@given(st.one_of(st.text(), values.map(json.dumps), values.map(lambda one: json.dumps({"log": {"entries": one}}))))
def test_anything_else_is_a_told_problem(text: str) -> None:
    with suppress(PlanError):
        assert read_har(text, "x.har").operations


KINDS = [
    "",
    "0",
    "application/json",
    "text/plain",
    "application/x-www-form-urlencoded",
    "text/xml",
    "multipart/form-data",
]
NAMES = ["password", "api_key", "X-Api-Key", "user[password]", "accessToken", "client_secret", "Authorization"]
words = st.text("abc 019&=;:,.<>{}[]'\"\\/?#%+\n", max_size=12)


def _xml_name(name: str) -> str:
    return name.replace("[", ".").replace("]", "")


def _as_xml(name: str, secret: str, noise: str) -> str:
    tag = _xml_name(name)
    return f"<a><b>{escape(noise)}</b><{tag} t='1'>{escape(secret)}</{tag}></a>"


def _as_attribute(name: str, secret: str, noise: str) -> str:
    return f"<a b={quoteattr(noise)} {_xml_name(name)}={quoteattr(secret)}/>"


WRITTEN: dict[str, Callable[[str, str, str], str]] = {
    "json": lambda name, secret, noise: json.dumps({"a": noise, name: [secret], "b": {name: {"c": secret}}}),
    "packed": lambda name, secret, noise: json.dumps({"a": noise, "b": json.dumps([{name: {"c": [secret]}}])}),
    "lines": lambda name, secret, noise: json.dumps({"a": noise}) + "\n" + json.dumps({name: [secret]}),
    "broken": lambda name, secret, noise: json.dumps({"a": noise, name: [secret]})[:-1],
    "form": lambda name, secret, noise: urlencode({"a": noise, name: secret, "b": json.dumps({name: [secret]})}),
    "xml": _as_xml,
    "attribute": _as_attribute,
    "headers": lambda name, secret, noise: f"a: 1\r\n{name}: {secret}\r\nb: 2",
    "parts": lambda name, secret, noise: (
        f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{secret}\r\n--x--'
    ),
}


@given(st.sampled_from(sorted(WRITTEN)), st.sampled_from(KINDS), st.sampled_from(NAMES), words, words)
def test_a_body_keeps_no_secret_whatever_it_is_written_in_and_declared_as(
    form: str, kind: str, name: str, before: str, noise: str
) -> None:
    # Behind `name:` the secret ends with its line, and in it no quote is certain to be its own.
    prefix = "".join(sign for sign in before if sign not in "\n'\"<") if form == "headers" else before
    body = WRITTEN[form](name, prefix + SECRET, noise)
    posted = {"mimeType": kind, "text": body}
    asked = [
        {"method": "GET", "url": "http://h.test/other"},
        {"method": "POST", "url": "http://h.test/a", "postData": posted},
    ]
    found = read_har(json.dumps({"log": {"entries": [{"request": one} for one in asked]}}), "x.har")
    written = found.text("x.har")
    assert SECRET not in written
    _read_back(written, found.variables, set(found.operations))

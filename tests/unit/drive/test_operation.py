"""Rendering requests: fields, bodies, tokens, and no way to forge a header."""

import pytest

from proofload.core.errors import PlanError
from proofload.plan.operation import Operation, Rendered, render, to_template


def bytes_of(operation: Operation, fields: dict[str, object] | None = None, **options: object) -> bytes:
    rendered = render(operation, fields or {}, **options)  # type: ignore[arg-type]
    template = to_template(rendered, "gateway.test", "run-")
    return template % (() if rendered.request_id else 7)


def test_a_get_has_the_headers_that_http_wants() -> None:
    assert bytes_of(Operation(path="/a?b=1&c=%20d")) == (
        b"GET /a?b=1&c=%20d HTTP/1.1\r\nHost: gateway.test\r\nAccept: */*\r\nUser-Agent: proofload\r\n"
        b"X-Request-ID: run-0000000007\r\n\r\n"
    )


def test_fields_are_encoded_in_paths_and_typed_in_json() -> None:
    operation = Operation(
        method="POST", path="/u/${user.name}/x", json={"n": "${n}", "text": "n is ${n}", "all": ["${user.name}"]}
    )
    raw = bytes_of(operation, {"user.name": "a/b c", "n": 3})
    assert raw.startswith(b"POST /u/a%2Fb%20c/x HTTP/1.1\r\n")
    assert raw.endswith(b'\r\n\r\n{"n":3,"text":"n is 3","all":["a/b c"]}')
    assert b"Content-Type: application/json\r\n" in raw
    assert b"Content-Length: 39\r\n" in raw


def test_percent_signs_survive_and_an_empty_post_says_so() -> None:
    raw = bytes_of(Operation(method="POST", path="/50%25", body="100 %s %d"))
    assert raw.startswith(b"POST /50%25 HTTP/1.1")
    assert raw.endswith(b"\r\n\r\n100 %s %d")
    assert b"Content-Length: 0\r\n" in bytes_of(Operation(method="POST", path="/"))
    assert b"Content-Length" not in bytes_of(Operation(method="DELETE", path="/"))


def test_a_call_goes_before_the_declaration() -> None:
    operation = Operation(method="PUT", path="/", json={"a": 1}, headers={"X-Tenant": "one", "Accept": "text/plain"})
    raw = bytes_of(operation, json_body=None, headers={"x-tenant": "two", "X-Request-ID": "mine"})
    assert raw.endswith(b"\r\n\r\nnull")
    assert b"x-tenant: two\r\n" in raw
    assert b"X-Tenant: one" not in raw
    assert b"Accept: text/plain\r\n" in raw
    assert raw.count(b"X-Request-ID") == 1
    assert b"X-Request-ID: mine" in raw


def test_bearer_tokens() -> None:
    operation = Operation(path="/me", auth="bearer")
    assert b"Authorization: Bearer t0k3n\r\n" in bytes_of(operation, token="t0k3n")
    with pytest.raises(PlanError, match="token"):
        bytes_of(operation)


@pytest.mark.parametrize(
    "headers", [{"X-A": "b\r\nX-Forged: 1"}, {"X-A": "b\nc"}, {"X A": "b"}, {"X-A:": "b"}, {"": "b"}, {"X-A": "\0"}]
)
def test_nothing_can_forge_a_header(headers: dict[str, str]) -> None:
    with pytest.raises(PlanError, match="stand in one line"):
        bytes_of(Operation(path="/"), headers=headers)


def test_a_field_in_a_path_can_not_end_the_line() -> None:
    assert b"\r\nX-Forged" not in bytes_of(Operation(path="/${a}"), {"a": "x HTTP/1.1\r\nX-Forged: 1"})


def test_a_missing_field_is_named() -> None:
    with pytest.raises(PlanError, match=r"operations\.read: got no value for \$\{user\.id\}"):
        bytes_of(Operation(name="read", path="/${user.id}"))


def test_what_is_static_and_what_is_accepted() -> None:
    assert Operation(path="/a", json={"b": [1]}).is_static
    assert not Operation(path="/a", json={"b": ["${c}"]}).is_static
    assert not Operation(path="/a", headers={"X": "${c}"}).is_static
    assert Operation(path="/").accepts(204)
    assert not Operation(path="/").accepts(302)
    assert Operation(path="/", accept=(404,)).accepts(404)
    assert not Operation(path="/", accept=(404,)).accepts(200)


def test_bytes_that_are_no_text_go_as_they_are() -> None:
    raw = to_template(Rendered("POST", "/", (), b"\x00\xff%"), "h", "p") % 1
    assert raw.endswith(b"\r\n\r\n\x00\xff%")

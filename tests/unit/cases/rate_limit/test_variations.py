"""The same client sends the same request, written otherwise; what a target takes for another request is left out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proofload.cases.accounts import Account
from proofload.cases.rate_limit.clients import Client
from proofload.cases.rate_limit.evasions import alike_of, answers_alike, plain_request, spellings, variations
from proofload.cases.rate_limit.spending import pace_below_ns
from proofload.drive.http.parser import Head
from proofload.drive.user import Answer
from proofload.plan.operation import Operation
from proofload.plan.policies import RateLimitPolicy
from proofload.record.exchange import Ending, Fault

CLIENT = Client(Account("load_test_ann", "secret", "token"), "127.64.0.1")
PROBE = Operation(
    name="read",
    path="/api/users/${user.name}/items?all=1",
    auth="bearer",
    headers={"X-API-Key": "key-of-${user.name}", "Cookie": "session=1"},
)


def answer(status: int = 200, body: Any = None, content_type: str = "application/json") -> Answer:
    raw = f"HTTP/1.1 {status} Any\r\nContent-Type: {content_type}\r\n\r\n".encode()
    head = Head(raw, status, 0, True, ()) if status else None
    text = json.dumps({"id": 1} if body is None else body).encode()
    return Answer(status, Ending.ANSWERED, Fault.NONE, 0, 0, 0, 0, 0, 200 <= status < 300, head, text)


def test_every_variation_bears_the_clients_own_headers() -> None:
    """A6: the query evasion sent only Authorization, which made it another client."""
    plain = plain_request(PROBE, CLIENT)
    assert plain is not None
    own = {"Authorization": "Bearer token", "X-API-Key": "key-of-load_test_ann", "Cookie": "session=1"}
    for one in variations(PROBE, plain):
        assert own.items() <= dict(one.headers).items(), one.name
        assert "load_test_ann" in one.path.lower()
        assert one.path.endswith("?all=1")


def test_a_request_that_needs_what_no_client_has_is_not_varied() -> None:
    assert plain_request(Operation(path="/x/${cart.id}"), CLIENT) is None
    assert plain_request(Operation(path="/x", auth="bearer"), Client(Account("a", "b", None), None)) is None


def test_spellings_and_forms() -> None:
    found = spellings("/api/x")
    assert set(found.values()) == {
        "/API/X",
        "//api/x",
        "/api/x/",
        "/api/%78",
        "/api/x;proofload",
        "/./api/x",
        "/proofload/../api/x",
    }
    assert "/" not in spellings("/").values()
    plain = plain_request(Operation(path="/x"), CLIENT)
    assert plain is not None
    forms = {one.name: one for one in variations(Operation(path="/x"), plain)}
    assert forms["HEAD in place of GET"].method == "HEAD"
    assert forms["body in chunks"].body == b"0\r\n\r\n"
    post = Operation(path="/x", method="POST", body="hello world")
    told = plain_request(post, CLIENT)
    assert told is not None
    forms = {one.name: one for one in variations(post, told)}
    assert forms["body in chunks"].body == b"b\r\nhello world\r\n0\r\n\r\n"
    assert "HEAD in place of GET" not in forms


@pytest.mark.parametrize(
    ("varied", "alike"),
    [
        (answer(), True),
        (answer(body={"id": 2}), True),
        (answer(body={"error": "none"}), False),
        (answer(404), False),
        (answer(405), False),
        (answer(308), False),
        (answer(content_type="text/html"), False),
        (answer(0), False),
    ],
)
def test_only_what_is_served_alike_is_the_same_request(varied: Answer, alike: bool) -> None:
    assert answers_alike(answer(), varied) is alike


def test_of_a_target_that_serves_every_path_alike_no_spelling_shows_anything() -> None:
    told = {"plain": answer(), "upper case": answer(), "HEAD in place of GET": answer(body="")}
    assert alike_of(told) == ["upper case", "HEAD in place of GET"]
    assert alike_of({**told, "no such path anywhere": answer(404)}) == ["upper case", "HEAD in place of GET"]
    assert alike_of({**told, "no such path beside it": answer()}) == ["HEAD in place of GET"]
    assert alike_of({"upper case": answer()}) == []
    limited = {name: answer(429) for name in told}
    assert alike_of(limited) == []


def test_the_pace_below_a_tighter_limit_keeps_within_it() -> None:
    bucket = RateLimitPolicy(limit=60, window="60s", burst=5, algorithm="token_bucket", probe="read")
    policy = RateLimitPolicy(limit=15, window="60s", probe="read")
    assert pace_below_ns(policy, 20, [bucket]) == 1_250_000_000
    assert pace_below_ns(policy, 4, [bucket]) == 0
    assert pace_below_ns(policy, 20, [bucket.model_copy(update={"status": 503})]) == 0

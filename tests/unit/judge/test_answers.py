"""Whose answer it was: by status, code and operation, and unsure where the target's promises can't tell."""

from __future__ import annotations

import json

import numpy as np
import pytest

from proofload.core.clock import Anchor
from proofload.judge.answers import ALL_CAUSES, AnswerClassifier, AnswerKind, bears_code, error_code
from proofload.judge.evidence import Evidence
from proofload.plan.target import Target
from proofload.record.exchange import Ending, Exchange, Fault
from proofload.record.history import History

MS = 1_000_000
OPERATIONS = {
    "buy": {"path": "/shop/buy", "method": "POST", "service": "shop"},
    "list": {"path": "/shop/list", "service": "shop"},
    "read": {"path": "/people/${user.name}", "service": "people"},
    "odd": {"path": "/odd", "service": "people", "accept": [500]},
    "loose": {"path": "/loose"},
    "health": {"path": "/health"},
}


def target(**policies):
    return Target.model_validate(
        {"version": 1, "address": "http://127.0.0.1:1", "operations": OPERATIONS, "policies": policies}
    )


LIMIT = {"limit": 5, "window": "1s", "probe": "list", "applies_to": ["/shop/*", "/people/*"], "code": "SLOW_DOWN"}
CIRCUIT = {"service": "shop", "operation": "buy", "code_when_open": "OPEN"}
LOCK = {"name": "buying", "operation": "buy", "code": "HELD"}
EVERY = {
    "rate_limit": [LIMIT],
    "circuit_breaker": [CIRCUIT],
    "locks": [LOCK],
    "overload": {"operation": "list", "health": "health", "rejects_with": [429]},
}


def history(*answers, keep=True):
    def exchange(number, operation, status, body):
        at = number * MS
        ending, fault = (Ending.ANSWERED, Fault.NONE) if status else (Ending.UNKNOWN, Fault.TIMEOUT)
        kept = body if isinstance(body, bytes) else json.dumps(body).encode()
        return Exchange(
            *(number, "w", operation, 0, "127.0.0.2", 0, at, at, at + MS, at + MS, ending, fault, status),
            *(0, 0, "", {}, kept if keep else None),
        )

    return History.of(exchange(number, *answer) for number, answer in enumerate(answers))


def causes(promised, operation, status, body=b"{}"):
    kept = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    found = AnswerClassifier.of(promised).causes_of(operation, status, kept)
    return {kind.name for kind in AnswerKind if found & kind.bit}


@pytest.mark.parametrize(
    ("operation", "status", "body", "kind"),
    [
        ("buy", 200, {}, "ADMITTED"),
        ("buy", 404, {"code": "NOT_FOUND"}, "ADMITTED"),
        ("odd", 500, {}, "ADMITTED"),
        ("buy", 500, {}, "FAILED"),
        ("buy", 503, {"code": "OPEN"}, "CIRCUIT_OPEN"),
        ("buy", 503, {"code": "HELD"}, "CONTENDED"),
        ("buy", 503, {"code": "ELSE"}, "FAILED"),
        ("buy", 429, {"error": {"code": "SLOW_DOWN"}}, "RATE_LIMITED"),
        ("list", 503, {"code": "HELD"}, "FAILED"),  # the lock is not this operation's
        ("read", 503, {"code": "OPEN"}, "FAILED"),  # nor is the circuit this service's
        ("read", 429, {"detail": "SLOW_DOWN"}, "RATE_LIMITED"),
        ("loose", 503, {"code": "OPEN"}, "CIRCUIT_OPEN"),  # nobody knows which service answers
        ("undeclared", 503, {"code": "HELD"}, "CONTENDED"),
    ],
)
def test_one_cause(operation, status, body, kind):
    assert causes(target(**EVERY), operation, status, body) == {kind}


@pytest.mark.parametrize(
    ("policies", "operation", "status", "body", "expected"),
    [
        ({"circuit_breaker": [{**CIRCUIT, "code_when_open": None}]}, "buy", 503, {}, {"CIRCUIT_OPEN", "FAILED"}),
        ({"circuit_breaker": [CIRCUIT]}, "buy", 503, None, {"CIRCUIT_OPEN", "FAILED"}),
        (
            {"circuit_breaker": [CIRCUIT], "locks": [{**LOCK, "code": "OPEN"}]},
            "buy",
            503,
            {"code": "OPEN"},
            {"CIRCUIT_OPEN", "CONTENDED"},
        ),
        ({"rate_limit": [{**LIMIT, "status": 503, "code": None}]}, "list", 503, {}, {"RATE_LIMITED", "FAILED"}),
        ({"locks": [{**LOCK, "status": 409, "code": None}]}, "buy", 409, {}, {"CONTENDED", "ADMITTED"}),
        ({}, "list", 429, {}, {"RATE_LIMITED", "ADMITTED"}),
        ({"rate_limit": [LIMIT]}, "list", 429, {"code": "OTHER"}, {"RATE_LIMITED", "ADMITTED"}),
        ({"overload": {"operation": "list", "health": "health"}}, "buy", 503, {}, {"OVERLOADED", "FAILED"}),
    ],
)
def test_causes_that_cannot_be_told_apart(policies, operation, status, body, expected):
    promised = target(**policies)
    assert causes(promised, operation, status, body) == expected
    kept = body is not None
    told = AnswerClassifier.of(promised).kinds(history((operation, status, body or {}), keep=kept), [0])
    assert told.tolist() == [AnswerKind.UNSURE]


def test_a_limit_without_a_code_is_told_by_429():
    assert causes(target(rate_limit=[{**LIMIT, "code": None}]), "read", 429) == {"RATE_LIMITED"}
    assert causes(target(rate_limit=[{**LIMIT, "code": None}]), "health", 429) == {"RATE_LIMITED", "ADMITTED"}


@pytest.mark.parametrize(
    "body",
    [
        b'{"code": "HELD"}',
        b'{"error": "HELD"}',
        b'{"error": {"code": "HELD"}}',
        b'{"detail": "HELD"}',
        b'{"detail": {"errorCode": "HELD"}}',
        b'{"errors": [{"code": "HELD"}]}',
        b'{"errors": [{"title": "x"}, {"error_code": "HELD"}]}',
        b'{"type": "https://example.org/problems/HELD"}',
        b'["HELD"]',
        b'"HELD"',
        b"HELD",
        b"error: HELD, try again",
        b'{"code": "\\u0048ELD"}',
    ],
)
def test_a_code_is_found_wherever_the_body_tells_it(body):
    assert bears_code(body, "HELD")
    assert causes(target(locks=[LOCK]), "buy", 503, body) == {"CONTENDED"}


@pytest.mark.parametrize(
    "body", [b"{}", b"", b'{"code": "UPHELD"}', b'{"code": "HELD_UP"}', b"\xff\xfe", b"[" * 5000, b'{"code": null}']
)
def test_a_code_that_is_not_there_is_not_found(body):
    assert not bears_code(body, "HELD")


def test_numbers_are_codes_only_where_a_code_is_told():
    assert bears_code(b'{"code": 1003}', "1003")
    assert bears_code(b'{"errors": [{"errorCode": "1003"}]}', "1003")
    assert not bears_code(b'{"at": 1003, "code": 1}', "1003")


def test_a_declared_place_is_the_only_one():
    body = b'{"message": "HELD", "errors": [{"code": "BUSY"}]}'
    assert bears_code(body, "BUSY", "errors.0.code")
    assert bears_code(body, "BUSY", "errors[0].code")
    assert not bears_code(body, "HELD", "errors.0.code")
    assert error_code(body, "errors.0.code") == "BUSY"


def test_rows_of_a_history():
    seen = history(("buy", 200, {}), ("buy", 503, {"code": "OPEN"}), ("buy", 429, {}), ("buy", 0, {}), ("buy", 502, {}))
    unsent = History(seen.frame.with_columns(ending=np.full(5, int(Ending.NOT_SENT), dtype=np.uint8)))
    judge = AnswerClassifier.of(target(circuit_breaker=[CIRCUIT]))
    kinds = [AnswerKind(kind).name for kind in judge.kinds(seen, range(5))]
    assert kinds == ["ADMITTED", "CIRCUIT_OPEN", "UNSURE", "UNSURE", "FAILED"]
    assert judge.causes(seen, [3]).tolist() == [ALL_CAUSES]
    assert judge.causes(unsent, range(5)).tolist() == [0] * 5
    assert judge.kinds(seen, []).tolist() == []


def test_a_service_that_calls_another_may_meet_its_circuit():
    promised = target(circuit_breaker=[CIRCUIT])
    services = {"shop": {}, "people": {"depends_on": ["shop"]}}
    calling = Target.model_validate({**promised.model_dump(exclude_unset=True, by_alias=True), "services": services})
    assert causes(promised, "read", 503, {"code": "OPEN"}) == {"FAILED"}
    assert causes(calling, "read", 503, {"code": "OPEN"}) == {"CIRCUIT_OPEN"}


def test_evidence_brings_the_classifier_of_its_target():
    promised = target(**EVERY)
    evidence = Evidence("TC", promised, History.empty(), Anchor(0, 0, 0), ())
    assert evidence.answers == AnswerClassifier.of(promised)

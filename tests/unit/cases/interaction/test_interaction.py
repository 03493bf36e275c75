"""TC-INT-001 to 007: PASS, FAIL, INCONCLUSIVE, and SKIPPED where there is nothing to test."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import pytest
from tests.unit.cases.rate_limit.worlds import target_of
from tests.unit.cases.tape import (
    MS,
    Ledgers,
    Reading,
    S,
    Tape,
    case_findings,
    line,
    nothing,
    outcome,
    preset,
    rules,
    why_missing,
)

from proofload.cases.circuit_breaker.calls import SETTLED
from proofload.cases.interaction import limits
from proofload.judge.audit import digests_of
from proofload.judge.verdict import Outcome
from proofload.plan.policies import Policies
from proofload.record.fault_edge import Edge
from proofload.record.ledger import Sample

TARGET = preset()
CLOSED = {SETTLED: True}
OPEN, CONTENTION = b'{"code": "CIRCUIT_OPEN"}', b'{"code": "LOCK_CONTENTION"}'


def test_failures_count_against_the_limit() -> None:
    def failing(admitted: int) -> Any:
        tape = Tape("TC-INT-001")
        tape.add("failing", 404, admitted, operation="no_such_order")
        tape.add("failing", 429, 110 - admitted, operation="no_such_order")
        return case_findings("TC-INT-001", tape.evidence(TARGET))

    assert outcome(failing(100)) is Outcome.PASS
    assert "rl.over_admission" in rules(failing(110))
    assert outcome(case_findings("TC-INT-001", nothing("TC-INT-001", TARGET))) is Outcome.INCONCLUSIVE


FAILING = "read: {path: /api/x}, gone: {path: /api/gone, accept: [404]}, broken: {path: /api/broken, accept: [500]}"


def test_failures_of_the_service_count_as_well() -> None:
    """B10: the allowance was refunded on 5xx, and only 4xx were tried."""
    target = target_of("limit: 20, window: 60s, probe: read", operations=FAILING)
    found = limits.FAILING_REQUESTS.find(target)
    assert isinstance(found, limits.FailingRequests)
    assert (found.wrong, found.broken) == (("gone",), ("broken",))

    def failing(admitted: int) -> Any:
        tape = Tape("TC-INT-001")
        for step, operation, status, served in (("failing", "gone", 404, 20), ("failing 5xx", "broken", 500, admitted)):
            tape.add(step, status, served, operation=operation, source=f"127.64.0.{status % 99}")
            tape.add(step, 429, 30 - served, operation=operation, source=f"127.64.0.{status % 99}")
        return case_findings("TC-INT-001", tape.evidence(target))

    assert outcome(failing(20)) is Outcome.PASS
    assert "rl.over_admission" in rules(failing(30))
    assert outcome(failing(2)) is not Outcome.PASS
    tape = Tape("TC-INT-001")
    tape.add("failing", 404, 20, operation="gone")
    tape.add("failing", 429, 10, operation="gone")
    assert outcome(case_findings("TC-INT-001", tape.evidence(target))) is Outcome.INCONCLUSIVE


def test_what_opens_a_circuit_is_not_sent_to_fail() -> None:
    circuit = TARGET.policies.circuit_breaker[0]
    target = target_of("limit: 20, window: 60s, probe: read", operations=FAILING)
    broken = target.operations["broken"].model_copy(update={"service": circuit.service})
    guarded = target.model_copy(
        update={
            "operations": {**target.operations, "broken": broken},
            "policies": target.policies.model_copy(update={"circuit_breaker": (circuit,)}),
        }
    )
    found = limits.FAILING_REQUESTS.find(guarded)
    assert isinstance(found, limits.FailingRequests)
    assert found.broken == ()


def books(counted: float) -> Ledgers:
    def reading(label: str, ok: float, limited: float, at_ns: int) -> Reading:
        route = {"route": "/api/v1/auth/profile", "method": "GET", "service": "gateway"}
        samples = (
            Sample("http_requests_total", {**route, "status": "200"}, ok),
            Sample("http_requests_total", {**route, "status": "429"}, limited),
        )
        return Reading("gateway", label, at_ns, at_ns + MS, samples)

    entries = tuple(
        line(i + 1, "{}", {"event": "rate_limited", "request_id": f"r{100 + i}", "ip": "127.64.0.1"}) for i in range(20)
    )
    return Ledgers((reading("before", 0, 0, 0), reading("after", 100, counted, 90 * S)), entries)


def test_rejections_are_counted_and_on_record() -> None:
    tape = Tape("TC-INT-002")
    tape.add("one by one", 200, 100)
    tape.add("one by one", 429, 20)
    facts = {"audit_read_ns": 100 * S}

    def judged(ledgers: Ledgers) -> Any:
        return case_findings("TC-INT-002", tape.evidence(TARGET, facts=facts, ledgers=ledgers))

    whole = books(20)
    assert not rules(judged(whole))
    assert "mon.missing" in rules(judged(books(5)))
    assert "audit.missing" in rules(judged(Ledgers(whole.readings, whole.audit[:10])))
    assert outcome(case_findings("TC-INT-002", nothing("TC-INT-002", TARGET))) is Outcome.INCONCLUSIVE


@pytest.mark.parametrize(
    ("judge", "step", "status", "body"),
    [
        (partial(case_findings, "TC-INT-003"), "rejected", 429, b"{}"),
        (partial(case_findings, "TC-INT-004"), "contending 1", 503, CONTENTION),
    ],
)
def test_what_is_no_failure_opens_no_circuit(judge: Any, step: str, status: int, body: bytes) -> None:
    case = "TC-INT-003" if status == 429 else "TC-INT-004"
    operation = "orders" if status == 429 else "balance"

    def judged(*, tripped: bool = False, count: int = 20, settled: bool = True) -> Any:
        tape = Tape(case)
        tape.add(step, status, count, operation="orders" if status == 429 else "deposit", body=body)
        tape.add("then another", 503 if tripped else 200, 3, operation=operation, body=OPEN if tripped else b"{}")
        return judge(tape.evidence(TARGET, facts={SETTLED: settled}))

    assert outcome(judged()) is Outcome.PASS
    assert rules(judged(tripped=True)) == {"cb.opens_early"}
    assert outcome(judged(count=3)) is Outcome.INCONCLUSIVE
    assert outcome(judged(tripped=True, settled=False)) is Outcome.INCONCLUSIVE


def opened(
    *,
    event: bool = True,
    rejected: int = 100,
    told: dict[str, object] | None = None,
    facts: dict[str, object] | None = None,
    audit: dict[str, object] | None = None,
) -> Any:
    tape = Tape("TC-INT-005")
    tape.edge(Edge.APPLYING, "order")
    tape.edge(Edge.APPLIED, "order")
    tape.add("failing", 502, 5, operation="orders")
    tape.add("open", 503, rejected, operation="orders", body=OPEN, source="127.64.0.2")
    tape.add("open", 429, 110 - rejected, operation="orders", source="127.64.0.2")
    tape.edge(Edge.UNDOING, "order")
    tape.edge(Edge.UNDONE, "order")
    told = told or {"event": "circuit_opened", "request_id": "r4"}
    entries = (line(1, json.dumps(told), told),) if event else ()
    declared = TARGET.policies.audit
    assert declared is not None
    policies = TARGET.policies.model_copy(update={"audit": declared.model_copy(update=audit or {})})
    target = TARGET.model_copy(update={"policies": policies})
    known = {**CLOSED, **(facts or {})}
    return case_findings("TC-INT-005", tape.evidence(target, facts=known, ledgers=Ledgers((), entries)))


def test_an_opening_is_known_in_an_envelope_by_nested_fields_and_without_a_request() -> None:
    def on_record(told: dict[str, object], **audit: object) -> Outcome:
        return next(one.outcome for one in opened(told=told, audit=audit) if one.rule == "int.opening_not_on_record")

    inner = json.dumps({"event": {"action": "circuit_opened"}, "http": {"id": "r4"}})
    nested = {"event": "event.action", "request_id": "http.id"}
    assert on_record({"log": f"{inner}\n", "stream": "stdout"}, fields=nested) is Outcome.PASS
    assert on_record({"event": "circuit_opened"}) is Outcome.PASS
    other: dict[str, object] = {"event": "circuit_opened", "request_id": "theirs-7"}
    assert on_record(other) is Outcome.INCONCLUSIVE
    assert on_record(other, request_ids="theirs") is Outcome.PASS
    assert on_record({"event": "started"}) is Outcome.INCONCLUSIVE
    assert on_record({"event": "rate_limited"}) is Outcome.FAIL


def test_a_secret_in_the_log_is_told_by_the_case_on_an_open_circuit_too() -> None:
    leaking: dict[str, object] = {"event": "circuit_opened", "request_id": "r4", "details": "Bearer opaque-0123456789"}
    known: dict[str, object] = {"digests": list(digests_of(["opaque-0123456789"]))}
    assert rules(opened(told=leaking, facts=known)) == {"audit.secret"}


def test_an_open_circuit_is_on_record_and_costs_what_any_answer_costs() -> None:
    assert not rules(opened())
    assert rules(opened(event=False)) == {"int.opening_not_on_record"}
    assert "rl.over_admission" in rules(opened(rejected=110))
    assert "rl.wrongful_rejection" in rules(opened(rejected=60))
    assert outcome(case_findings("TC-INT-005", nothing("TC-INT-005", TARGET, facts=CLOSED))) is Outcome.INCONCLUSIVE


def gauged(served: list[float], opened: list[float], **more: Any) -> Any:
    """What six looks at the gauge of the order service's circuit showed on each side of its opening."""

    def reading(label: str, i: int, value: float) -> Reading:
        samples = (
            Sample("circuit_breaker_state", {"service": "order"}, value),
            Sample("circuit_breaker_state", {"service": "user"}, 0),
        )
        return Reading("gateway", f"{label} {i}", S, S, samples)

    looks = [("served", i, value) for i, value in enumerate(served)]
    looks += [("open", i, value) for i, value in enumerate(opened)]
    tape = Tape("TC-INT-005")
    tape.edge(Edge.APPLYING, "order")
    tape.edge(Edge.APPLIED, "order")
    tape.add("failing", 502, 5, operation="orders")
    tape.add("open", 503, more.get("rejected", 100), operation="orders", body=OPEN, source="127.64.0.2")
    tape.edge(Edge.UNDOING, "order")
    tape.edge(Edge.UNDONE, "order")
    ledgers = Ledgers(tuple(reading(*look) for look in looks))
    found = case_findings("TC-INT-005", tape.evidence(TARGET, facts=CLOSED, ledgers=ledgers))
    return [one for one in found if one.rule == "mon.stale_gauge"]


def test_the_gauge_of_a_circuit_follows_its_state_in_every_worker() -> None:
    assert outcome(gauged([0] * 6, [1] * 6)) is Outcome.PASS
    assert outcome(gauged([0, 0, 2, 0, 0, 0], [1, 2, 1, 1, 1, 2])) is Outcome.PASS
    assert outcome(gauged([0] * 6, [0] * 6)) is Outcome.FAIL
    assert outcome(gauged([0] * 6, [1, 1, 1, 1, 0, 1])) is Outcome.FAIL
    assert outcome(gauged([1] * 6, [1] * 6)) is Outcome.FAIL


def test_a_gauge_that_was_not_there_or_a_circuit_that_never_opened_says_nothing() -> None:
    assert outcome(gauged([0] * 6, [])) is Outcome.INCONCLUSIVE
    assert outcome(gauged([0] * 6, [0] * 6, rejected=0)) is Outcome.INCONCLUSIVE


def stored(*, during: int = 503, held: bool = True, locked: int = 200) -> Any:
    tape = Tape("TC-INT-006")
    tape.edge(Edge.APPLYING, "redis")
    tape.edge(Edge.APPLIED, "redis", proven=held)
    tape.at_ns += S
    tape.add("during", during, 25, operation="login")
    tape.at_ns += S
    tape.edge(Edge.UNDOING, "redis", proven=held)
    tape.edge(Edge.UNDONE, "redis")
    tape.add("after", 200, 100, source="127.64.0.3")
    tape.add("after", 429, 5, source="127.64.0.3")
    tape.add("lock", locked, 1, operation="deposit", source="127.64.0.4")
    tape.add("lock", 503, 9, operation="deposit", body=CONTENTION, source="127.64.0.4")
    return case_findings("TC-INT-006", tape.evidence(TARGET))


def test_without_its_store_the_limiter_does_as_promised_and_afterwards_all_works_again() -> None:
    assert outcome(stored()) is Outcome.PASS
    assert rules(stored(during=200)) == {"rl.fail_open"}
    assert rules(stored(locked=503)) == {"int.lock_not_restored"}
    assert outcome(stored(held=False)) is Outcome.INCONCLUSIVE
    assert outcome(case_findings("TC-INT-006", nothing("TC-INT-006", TARGET))) is Outcome.INCONCLUSIVE


def test_rejections_of_another_limit_are_not_held_against_one_that_came_back() -> None:
    gateway, service = TARGET.policies.rate_limit
    tighter = service.model_copy(update={"limit": 20, "service": "auth", "applies_to": ("/api/v1/auth/profile",)})
    policies = TARGET.policies.model_copy(update={"rate_limit": (gateway, tighter)})
    tape = Tape("TC-INT-006")
    tape.edge(Edge.APPLYING, "redis")
    tape.edge(Edge.APPLIED, "redis", proven=True)
    tape.at_ns += S
    tape.add("during", 503, 25, operation="login")
    tape.at_ns += S
    tape.edge(Edge.UNDOING, "redis", proven=True)
    tape.edge(Edge.UNDONE, "redis")
    tape.add("after", 200, 20, source="127.64.0.3")
    tape.add("after", 429, 85, source="127.64.0.3")
    findings = case_findings("TC-INT-006", tape.evidence(TARGET.model_copy(update={"policies": policies})))
    assert rules(findings) == set()


def test_a_forged_token_spends_nobody_elses_allowance() -> None:
    def judged(own: int, *, forged: int = 110) -> Any:
        tape = Tape("TC-INT-007")
        tape.add("forged", 401, min(forged, 100), source="127.64.0.8")
        tape.add("forged", 429, max(0, forged - 100), source="127.64.0.8")
        tape.add("own", own, 50, source="127.64.0.9")
        return case_findings("TC-INT-007", tape.evidence(TARGET))

    assert outcome(judged(200)) is Outcome.PASS
    assert "rl.wrongful_rejection" in rules(judged(429))
    assert outcome(judged(200, forged=3)) is Outcome.INCONCLUSIVE
    assert limits._unsigned("head.body.abc") == "head.body.Abc"
    assert limits._unsigned("head.body.Abc") == "head.body.Bbc"


def test_a_target_that_declares_nothing_skips_them_with_a_reason() -> None:
    bare = TARGET.model_copy(update={"policies": Policies(), "users": None, "faults": {}})
    for case_id in (f"TC-INT-00{number}" for number in range(1, 8)):
        assert why_missing(case_id, bare), case_id
        assert why_missing(case_id, TARGET) == "", case_id

"""TC-NEG-004 to 006 and TC-CB-004 to 007: PASS, FAIL, INCONCLUSIVE, and SKIPPED where there is nothing to test."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from tests.unit.cases.tape import MS, S, Tape, case_findings, nothing, outcome, preset, rules, why_missing

from proofload.cases.circuit_breaker.calls import SETTLED
from proofload.judge.evidence import Evidence
from proofload.judge.verdict import Outcome
from proofload.plan.policies import Policies
from proofload.plan.target import Target
from proofload.record.fault_edge import Edge

TARGET = preset()
OPEN = b'{"code": "CIRCUIT_OPEN"}'
CLOSED_BEFORE = {SETTLED: True}


def judged(judge: Any, tape: Tape, **more: Any) -> list[Any]:
    return list(judge(tape.evidence(TARGET, facts=CLOSED_BEFORE, **more)))


def wrong(*, tripped: bool = False, count: int = 20) -> Tape:
    tape = Tape("TC-NEG-004")
    tape.add("4xx one by one", 404, count // 2, operation="no_such_order")
    tape.add("4xx at once", 404, count // 2, operation="no_such_order", together=True)
    tape.add("then well", 503 if tripped else 200, 2, operation="orders", body=OPEN if tripped else b"{}")
    return tape


def test_client_errors() -> None:
    assert outcome(judged(partial(case_findings, "TC-NEG-004"), wrong())) is Outcome.PASS
    assert rules(judged(partial(case_findings, "TC-NEG-004"), wrong(tripped=True))) == {"cb.opens_early"}
    assert outcome(judged(partial(case_findings, "TC-NEG-004"), wrong(count=4))) is Outcome.INCONCLUSIVE
    unknown = wrong(tripped=True).evidence(TARGET, facts={SETTLED: False})
    assert outcome(case_findings("TC-NEG-004", unknown)) is Outcome.INCONCLUSIVE


def apart(*, trips_in_round: int = 0, proven: bool = True, status: int = 502) -> Tape:
    tape = Tape("TC-NEG-005")
    for i in (1, 2, 3):
        tape.edge(Edge.APPLYING, "order")
        tape.edge(Edge.APPLIED, "order", proven=proven)
        tripped = i == trips_in_round
        tape.add(f"failing {i}", status, 1 if tripped else 4, operation="orders")
        tape.add(f"failing {i}", 503, 3 if tripped else 0, operation="orders", body=OPEN)
        tape.edge(Edge.UNDOING, "order")
        tape.edge(Edge.UNDONE, "order")
        tape.add(f"well {i}", 200, 2, operation="orders")
    return tape


def test_failures_with_a_success_between_them() -> None:
    assert outcome(judged(partial(case_findings, "TC-NEG-005"), apart())) is Outcome.PASS
    assert rules(judged(partial(case_findings, "TC-NEG-005"), apart(trips_in_round=2))) == {"cb.opens_early"}
    # A fault that took no hold: everything was served, and that proves nothing.
    assert outcome(judged(partial(case_findings, "TC-NEG-005"), apart(status=200))) is Outcome.INCONCLUSIVE
    assert outcome(judged(partial(case_findings, "TC-NEG-005"), apart(proven=False))) is Outcome.INCONCLUSIVE


def independent(*, healthy: int = 200, opens: bool = True, after: int = 503, restart: bool = True) -> Tape:
    tape = Tape("TC-CB-004")
    body = b"{}" if healthy == 200 else OPEN
    tape.edge(Edge.APPLYING, "order")
    tape.edge(Edge.APPLIED, "order")
    for i in range(12):
        failed = i < 5 or not opens
        tape.add("failing", 502 if failed else 503, operation="orders", body=b"{}" if failed else OPEN)
        tape.add("failing", 200, operation=("balance", "profile")[i % 2])
    tape.add("healthy user", healthy, 8, operation="balance", body=body)
    tape.add("healthy auth", healthy, 8, operation="profile", body=body)
    tape.add("still open", 503 if opens else 502, 3, operation="orders", body=OPEN if opens else b"{}")
    if restart:
        for edge in (Edge.APPLYING, Edge.APPLIED, Edge.UNDOING, Edge.UNDONE):
            tape.edge(edge, "gateway")
    tape.add("after restart", after, 10, operation="orders", body=OPEN if after == 503 else b"{}")
    tape.edge(Edge.UNDOING, "order")
    tape.edge(Edge.UNDONE, "order")
    return tape


def test_circuits_are_independent() -> None:
    assert outcome(judged(partial(case_findings, "TC-CB-004"), independent())) is Outcome.PASS
    assert rules(judged(partial(case_findings, "TC-CB-004"), independent(healthy=503))) == {"cb.not_isolated"}
    assert "cb.never_opens" in rules(judged(partial(case_findings, "TC-CB-004"), independent(opens=False)))
    assert outcome(case_findings("TC-CB-004", nothing("TC-CB-004", TARGET))) is Outcome.INCONCLUSIVE


def shared(case: str, tape: Tape) -> Evidence:
    before = tape.evidence(TARGET, facts=CLOSED_BEFORE)
    return nothing(case, TARGET, others={"TC-CB-004": before})


def test_a_healthy_service_stays_served() -> None:
    judge = partial(case_findings, "TC-NEG-006")
    assert outcome(judge(shared("TC-NEG-006", independent()))) is Outcome.PASS
    assert "cb.not_isolated" in rules(judge(shared("TC-NEG-006", independent(healthy=503))))
    assert outcome(judge(shared("TC-NEG-006", Tape("TC-CB-004")))) is Outcome.INCONCLUSIVE


def test_an_open_circuit_survives_a_restart() -> None:
    judge = partial(case_findings, "TC-CB-007")
    assert outcome(judge(shared("TC-CB-007", independent()))) is Outcome.PASS
    assert rules(judge(shared("TC-CB-007", independent(after=502)))) == {"cb.lost_on_restart"}
    assert outcome(judge(shared("TC-CB-007", independent(restart=False)))) is Outcome.INCONCLUSIVE


def hanging(*, takes_s: float = 5.0, opens: bool = True, rejection_ms: int = 1, answered: bool = True) -> Tape:
    tape = Tape("TC-CB-005")
    tape.edge(Edge.APPLYING, "order", kind="pause")
    tape.edge(Edge.APPLIED, "order", kind="pause")
    takes_ns = round(takes_s * S)
    tape.add("hanging", 504 if answered else 0, 5, operation="orders", takes_ns=takes_ns, together=True)
    tape.at_ns += MS
    if opens:
        tape.add("rejected", 503, 6, operation="orders", body=OPEN, takes_ns=rejection_ms * MS, together=True)
    else:
        tape.add("rejected", 504 if answered else 0, 6, operation="orders", takes_ns=takes_ns, together=True)
    tape.edge(Edge.UNDOING, "order", kind="pause")
    tape.edge(Edge.UNDONE, "order", kind="pause")
    return tape


def test_a_service_that_hangs() -> None:
    judge = partial(case_findings, "TC-CB-005")
    assert outcome(judged(judge, hanging())) is Outcome.PASS
    assert "cb.never_opens" in rules(judged(judge, hanging(opens=False)))
    assert "cb.slow_rejection" in rules(judged(judge, hanging(rejection_ms=5000)))
    # Nobody was answered before we gave up: what became of these calls is not known.
    assert outcome(judged(judge, hanging(takes_s=12, answered=False, opens=False))) is Outcome.INCONCLUSIVE
    assert outcome(judged(judge, Tape("TC-CB-005"))) is Outcome.INCONCLUSIVE


def fault(tape: Tape, step: str, *answers: tuple[int, int], together: bool = False) -> None:
    tape.edge(Edge.APPLYING, "order")
    tape.edge(Edge.APPLIED, "order")
    began_ns = tape.at_ns
    for status, count in answers:
        body = OPEN if status == 503 else b"{}"
        tape.add(step, status, count, operation="orders", body=body, together=together)
        if together:
            tape.at_ns = began_ns
    tape.at_ns = max(tape.at_ns, began_ns + MS) + MS
    tape.edge(Edge.UNDOING, "order")
    tape.edge(Edge.UNDONE, "order")


def trials(
    *, at_once: int = 1, second: tuple[tuple[int, int], ...] = ((502, 1), (503, 5)), wait_s: int = 61
) -> Evidence:
    before = hanging()
    tape = Tape("TC-CB-006", before.at_ns + 61 * S)
    tape.add("first round 1", 200, operation="orders")
    tape.add("nearly closed", 200, operation="orders")
    fault(tape, "trial at once", (502, at_once), (503, 11 - at_once), together=True)
    tape.at_ns += 20 * S
    tape.add("second round 1", 503 if wait_s > 40 else 200, operation="orders", body=OPEN if wait_s > 40 else b"{}")
    tape.at_ns += (wait_s - 20) * S
    tape.add("second round 2", 200, operation="orders")
    fault(tape, "trial fails", *second)
    others = {"TC-CB-005": before.evidence(TARGET, facts=CLOSED_BEFORE)}
    return tape.evidence(TARGET, facts=CLOSED_BEFORE, others=others)


def test_trials_that_fail() -> None:
    judge = partial(case_findings, "TC-CB-006")
    assert outcome(judge(trials())) is Outcome.PASS
    assert rules(judge(trials(at_once=4))) == {"cb.half_open_flood"}
    # Successes of the first round counted: the second success closed it, and five failures more came through.
    assert rules(judge(trials(second=((502, 5), (503, 1))))) == {"cb.closes_early"}
    assert rules(judge(trials(wait_s=21))) == {"cb.closes_early"}
    starved = Tape("TC-CB-006", 200 * S)
    others = {"TC-CB-005": hanging().evidence(TARGET, facts=CLOSED_BEFORE)}
    assert outcome(judge(starved.evidence(TARGET, others=others))) is Outcome.INCONCLUSIVE


def test_they_are_skipped_where_a_control_is_not_declared() -> None:
    bare = TARGET.model_copy(update={"policies": Policies()})
    for case_id in ("TC-NEG-004", "TC-NEG-005", "TC-NEG-006", "TC-CB-007", "TC-CB-005"):
        assert "no circuit breaker" in why_missing(case_id, bare)
        assert why_missing(case_id, TARGET) == ""
    assert "only one service" in why_missing("TC-CB-004", _with(TARGET.policies.circuit_breaker[:1]))
    no_bound = {name: one.model_copy(update={"timeout": None}) for name, one in TARGET.services.items()}
    assert "no timeout for order" in why_missing("TC-CB-005", TARGET.model_copy(update={"services": no_bound}))
    no_4xx = TARGET.policies.circuit_breaker[0].model_copy(update={"failing_operation": None})
    assert "failing_operation" in why_missing("TC-NEG-004", _with((no_4xx,)))
    unpausable = {name: one for name, one in TARGET.faults.items() if name != "gateway"}
    assert "restart its gateway" in why_missing("TC-CB-007", TARGET.model_copy(update={"faults": unpausable}))


@pytest.mark.parametrize(
    ("changes", "told"),
    [({"failures": 1}, "first failure"), ({"ratio": 0.5, "ratio_window": 10 * S}, "by a share of failures")],
)
def test_a_circuit_that_promises_nothing_of_failures_in_a_row_is_skipped(changes: dict[str, Any], told: str) -> None:
    policy = TARGET.policies.circuit_breaker[0].model_copy(update=changes)
    assert told in why_missing("TC-NEG-005", _with((policy,)))


def _with(circuits: tuple[Any, ...]) -> Target:
    return TARGET.model_copy(update={"policies": TARGET.policies.model_copy(update={"circuit_breaker": circuits})})

"""TC-CB-003 and TC-RES-005 say PASS, FAIL and INCONCLUSIVE, each where they must."""

from __future__ import annotations

from tests.unit.cases.tape import MS, S, Tape, case_findings, nothing, outcome, preset, rules, why_missing

from proofload.cases.resilience import hung_service as hanging
from proofload.judge.verdict import Outcome
from proofload.plan.target import Target
from proofload.record.fault_edge import Edge


def company(*, status: int = 200, takes_ns: int = 5 * MS, waits_ns: int = 3 * S, proven: bool = True) -> Tape:
    """Return a run in which the user service hangs, and how the auth service answers meanwhile."""
    tape = Tape("TC-CB-003")
    for service in ("auth", "order"):
        tape.add(f"before {service}", 200, 40, takes_ns=5 * MS)
    tape.edge(Edge.APPLYING, "user")
    tape.edge(Edge.APPLIED, "user", proven=proven)
    tape.add("hanging", 200, 100, takes_ns=waits_ns, together=True)
    tape.at_ns -= waits_ns - MS
    tape.add("meanwhile auth", status, 40, takes_ns=takes_ns)
    tape.add("meanwhile order", 200, 40, takes_ns=5 * MS)
    tape.edge(Edge.UNDOING, "user")
    tape.edge(Edge.UNDONE, "user")
    return tape


def judged_company(tape: Tape) -> tuple[Outcome, set[str]]:
    found = case_findings("TC-CB-003", tape.evidence(preset()))
    return outcome(found), rules(found)


def test_who_is_well_and_answers_as_before_passes() -> None:
    assert judged_company(company()) == (Outcome.PASS, set())


def test_a_service_that_is_well_and_fails_or_is_slow_is_named() -> None:
    assert judged_company(company(status=503)) == (Outcome.FAIL, {"res.cascading"})
    assert judged_company(company(takes_ns=S)) == (Outcome.FAIL, {"res.cascading"})
    assert judged_company(company(takes_ns=40 * MS)) == (Outcome.PASS, set()), "a busy machine is no cascade"


def test_a_hang_that_nobody_saw_or_waited_on_decides_nothing() -> None:
    assert judged_company(company(proven=False)) == (Outcome.INCONCLUSIVE, set())
    assert judged_company(company(waits_ns=20 * MS)) == (Outcome.INCONCLUSIVE, set())
    assert outcome(case_findings("TC-CB-003", nothing("TC-CB-003", preset()))) is Outcome.INCONCLUSIVE


def callers(status: int, takes_ns: int, *, held_ns: int = 20 * S, proven: bool = True) -> tuple[Outcome, set[str]]:
    tape = Tape("TC-RES-005")
    tape.edge(Edge.APPLYING, "user", kind="pause")
    tape.edge(Edge.APPLIED, "user", kind="pause", proven=proven)
    begun_ns = tape.at_ns
    tape.add("callers", status, 3, takes_ns=takes_ns, together=True)
    tape.at_ns = begun_ns + held_ns
    tape.edge(Edge.UNDOING, "user", kind="pause")
    tape.edge(Edge.UNDONE, "user", kind="pause")
    found = case_findings("TC-RES-005", tape.evidence(preset()))
    return outcome(found), rules(found)


def test_callers_answered_in_the_promised_time_pass() -> None:
    assert callers(504, 5 * S) == (Outcome.PASS, set())
    assert callers(503, MS) == (Outcome.PASS, set())
    assert callers(504, 6 * S) == (Outcome.PASS, set()), "a quarter more is allowed"


def test_callers_left_without_an_answer_fail_it() -> None:
    assert callers(0, 11 * S) == (Outcome.FAIL, {"res.no_timeout"})
    assert callers(504, 15 * S) == (Outcome.FAIL, {"res.no_timeout"}), "three timeouts in a row are no timeout"


def test_a_hang_that_was_not_proven_or_too_short_decides_nothing() -> None:
    assert callers(0, 11 * S, proven=False) == (Outcome.INCONCLUSIVE, set())
    assert callers(0, 11 * S, held_ns=6 * S) == (Outcome.INCONCLUSIVE, set())
    assert callers(200, 4 * S, held_ns=3 * S) == (Outcome.INCONCLUSIVE, set()), "the mending let it go"


def test_what_cannot_hang_is_skipped_and_what_others_depend_on_hangs() -> None:
    target = preset()
    found = hanging.HANGING_BESIDE_OTHERS.find(target)
    assert isinstance(found, hanging.HungService)
    assert found.victim == "user"
    assert {service for service, _ in found.company} == {"auth", "order"}
    assert why_missing("TC-CB-003", target) == why_missing("TC-RES-005", target) == ""
    without = Target.model_validate(
        {"version": 1, "address": "http://127.0.0.1:1", "operations": {"read": {"path": "/read"}}}
    )
    assert "can be made to hang" in why_missing("TC-CB-003", without)
    services = {**target.services, "user": target.services["user"].model_copy(update={"timeout": None})}
    assert "promises no timeout" in why_missing("TC-RES-005", target.model_copy(update={"services": services}))

"""What a case left behind is told from its own answers, and the next one is not judged on it."""

from __future__ import annotations

from tests.unit.cases.tape import S, Tape, preset

from proofload.cases.readiness import LeftBehind
from proofload.plan.target import Target

TARGET = preset()


def left(tape: Tape, target: Target = TARGET, broken: tuple[str, ...] = ()) -> LeftBehind:
    found = LeftBehind()
    found.note(tape.case, target, tape.evidence(target).history, broken)
    return found


def test_a_service_whose_last_answer_was_a_failure_is_suspected() -> None:
    tape = Tape("TC-LOCK-001")
    tape.add("burst", 200, 3, operation="deposit")
    tape.add("burst", 503, 1, operation="deposit")
    assert left(tape).suspects == {"user": "after TC-LOCK-001, deposit got status 503"}
    tape.add("last", 200, 1, operation="deposit")
    assert left(tape).suspects == {}, "it was served after that"


def test_no_answer_is_suspected_and_an_accepted_status_is_not() -> None:
    tape = Tape("TC-NEG-004")
    tape.add("4xx", 404, 2, operation="no_such_order")
    tape.add("hangs", 0, 1, operation="balance")
    assert set(left(tape).suspects) == {"user"}


def test_what_a_case_broke_is_suspected_whatever_it_saw() -> None:
    assert left(Tape("TC-CB-001"), broken=("order",)).suspects == {"order": "TC-CB-001 broke it"}


def test_a_shared_allowance_comes_back_a_window_after_its_last_rejection() -> None:
    limit = TARGET.policies.rate_limit[0].model_copy(update={"scope": "global"})
    policies = TARGET.policies.model_copy(update={"rate_limit": (limit,)})
    shared = TARGET.model_copy(update={"policies": policies})
    tape = Tape("TC-RL-001")
    tape.add("sequence", 429, 1)
    assert left(tape).limited_until_ns == {}, "clients have addresses of their own"
    (until_ns,) = left(tape, shared).limited_until_ns.values()
    assert 60 * S < until_ns - S < 61 * S

"""TC-LATENCY-001 over all operations, and 004 to 006: PASS, FAIL, INCONCLUSIVE and SKIPPED, each where it must."""

from __future__ import annotations

import random

from tests.unit.cases.tape import MS, S, Tape, case_findings, nothing, outcome, preset, rules, why_missing

from proofload.cases.reads import read_of
from proofload.judge.verdict import Outcome
from proofload.record.fault_edge import Edge

TARGET = preset()


def at_once(
    *, one_ms: int = 80, many_ms: int = 70, pairs: int = 12, odd: int = 0, odd_ms: int | None = None
) -> tuple[Outcome, set[str]]:
    """The judge's word on pairs of which the first `odd` are others."""
    tape = Tape("TC-LATENCY-004")
    for i in range(1, pairs + 1):
        took = (odd_ms or many_ms) if i <= odd else one_ms
        tape.add(f"many {i}", 200, 20, operation="balance", takes_ns=many_ms * MS, together=True)
        tape.add(f"one {i}", 200, 20, operation="balance", takes_ns=took * MS, together=True)
    found = case_findings("TC-LATENCY-004", tape.evidence(TARGET))
    return outcome(found), rules(found)


def test_reads_of_one_user() -> None:
    failed = (Outcome.FAIL, {"lat.serialized_by_lock"})
    assert at_once() == (Outcome.PASS, set())
    assert at_once(one_ms=320) == failed
    assert at_once(one_ms=320, odd=1) == failed, "one pair may have met something else"
    assert at_once(one_ms=320, odd=2)[0] is Outcome.INCONCLUSIVE, "what does not come every time may be the machine"
    assert at_once(odd=2, odd_ms=320) == (Outcome.PASS, set()), "what came twice was the machine"
    assert at_once(one_ms=1300, many_ms=1000)[0] is Outcome.INCONCLUSIVE, "a busy machine hides what one waits for"
    assert at_once(one_ms=1300, many_ms=800) == failed, "a busy machine adds to both"
    assert at_once(one_ms=9, many_ms=3) == (Outcome.PASS, set()), "a few milliseconds are nothing"
    assert at_once(one_ms=320, pairs=11)[0] is Outcome.INCONCLUSIVE


def test_the_read_that_is_measured_is_the_same_in_every_process() -> None:
    # Judging again happens in another process, where a set of names has another order.
    assert read_of(TARGET) == "balance"


def starts(*, first_ms: tuple[int, ...] = (8, 9, 8), proven: bool = True, count: int = 300) -> tuple[Outcome, set[str]]:
    tape = Tape("TC-LATENCY-005")
    for i, slow_ms in enumerate(first_ms, 1):
        for edge in (Edge.APPLYING, Edge.APPLIED, Edge.UNDOING, Edge.UNDONE):
            tape.edge(edge, "gateway", proven=proven)
        tape.add(f"start {i}", 200, operation="balance", takes_ns=slow_ms * MS)
        tape.add(f"start {i}", 200, count, operation="balance", takes_ns=3 * MS)
    found = case_findings("TC-LATENCY-005", tape.evidence(TARGET))
    return outcome(found), rules(found)


def test_first_requests_after_a_start() -> None:
    assert starts() == (Outcome.PASS, set())
    assert starts(first_ms=(1010, 1020, 1005)) == (Outcome.FAIL, {"lat.slow_first_request"})
    assert starts(first_ms=(1010, 9, 8)) == (Outcome.PASS, set()), "once may be the machine"
    assert starts(proven=False) == (Outcome.INCONCLUSIVE, set())
    assert starts(first_ms=(9,))[0] is Outcome.INCONCLUSIVE


def steady(*, every_s: int = 0, count: int = 880) -> tuple[Outcome, set[str]]:
    tape = Tape("TC-LATENCY-006")
    step_ns = S // 20
    for i in range(count):
        tape.at_ns = S + i * step_ns
        phase_ns = (i * step_ns) % (every_s * S) if every_s else 10 * S
        stalls = every_s and S <= phase_ns < 2 * S
        tape.add("steady", 200, operation="balance", takes_ns=2 * S - phase_ns + MS if stalls else 3 * MS)
    found = case_findings("TC-LATENCY-006", tape.evidence(TARGET))
    return outcome(found), rules(found)


def test_stalls_that_come_again() -> None:
    assert steady() == (Outcome.PASS, set())
    assert steady(every_s=10) == (Outcome.FAIL, {"lat.periodic_stall"})
    assert steady(count=30)[0] is Outcome.INCONCLUSIVE


def measured(*, slow_ms: int = 0, every: int = 100, each: int = 480) -> tuple[Outcome, set[str]]:
    tape = Tape("TC-LATENCY-001")
    chance = random.Random(7)
    for name, usual_ms in (("profile", 4), ("balance", 5), ("deposit", 110), ("orders", 6)):
        for _ in range(each):
            extra_ms = slow_ms if chance.random() * every < 1 else 0
            tape.add(name, 200, operation=name, takes_ns=(usual_ms + extra_ms) * MS)
    found = case_findings("TC-LATENCY-001", tape.evidence(TARGET))
    return outcome(found), rules(found)


def test_one_slow_request_in_a_hundred_over_all_operations() -> None:
    assert measured() == (Outcome.PASS, set())
    assert measured(slow_ms=400) == (Outcome.FAIL, {"lat.slow_one_percent"})
    assert measured(slow_ms=400, every=1000) == (Outcome.PASS, set()), "too few to be a path of their own"
    assert measured(slow_ms=90) == (Outcome.PASS, set()), "a loaded machine is as uneven as that"
    assert measured(each=20)[0] is Outcome.INCONCLUSIVE


def test_they_abstain_or_are_skipped() -> None:
    for case in ("TC-LATENCY-004", "TC-LATENCY-005", "TC-LATENCY-006"):
        assert outcome(case_findings(case, nothing(case, TARGET))) is Outcome.INCONCLUSIVE
    for case in ("TC-LATENCY-004", "TC-LATENCY-005", "TC-LATENCY-006"):
        assert why_missing(case, TARGET) == ""
    lasting = {name: one.model_copy(update={"effect": "lasting"}) for name, one in TARGET.operations.items()}
    assert "no read of a service" in why_missing("TC-LATENCY-006", TARGET.model_copy(update={"operations": lasting}))
    open_to_all = {name: one.model_copy(update={"auth": "none"}) for name, one in TARGET.operations.items()}
    assert "needs a log-in" in why_missing("TC-LATENCY-004", TARGET.model_copy(update={"operations": open_to_all}))
    assert "restart its gateway" in why_missing("TC-LATENCY-005", TARGET.model_copy(update={"faults": {}}))


def test_what_was_not_measured_is_not_known() -> None:
    tape = Tape("TC-LATENCY-001")
    tape.add("profile", 200, 480, operation="profile", takes_ns=4 * MS)
    assert outcome(case_findings("TC-LATENCY-001", tape.evidence(TARGET))) is Outcome.PASS
    late = tape.evidence(TARGET, facts={"unmeasured": ["orders"]})
    assert outcome(case_findings("TC-LATENCY-001", late)) is Outcome.INCONCLUSIVE

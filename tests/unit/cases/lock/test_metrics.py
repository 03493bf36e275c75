"""TC-LOCK-005 on evidence made by hand: it holds, it breaks, and it knows when it can't tell."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.cases.tape import S, Tape, case_findings, nothing, outcome, preset, rules, why_missing

from proofload.cases.lock.metrics import COUNTED_LOCKS
from proofload.cases.requirement import Missing
from proofload.judge.evidence import Evidence
from proofload.judge.verdict import Outcome
from proofload.record.ledger import Ledgers, Reading, Sample

CASE = "TC-LOCK-005"
CONTENDED = b'{"code": "LOCK_CONTENTION"}'
NAMES = {"contended": "lock_contentions_total", "acquired": "lock_acquisitions_total"}


def page(service: str, label: str, operation: str, contended: float, acquired: float) -> Reading:
    samples = [
        Sample(NAMES[what], {"operation": operation}, value)
        for what, value in (("contended", contended), ("acquired", acquired))
    ]
    # Another operation's series, which must not be mixed in.
    samples += [Sample(name, {"operation": "other"}, 1000 if label.endswith("after") else 0) for name in NAMES.values()]
    return Reading(service, label, S, S, tuple(samples))


def seen(
    grown: tuple[float, float] = (36, 4), *, unanswered: int = 0, exclusive: bool = True, read: bool = True
) -> Evidence:
    """Four bursts of ten for each of three locks; `grown` is what the deposit's two counters grew by."""
    target = preset()
    tape, readings = Tape(CASE), []
    locks = COUNTED_LOCKS.find(target)
    assert not isinstance(locks, Missing)
    for policy in (one.lock for one in locks):
        service = str(target.operations[policy.operation].service)
        for i in range(1, 5):
            step = f"{policy.name} burst {i}"
            tape.add(step, 200, operation=policy.operation)
            tape.add(step, 503, 9 - unanswered, operation=policy.operation, body=CONTENDED)
            tape.add(step, 0, unanswered, operation=policy.operation)
        more = grown if policy.kind == "deposit" else (36 - 4 * unanswered, 4)
        if read:
            readings.append(page(service, f"{policy.name} before", policy.operation, 7, 9))
            readings.append(page(service, f"{policy.name} after", policy.operation, 7 + more[0], 9 + more[1]))
    if not exclusive:
        metrics = target.policies.metrics
        assert metrics is not None
        policies = target.policies.model_copy(update={"metrics": metrics.model_copy(update={"exclusive": False})})
        target = target.model_copy(update={"policies": policies})
    return tape.evidence(target, ledgers=Ledgers(tuple(readings)))


def test_counters_that_grew_by_what_was_answered_pass() -> None:
    findings = case_findings("TC-LOCK-005", seen())
    assert outcome(findings) is Outcome.PASS
    assert sum(one.rule.startswith("lock.") for one in findings) == 6


@pytest.mark.parametrize(
    ("grown", "rule"),
    [
        ((35, 4), "lock.contention_miscounted"),
        ((72, 4), "lock.contention_miscounted"),
        ((36, 3), "lock.acquisition_miscounted"),
        ((36, 8), "lock.acquisition_miscounted"),
    ],
)
def test_one_too_few_or_too_many_is_told_with_its_counter(grown: tuple[float, float], rule: str) -> None:
    findings = case_findings("TC-LOCK-005", seen(grown))
    assert rules(findings) == {rule}
    (broken,) = [one for one in findings if one.outcome is Outcome.FAIL]
    assert 'operation="deposit"' in broken.shown[0]


def test_more_than_ours_is_no_fault_of_a_target_that_others_use() -> None:
    assert rules(case_findings("TC-LOCK-005", seen((72, 9), exclusive=False))) == set()
    assert rules(case_findings("TC-LOCK-005", seen((35, 4), exclusive=False))) == {"lock.contention_miscounted"}


@pytest.mark.parametrize("counted", [32, 34, 36])
def test_what_was_never_answered_may_have_been_counted_or_not(counted: int) -> None:
    assert rules(case_findings("TC-LOCK-005", seen((counted, 4 + 36 - counted), unanswered=1))) == set()
    assert rules(case_findings("TC-LOCK-005", seen((counted - 5, 4), unanswered=1))) == {"lock.contention_miscounted"}


def test_a_counter_that_began_anew_or_could_not_be_read_says_nothing() -> None:
    assert rules(case_findings("TC-LOCK-005", seen((-7, -9)))) == set()
    assert outcome(case_findings("TC-LOCK-005", seen((-7, -9)))) is Outcome.INCONCLUSIVE
    assert outcome(case_findings("TC-LOCK-005", seen(read=False))) is Outcome.INCONCLUSIVE


def test_a_run_that_was_stopped_says_nothing() -> None:
    assert outcome(case_findings("TC-LOCK-005", nothing(CASE, preset()))) is Outcome.INCONCLUSIVE


def test_a_lock_that_waits_has_no_refusals_to_count() -> None:
    evidence = seen((0, 4))
    locks = tuple(one.model_copy(update={"on_contention": "wait"}) for one in evidence.target.policies.locks)
    policies = evidence.target.policies.model_copy(update={"locks": locks})
    waiting = replace(evidence, target=evidence.target.model_copy(update={"policies": policies}))
    assert {one.rule for one in case_findings("TC-LOCK-005", waiting) if one.rule.startswith("lock.")} == {
        "lock.acquisition_miscounted"
    }


def test_a_target_without_lock_counters_is_skipped_with_what_to_declare() -> None:
    target = preset()
    assert why_missing("TC-LOCK-005", target) == ""
    locks = tuple(one.model_copy(update={"metrics": None}) for one in target.policies.locks)
    bare = target.model_copy(update={"policies": target.policies.model_copy(update={"locks": locks})})
    assert "policies.locks.metrics" in why_missing("TC-LOCK-005", bare)

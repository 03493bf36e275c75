"""Cases start in order, side by side where nobody is disturbed, and never without their prerequisites."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from proofload.cases.case import AnyCase, Case, Category, PlannedCase, Priority
from proofload.cases.isolation import EVERYTHING
from proofload.cases.requirement import NOTHING
from proofload.core.errors import PlanError
from proofload.judge.verdict import Outcome
from proofload.report.report_data import CaseText
from proofload.suite.requested_cases import CaseFilter
from proofload.suite.schedule import Schedule
from proofload.suite.selection import choose


async def _drive(_run: object, _found: object) -> None: ...


def case(name: str, **changes: Any) -> AnyCase:
    plain: dict[str, Any] = {
        "title": name,
        "category": Category.RATE_LIMIT,
        "priority": Priority.HIGH,
        "phase": 2,
        "requires": NOTHING,
        "drive": _drive,
        "text": CaseText(),
    }
    return Case(name, **(plain | changes))


def planned(name: str, *, uses: Iterable[str] = (), disturbs: Iterable[str] = (), **changes: Any) -> PlannedCase:
    return PlannedCase(case(name, **changes), None, frozenset(uses), frozenset(disturbs))


def ids(cases: Iterable[AnyCase | PlannedCase]) -> list[str]:
    return [one.id for one in cases]


def test_all_start_at_once_where_nobody_is_disturbed() -> None:
    schedule = Schedule([planned("B"), planned("A", priority=Priority.CRITICAL), planned("C", phase=1)])
    assert ids(schedule.start()) == ["C", "A", "B"]
    assert not schedule.done


def test_who_disturbs_waits_and_is_not_overtaken() -> None:
    uses, disturbs = frozenset({"service:user"}), frozenset({"service:user"})
    schedule = Schedule(
        [planned("A", uses=uses), planned("B", disturbs=disturbs), planned("C", uses=uses), planned("D")]
    )
    assert ids(schedule.start()) == ["A", "D"]
    schedule.end("D", Outcome.PASS)
    assert schedule.start() == []
    schedule.end("A", Outcome.PASS)
    assert ids(schedule.start()) == ["B"]
    schedule.end("B", Outcome.PASS)
    assert ids(schedule.start()) == ["C"]


def test_who_disturbs_everything_runs_alone() -> None:
    schedule = Schedule([planned("A"), planned("B", disturbs=frozenset({EVERYTHING})), planned("C")])
    assert ids(schedule.start()) == ["A"]
    schedule.end("A", Outcome.PASS)
    assert ids(schedule.start()) == ["B"]
    assert schedule.start() == []


def test_a_prerequisite_that_did_not_pass_skips_what_needs_it_with_the_reason() -> None:
    chain = [planned("A"), planned("B", after=("A",)), planned("C", after=("B",)), planned("D")]
    schedule = Schedule(chain)
    assert ids(schedule.start()) == ["A", "D"]
    schedule.end("A", Outcome.FAIL)
    skipped = schedule.skip_hopeless()
    assert [(one.id, why) for one, why in skipped] == [
        ("B", "its prerequisite A was FAIL"),
        ("C", "its prerequisite B was SKIPPED"),
    ]
    schedule.end("D", Outcome.PASS)
    assert schedule.done


def test_a_prerequisite_that_passed_lets_the_next_start() -> None:
    schedule = Schedule([planned("A"), planned("B", after=("A",))])
    schedule.start()
    assert schedule.skip_hopeless() == []
    schedule.end("A", Outcome.PASS)
    assert ids(schedule.start()) == ["B"]


def test_a_prerequisite_outside_the_run_is_said() -> None:
    ((_, why),) = Schedule([planned("B", after=("A",))]).skip_hopeless()
    assert why == "its prerequisite A is not part of this run"


def test_an_early_end_leaves_nothing_waiting() -> None:
    schedule = Schedule([planned("A"), planned("B", after=("A",))])
    schedule.start()
    assert ids(schedule.abandon()) == ["B"]
    schedule.end("A", Outcome.INCONCLUSIVE)
    assert schedule.done


CATALOGUE = {one.id: one for one in [case("TC-RL-001"), case("TC-CB-001"), case("TC-CB-002", after=("TC-CB-001",))]}


@pytest.mark.parametrize(
    ("wanted", "chosen"),
    [
        ([], ["TC-RL-001", "TC-CB-001", "TC-CB-002"]),
        (["tc-rl-001"], ["TC-RL-001"]),
        (["TC-CB"], ["TC-CB-001", "TC-CB-002"]),
        (["TC-CB-002", "TC-RL-001"], ["TC-RL-001", "TC-CB-001", "TC-CB-002"]),
    ],
)
def test_cases_are_chosen_by_id_or_prefix_with_what_they_need(wanted: list[str], chosen: list[str]) -> None:
    assert ids(choose(CATALOGUE, CaseFilter(wanted))) == chosen


def test_every_id_that_matches_nothing_is_said_at_once() -> None:
    with pytest.raises(PlanError) as caught:
        choose(CATALOGUE, CaseFilter(["TC-RL-0001", "zzz", "", "TC-RL-001"]))
    assert [problem.got for problem in caught.value.problems] == ["'TC-RL-0001'", "'zzz'", "''"]
    assert "did you mean TC-RL-001?" in caught.value.problems[0].remedy
    with pytest.raises(PlanError, match="cases: got none"):
        choose({}, CaseFilter())


def test_a_run_whose_rest_is_skipped_comes_to_its_end() -> None:
    schedule = Schedule([planned("A"), planned("B", after=("A",))])
    schedule.start()
    schedule.end("A", Outcome.FAIL)
    assert not schedule.done
    assert schedule.skip_hopeless()
    assert schedule.start() == []
    assert schedule.done


def test_what_a_case_disturbs_is_left_alone_until_the_case_that_follows_has_ended() -> None:
    trip = planned("A", disturbs=frozenset({"service:order"}))
    recovery = planned("B", disturbs=frozenset({"service:order"}), after=("A",))
    schedule = Schedule([trip, recovery, planned("C")])
    assert schedule.disturbed() == frozenset()
    schedule.start()
    assert schedule.disturbed() == {"service:order"}
    schedule.end("A", Outcome.PASS)
    assert schedule.disturbed() == {"service:order"}  # between the two nobody may come in
    schedule.start()
    schedule.end("B", Outcome.PASS)
    assert schedule.disturbed() == frozenset()


def test_a_case_does_not_start_while_a_part_of_another_uses_what_it_would_disturb() -> None:
    schedule = Schedule([planned("A", disturbs=frozenset({"service:order"})), planned("B")])
    assert ids(schedule.start(frozenset({"service:order"}))) == ["B"]
    assert ids(schedule.start(frozenset({"service:user"}))) == ["A"]
    alone = Schedule([planned("A", disturbs=frozenset({"everything"}))])
    assert ids(alone.start(frozenset({"service:user"}))) == []
    assert ids(alone.start()) == ["A"]


@pytest.mark.parametrize(("outcome", "behind"), [(Outcome.PASS, False), (Outcome.FAIL, True)])
def test_what_nobody_follows_up_must_be_restored(outcome: Outcome, behind: bool) -> None:
    trip = planned("A", disturbs=frozenset({"service:order"}))
    schedule = Schedule([trip, planned("B", after=("A",)), planned("C", uses=frozenset({"service:order"}))])
    assert ids(schedule.start()) == ["A"]
    schedule.end("A", outcome)
    schedule.skip_hopeless()
    assert schedule.leaves_behind(trip) is behind
    schedule.restoring(trip)
    assert schedule.disturbed() >= {"service:order"}
    assert "C" not in ids(schedule.start())
    schedule.restored(trip)
    assert "C" in ids(schedule.start())


def test_nothing_is_restored_for_nobody() -> None:
    trip = planned("A", disturbs=frozenset({"service:order"}))
    schedule = Schedule([trip])
    schedule.start()
    schedule.end("A", Outcome.FAIL)
    assert not schedule.leaves_behind(trip)

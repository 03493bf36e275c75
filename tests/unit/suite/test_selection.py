"""Which cases a person gets for what was asked."""

import pytest
from tests.unit.suite.test_schedule import case, ids

from proofload.cases.case import Category, Priority
from proofload.core.errors import PlanError
from proofload.suite.catalogue import CATALOGUE, CORE
from proofload.suite.requested_cases import CaseFilter
from proofload.suite.selection import choose

LITTLE = {
    one.id: one
    for one in [
        case("TC-RL-001", priority=Priority.CRITICAL),
        case("TC-CB-001", category=Category.CIRCUIT_BREAKER, priority=Priority.CRITICAL, phase=3),
        case("TC-CB-002", category=Category.CIRCUIT_BREAKER, phase=3, after=("TC-CB-001",)),
        case("TC-LOCK-001", category=Category.LOCK, phase=7),
    ]
}
FIRST = ["TC-RL-001"]


@pytest.mark.parametrize(
    ("choice", "chosen"),
    [
        (CaseFilter(), FIRST),
        (CaseFilter(everything=True), list(LITTLE)),
        (CaseFilter(categories=["lock"]), ["TC-LOCK-001"]),
        (CaseFilter(categories=["Circuit_Breaker", "rate-limit"]), ["TC-RL-001", "TC-CB-001", "TC-CB-002"]),
        (CaseFilter(priorities=["critical"]), ["TC-RL-001", "TC-CB-001"]),
        (CaseFilter(phases=[3, 7]), ["TC-CB-001", "TC-CB-002", "TC-LOCK-001"]),
        (CaseFilter(phases=[3], priorities=["high"]), ["TC-CB-001", "TC-CB-002"]),  # the first as what the second needs
        (CaseFilter(words=["TC-CB"], skip=["tc-cb-002"]), ["TC-CB-001"]),
        (CaseFilter(words=["TC-CB-002"], skip=["TC-CB-001"]), ["TC-CB-002"]),
        (CaseFilter(words=["TC-CB", "TC-LOCK"], categories=["lock"]), ["TC-LOCK-001"]),
    ],
)
def test_filters_narrow_what_words_or_the_core_name(choice: CaseFilter, chosen: list[str]) -> None:
    assert ids(choose(LITTLE, choice, core=FIRST)) == chosen


def test_everything_wrong_with_the_asking_is_said_at_once() -> None:
    choice = CaseFilter(["TC-RL-1"], categories=["lok"], priorities=["urgent"], phases=[9], skip=["TC-XX"])
    with pytest.raises(PlanError) as caught:
        choose(LITTLE, choice)
    assert {problem.where for problem in caught.value.problems} == {
        "case",
        "--category",
        "--priority",
        "--phase",
        "--skip",
    }
    assert "did you mean lock?" in str(caught.value)
    assert "2, 3, 7" in str(caught.value)


def test_filters_that_leave_nothing_are_refused() -> None:
    with pytest.raises(PlanError, match="cases: got none is left"):
        choose(LITTLE, CaseFilter(["TC-LOCK-001"], skip=["TC-LOCK"]))


def test_the_core_are_the_nine_of_the_mission_and_all_exist() -> None:
    assert len(set(CORE)) == 9
    assert ids(choose(CATALOGUE, CaseFilter(), CORE)) == [one for one in CATALOGUE if one in CORE]

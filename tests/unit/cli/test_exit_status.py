"""Each way that a run can end has its own status."""

import pytest

from proofload.cli.exit_status import ExitStatus, of_error, of_outcomes
from proofload.core.errors import PlanError, ProofloadError, SafetyError, TargetError, ToolError
from proofload.judge.verdict import Outcome

P, F, N, S, E = Outcome.PASS, Outcome.FAIL, Outcome.INCONCLUSIVE, Outcome.SKIPPED, Outcome.ERROR


@pytest.mark.parametrize(
    ("outcomes", "status"),
    [
        ([P, P], 0),
        ([P, S], 0),
        ([P, N], 11),
        ([], 11),
        ([S], 11),
        ([P, E], 13),
        ([N, E], 13),
        ([P, F, N], 10),
        ([F, E], 10),
    ],
)
def test_outcomes(outcomes: list[Outcome], status: int) -> None:
    assert of_outcomes(outcomes) == status


@pytest.mark.parametrize(
    ("error", "status"), [(PlanError([]), 12), (SafetyError(), 14), (TargetError(), 13), (ToolError(), 13)]
)
def test_errors(error: ProofloadError, status: int) -> None:
    assert of_error(error) == status


def test_no_status_is_one_that_python_uses() -> None:
    assert not {1, 2} & {int(one) for one in ExitStatus}

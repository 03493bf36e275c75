"""Every exit status in one place. 1 and 2 stay Python's own: a crash or a mistyped option is no verdict."""

from __future__ import annotations

import enum
from collections.abc import Iterable

from proofload.core.errors import PlanError, ProofloadError, SafetyError
from proofload.judge.verdict import Outcome, worst


class ExitStatus(enum.IntEnum):
    """What the process says to whoever started it."""

    ALL_PASS = 0
    FAIL = 10
    INCONCLUSIVE = 11
    PLAN_WRONG = 12
    BROKEN = 13
    REFUSED = 14
    INTERRUPTED = 130
    TERMINATED = 143


_OF_OUTCOME = {
    Outcome.PASS: ExitStatus.ALL_PASS,
    Outcome.INCONCLUSIVE: ExitStatus.INCONCLUSIVE,
    Outcome.FAIL: ExitStatus.FAIL,
    Outcome.ERROR: ExitStatus.BROKEN,
}


def of_outcomes(outcomes: Iterable[Outcome]) -> ExitStatus:
    """Return the status for a run: any FAIL is 10, whatever else broke beside it.

    >>> of_outcomes([Outcome.FAIL, Outcome.ERROR]).value, of_outcomes([]).value
    (10, 11)
    """
    found = list(outcomes)
    return ExitStatus.FAIL if Outcome.FAIL in found else _OF_OUTCOME[worst(found)]


def worst_of(statuses: Iterable[int]) -> ExitStatus:
    """Return the status for several runs of the same cases: that of the worst.

    >>> worst_of([0, 11, 10, 13]).value, worst_of([0, 0]).value, worst_of([10, 130]).value
    (10, 0, 130)
    """
    return max(map(ExitStatus, statuses), key=badness)


def badness(status: int) -> int:
    """Return how bad a run's status is, to compare runs by; one that was interrupted tells least of all."""
    order = (
        *(ExitStatus.ALL_PASS, ExitStatus.INCONCLUSIVE, ExitStatus.BROKEN, ExitStatus.FAIL),
        *(ExitStatus.INTERRUPTED, ExitStatus.TERMINATED),
    )
    return order.index(ExitStatus(status))


def of_error(error: ProofloadError) -> ExitStatus:
    """Return the status for an error that ended a command."""
    if isinstance(error, PlanError):
        return ExitStatus.PLAN_WRONG
    if isinstance(error, SafetyError):
        return ExitStatus.REFUSED
    return ExitStatus.BROKEN

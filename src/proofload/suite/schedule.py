"""Which cases may start now: prerequisites respected, and nobody disturbed. Pure; the runner brings the time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from proofload.cases.case import PlannedCase
from proofload.cases.isolation import EVERYTHING, clash
from proofload.judge.verdict import Outcome


class Schedule:
    """The state of a run's cases: waiting, running, or ended with an outcome."""

    def __init__(self, cases: Iterable[PlannedCase]) -> None:
        self._waiting: list[PlannedCase] = sorted(
            cases, key=lambda one: (one.case.phase, one.case.priority.rank, one.id)
        )
        self._chosen = frozenset(case.id for case in self._waiting)
        self._running: dict[str, PlannedCase] = {}
        self._ended: dict[str, Outcome] = {}
        self._restoring: list[PlannedCase] = []

    @property
    def waiting(self) -> Sequence[PlannedCase]:
        """Return the cases that have not started, in the order in which they would."""
        return tuple(self._waiting)

    @property
    def done(self) -> bool:
        """Return whether every case has ended."""
        return not self._waiting and not self._running

    @property
    def ended(self) -> Mapping[str, Outcome]:
        """Return the outcomes so far."""
        return self._ended

    def disturbed(self, excluding: str = "") -> frozenset[str]:
        """Return what must be left alone now: what running cases disturb, and what they leave to those that follow.

        A case that follows on another (the recovery after the trip) begins where that one ended; between the two
        nobody may come in. What the case `excluding`, and those that follow on it, disturb is left out.
        """
        follow = [case for case in self._waiting if any(map(self._leads_on, case.case.after))]
        others = [
            one
            for one in (*self._running.values(), *self._restoring, *follow)
            if excluding not in (one.id, *one.case.after)
        ]
        return frozenset().union(*(one.disturbs for one in others))

    def _leads_on(self, case_id: str) -> bool:
        return case_id in self._running or self._ended.get(case_id) is Outcome.PASS

    def remaining_ns(self, case: PlannedCase) -> int:
        """Return how long the case takes together with the longest chain of cases that follow on it."""
        following = [one for one in self._waiting if case.id in one.case.after]
        return case.takes_ns + max(map(self.remaining_ns, following), default=0)

    def leaves_behind(self, case: PlannedCase) -> bool:
        """Return whether what the ended case disturbed must be restored: nobody follows on it, and others wait."""
        followed = any(case.id in one.case.after for one in self._waiting)
        return bool(case.disturbs) and bool(self._waiting or self._running) and not followed

    def restoring(self, case: PlannedCase) -> None:
        """Go on leaving alone what the case disturbed."""
        self._restoring.append(case)

    def restored(self, case: PlannedCase) -> None:
        """Let others in again."""
        self._restoring.remove(case)

    def start(self, in_use: frozenset[str] = frozenset()) -> list[PlannedCase]:
        """Move every case that may start now from waiting to running, and return them.

        A case that disturbs what an earlier waiting one needs does not overtake it, so nobody starves. None starts
        that would disturb what a part of a running case has `in_use`.
        """
        started: list[PlannedCase] = []
        ahead: list[PlannedCase] = []
        for case in list(self._waiting):
            if not self._prerequisites_ended(case):
                continue
            busy = bool(in_use) and clash(in_use, case.disturbs)
            if busy or any(_clash(case, other) for other in [*self._running.values(), *self._restoring, *ahead]):
                ahead.append(case)
                continue
            self._waiting.remove(case)
            self._running[case.id] = case
            started.append(case)
        return started

    def end(self, case_id: str, outcome: Outcome) -> None:
        """Record that a running case has ended."""
        del self._running[case_id]
        self._ended[case_id] = outcome

    def skip_hopeless(self) -> list[tuple[PlannedCase, str]]:
        """End, as SKIPPED, the waiting cases whose prerequisite did not pass; return them with the reason."""
        skipped: list[tuple[PlannedCase, str]] = []
        while hopeless := next(((case, why) for case in self._waiting if (why := self._why_hopeless(case))), None):
            self._waiting.remove(hopeless[0])
            self._ended[hopeless[0].id] = Outcome.SKIPPED
            skipped.append(hopeless)
        return skipped

    def abandon(self) -> list[PlannedCase]:
        """Take every waiting case off the schedule and return them: the run is ending early."""
        left, self._waiting = self._waiting, []
        return left

    def _prerequisites_ended(self, case: PlannedCase) -> bool:
        return all(self._ended.get(one) is Outcome.PASS for one in case.case.after)

    def _why_hopeless(self, case: PlannedCase) -> str:
        for one in case.case.after:
            if one not in self._chosen and one not in self._ended:
                return f"its prerequisite {one} is not part of this run"
            outcome = self._ended.get(one)
            if outcome is not None and outcome is not Outcome.PASS:
                return f"its prerequisite {one} was {outcome.name}"
        return ""


def _clash(one: PlannedCase, other: PlannedCase) -> bool:
    if EVERYTHING in one.disturbs | other.disturbs or one.disturbs & other.disturbs:
        return True
    return clash(one.uses, other.disturbs) or clash(other.uses, one.disturbs)

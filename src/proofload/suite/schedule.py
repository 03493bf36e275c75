"""Which cases may start now: prerequisites respected, and nobody disturbed. Pure; the runner brings the time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from proofload.cases.case import Case
from proofload.judge.verdict import Outcome

EVERYTHING = "everything"
"""Disturbing this disturbs every other case: it runs alone."""


class Schedule:
    """The state of a run's cases: waiting, running, or ended with an outcome."""

    def __init__(self, cases: Iterable[Case]) -> None:
        self._waiting: list[Case] = sorted(cases, key=lambda case: (case.phase, case.priority.rank, case.id))
        self._chosen = frozenset(case.id for case in self._waiting)
        self._running: dict[str, Case] = {}
        self._ended: dict[str, Outcome] = {}
        self._restoring: list[Case] = []

    @property
    def waiting(self) -> Sequence[Case]:
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

    @property
    def disturbed(self) -> frozenset[str]:
        """Return what must be left alone now: what running cases disturb, and what they leave to those that follow.

        A case that follows on another (the recovery after the trip) begins where that one ended; between the two
        nobody may come in.
        """
        follow = [case for case in self._waiting if any(map(self._leads_on, case.prerequisites))]
        return frozenset().union(*(case.disturbs for case in (*self._running.values(), *self._restoring, *follow)))

    def _leads_on(self, case_id: str) -> bool:
        return case_id in self._running or self._ended.get(case_id) is Outcome.PASS

    def leaves_behind(self, case: Case) -> bool:
        """Return whether what the ended case disturbed must be restored: nobody follows on it, and others wait."""
        followed = any(case.id in one.prerequisites for one in self._waiting)
        return case.restore is not None and bool(self._waiting or self._running) and not followed

    def restoring(self, case: Case) -> None:
        """Go on leaving alone what the case disturbed."""
        self._restoring.append(case)

    def restored(self, case: Case) -> None:
        """Let others in again."""
        self._restoring.remove(case)

    def start(self, in_use: frozenset[str] = frozenset()) -> list[Case]:
        """Move every case that may start now from waiting to running, and return them.

        A case that disturbs what an earlier waiting one needs does not overtake it, so nobody starves. None starts
        that would disturb what a part of a running case has `in_use`.
        """
        started: list[Case] = []
        ahead: list[Case] = []
        for case in list(self._waiting):
            if not self._prerequisites_ended(case):
                continue
            busy = bool(case.disturbs & in_use) or (EVERYTHING in case.disturbs and bool(in_use))
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

    def skip_hopeless(self) -> list[tuple[Case, str]]:
        """End, as SKIPPED, the waiting cases whose prerequisite did not pass; return them with the reason."""
        skipped: list[tuple[Case, str]] = []
        while hopeless := next(((case, why) for case in self._waiting if (why := self._why_hopeless(case))), None):
            self._waiting.remove(hopeless[0])
            self._ended[hopeless[0].id] = Outcome.SKIPPED
            skipped.append(hopeless)
        return skipped

    def abandon(self) -> list[Case]:
        """Take every waiting case off the schedule and return them: the run is ending early."""
        left, self._waiting = self._waiting, []
        return left

    def _prerequisites_ended(self, case: Case) -> bool:
        return all(self._ended.get(one) is Outcome.PASS for one in case.prerequisites)

    def _why_hopeless(self, case: Case) -> str:
        for one in case.prerequisites:
            if one not in self._chosen and one not in self._ended:
                return f"its prerequisite {one} is not part of this run"
            outcome = self._ended.get(one)
            if outcome is not None and outcome is not Outcome.PASS:
                return f"its prerequisite {one} was {outcome.name}"
        return ""


def _clash(one: Case, other: Case) -> bool:
    if EVERYTHING in one.disturbs or EVERYTHING in other.disturbs:
        return True
    return bool(one.disturbs & (other.disturbs | other.uses)) or bool(other.disturbs & one.uses)

"""Replays calls on the automaton, with bounds in place of instants: what no honest circuit can have answered."""

from __future__ import annotations

import numpy as np

from proofload.core.units import format_duration
from proofload.judge.breaker.calls import CallKind, Calls, CircuitContext
from proofload.judge.breaker.half_open import half_open
from proofload.judge.breaker.opening import due, earliest
from proofload.judge.breaker.phases import (
    CLOSES_EARLY,
    EARLY,
    LATE,
    NEVER_CLOSES,
    NEVER_OPENS,
    NO_PERIOD,
    NO_TRIAL,
    REACHED,
    STATUS,
    Closed,
    Open,
    Replay,
)
from proofload.judge.breaker.settle import doubt
from proofload.judge.breaker.tripping import hidden_failure, may_hide
from proofload.judge.models.attempts import FAR_NS, Ints


class Circuit:
    """One circuit's calls and the phases that an honest automaton goes through with them."""

    def __init__(self, stage: CircuitContext, calls: Calls) -> None:
        self.stage, self.calls = stage, calls
        self.policy = stage.policy
        self.shortest, self.longest = stage.shortest, stage.longest
        self.rejected = np.flatnonzero(calls.of(CallKind.REJECTED))
        self.through = np.flatnonzero(calls.through())
        self.maybe_through = np.flatnonzero(~calls.of(CallKind.REJECTED))
        hidden = calls.excused & may_hide(stage)
        self.hidden = self.rejected[hidden[self.rejected]]
        """Rejections that may each be a failed trial, answered by the circuit itself."""
        self.out = Replay()

    def run(self) -> Replay:
        """Follow the phases to the end of the calls, or to where bounds no longer tell them apart."""
        if not len(self.calls):
            return self.out
        closed: Closed | None = Closed(int(self.calls.sent_ns[0]) - 1, int(self.calls.sent_ns[0]) - 1)
        while closed is not None:
            phase = self.closed(closed)
            closed = None
            while phase is not None:
                self.out.openings.append((phase.lo, phase.hi))
                self.opened(phase)
                after = half_open(self, phase)
                phase = after if isinstance(after, Open) else None
                closed = after if isinstance(after, Closed) else None
        self._abandoned()
        self._certain()
        if self.policy.ratio is not None and self.policy.ratio_window is None and self.policy.ratio_calls is None:
            says = "over which calls the share is counted is not declared: ratio_window (time) or ratio_calls"
            if not self.out.tested[LATE]:
                self.out.undecided.setdefault(LATE, says)
        return self.out

    def _certain(self) -> None:
        """Take back what rests on answers whose meaning only their order tells."""
        calls, out = self.calls, self.out
        if not calls.apparent.any():
            return
        sound = {
            breach.rule
            for breach in out.breaches
            if (breach.rule in (LATE, NEVER_OPENS, STATUS) and not calls.apparent[list(breach.places)].any())
            or (breach.rule == EARLY and not calls.apparent[breach.places[-1]])
        }
        doubted = {breach.rule for breach in out.breaches} - sound
        out.withdraw(doubted, doubt(self.stage, calls))

    def _abandoned(self) -> None:
        """Judge rejections that follow on nothing: no call for a whole open period could have opened the circuit."""
        calls = self.calls
        openers = np.sort(np.append(self.maybe_through, self.hidden))
        rejected = np.setdiff1d(self.rejected, self.hidden)
        begun, ended = calls.sent_ns[openers], np.sort(calls.done_ns[openers])
        upto = np.searchsorted(begun, calls.done_ns[rejected], side="right")
        alone = np.flatnonzero(upto == np.searchsorted(ended, calls.sent_ns[rejected] - self.longest))
        if not len(alone):
            return
        blocked = int(rejected[alone[0]])
        before = np.flatnonzero(calls.done_ns[self.maybe_through] < calls.sent_ns[blocked])
        if not len(before):
            return
        last = int(self.maybe_through[before[np.argmax(calls.done_ns[self.maybe_through[before]])]])
        waited = (int(calls.sent_ns[blocked]) - int(calls.done_ns[last])) / 1e9
        says = (
            f"row {calls.row[blocked]} was rejected {waited:.3g} s after the last call that can have opened the circuit"
        )
        self.out.breach(NO_TRIAL, says, last, blocked, notes=("rejected, a trial was due",))

    def closed(self, since: Closed) -> Open | None:
        """Judge a closed phase up to its opening, which is returned; None where it never opened."""
        calls, out = self.calls, self.out
        forced = due(self.policy, calls, since)
        place = self._first(self.rejected, since.since_hi)
        seen_ns = int(calls.done_ns[place]) if place is not None else FAR_NS
        if forced is None and place is None:
            return None
        if place is not None and (forced is None or seen_ns <= forced.at_ns):
            return self._opened_by(since, place, seen_ns)
        assert forced is not None
        lo = earliest(
            self.policy, calls, since, since.since_lo, forced.at_ns, hidden=int(self.policy.ratio is not None)
        )
        phase = Open(self._not_before(lo or forced.at_ns, since, forced.at_ns), forced.at_ns, "failures")
        out.tested[LATE] += 1
        out.tested[EARLY] += 1
        served = self._surely_inside(phase)
        if self.policy.tripping_call == "circuit" and self._serial(forced.places):
            # The last failure of the run should have been answered by the circuit that it opened.
            served = np.append(np.array(forced.places[-1:], dtype=np.int64), served)
        if place is not None and calls.sent_ns[place] > forced.at_ns and hidden_failure(self.stage, calls, place):
            # One failure too many: the circuit answered it, but it reached the service.
            served = np.append(np.array([place], dtype=np.int64), served)
        if not len(served) and place is None:
            # Calls that took as long as an open period: each by itself may have been a trial, but not so many.
            served = self._more_than_trials(phase)
        if not len(served):
            return phase
        self._late(forced.places, served, place)
        # It did open, only later: go on from there, for what comes after is worth judging too.
        return Open(int(calls.sent_ns[served[-1]]), seen_ns, "failures") if place is not None else None

    def _opened_by(self, since: Closed, place: int, seen_ns: int) -> Open | None:
        """Judge a rejection that comes no later than the circuit had to be open: whether it came too early."""
        calls, out = self.calls, self.out
        out.tested[EARLY] += 1
        from_ns = max(since.since_lo, int(calls.sent_ns[place]) - self.longest)
        by_ratio = self.policy.ratio is not None
        hidden = hidden_failure(self.stage, calls, place)
        lo = earliest(self.policy, calls, since, from_ns, seen_ns) if not hidden else None
        if lo is None and hidden is not False:
            lo = earliest(self.policy, calls, since, max(from_ns, self._hidden_from(place)), seen_ns, hidden=1)
            if lo is not None and hidden is None and not by_ratio:
                out.undecided[EARLY] = self._one_too_few(place)
            # Whichever it was, the circuit opened on its last failure, or before.
            out.tested[LATE] += lo is not None
        elif by_ratio:
            out.tested[LATE] += lo is not None
        if lo is None:
            self._early(since, place)
            return None
        return Open(self._not_before(lo, since, seen_ns), seen_ns, "failures")

    def _hidden_from(self, place: int) -> int:
        """Return the earliest that the call which opened the circuit was sent, if its own answer was a rejection."""
        calls = self.calls
        ends_later = calls.done_ns[self.rejected] >= calls.done_ns[place]
        beside = self.rejected[ends_later & (calls.sent_ns[self.rejected] <= calls.done_ns[place])]
        return int(calls.sent_ns[beside].min())

    def _one_too_few(self, place: int) -> str:
        """Return why one failure too few may be right: the circuit may have answered the last one itself."""
        policy = self.policy
        return (
            f"row {self.calls.row[place]} was rejected after {policy.failures - 1} failures, {policy.failures} open "
            "it: too early, unless that call reached the service and its failure was answered by the circuit; "
            f"declare tripping_call, or services.{policy.service}.metrics, so that calls that reached it are counted"
        )

    def _serial(self, places: tuple[int, ...]) -> bool:
        """Say whether calls came one after the other."""
        chosen = list(places)
        return bool(np.all(self.calls.sent_ns[chosen[1:]] > self.calls.done_ns[chosen[:-1]]))

    def _not_before(self, lo: int, since: Closed, hi: int) -> int:
        """Return a later bound for the opening: whatever was let through before it came first."""
        calls = self.calls
        inside = (calls.sent_ns > since.since_hi) & (calls.done_ns < lo + self.shortest) & (calls.sent_ns <= hi)
        inside &= calls.through()
        return max(lo, int(calls.sent_ns[inside].max())) if np.any(inside) else lo

    def _surely_inside(self, phase: Open) -> Ints:
        """Return the places of calls let through that were surely decided while the circuit was open."""
        calls = self.calls
        inside = (calls.sent_ns[self.through] > phase.hi) & (calls.done_ns[self.through] < phase.lo + self.shortest)
        found: Ints = self.through[inside]
        return found

    def _more_than_trials(self, phase: Open) -> Ints:
        """Return failures after an opening that are too many for trials, each of which opens it for a whole period."""
        calls = self.calls
        later = self.maybe_through[calls.sent_ns[self.maybe_through] > phase.hi]
        failing = (calls.kind[later] == CallKind.FAILURE) & calls.demanded[later]
        failed: Ints = later[failing]
        # A trial with another outcome makes room for the next at once.
        if len(others := later[~failing]):
            failed = failed[calls.done_ns[failed] < calls.sent_ns[others].min()]
        if not len(failed):
            return failed
        span = int(calls.done_ns[failed].max() - calls.sent_ns[failed].min())
        allowed = self.policy.half_open_trials * (span // self.shortest + 1)
        return failed if len(failed) > allowed else failed[:0]

    def _early(self, since: Closed, place: int) -> None:
        calls, limit = self.calls, self.policy.failures
        before = (calls.sent_ns > since.since_hi) & (calls.sent_ns <= calls.done_ns[place])
        failed = np.flatnonzero(before & calls.of(CallKind.FAILURE))
        neutral = np.flatnonzero(before & calls.of(CallKind.NEUTRAL))
        told = [f"{len(failed)} failures"]
        if self.policy.ratio is not None:
            told = [
                f"{len(failed)} failures among {int(np.count_nonzero(before & ~calls.of(CallKind.REJECTED)))} calls"
            ]
        elif len(failed) >= limit:
            told = [f"{len(failed)} failures, no {limit} of them in a row"]
        if len(neutral):
            statuses = ", ".join(str(status) for status in sorted(set(calls.status[neutral].tolist())))
            told.append(f"{len(neutral)} answers that are no failure of the service (status {statuses})")
        recovered = since.since_hi > int(calls.sent_ns[0])
        rule = NEVER_CLOSES if recovered and not len(failed) else EARLY
        says = f"row {calls.row[place]} was rejected by the circuit after {' and '.join(told)}: {self._threshold()}"
        self.out.breach(rule, says, *failed[-limit:].tolist(), *neutral[-2:].tolist(), place, notes=("rejected",))

    def _threshold(self) -> str:
        if self.policy.ratio is not None:
            span = self.policy.ratio_window
            within = f" in {format_duration(span)}" if span is not None else ""
            within = f" in the latest {self.policy.ratio_calls}" if self.policy.ratio_calls is not None else within
            least = f"{self.policy.minimum_calls} calls or more{within}"
            return f"{self.policy.ratio * 100:g} % of {least} must fail to open it"
        return f"{self.policy.failures} consecutive failures open it"

    def _late(self, run: tuple[int, ...], served: Ints, place: int | None) -> None:
        calls = self.calls
        first = int(served[0])
        status = int(calls.status[first])
        if calls.kind[first] == CallKind.FAILURE and status not in calls.status[list(run)]:
            says = f"row {calls.row[first]} was answered {status}, not {self._promised()}"
            self.out.breach(STATUS, f"{says}: {self._threshold()}", *run, first, notes=("the circuit must be open",))
            return
        if place is None and len(served) >= 2:
            says = f"the circuit never opened: {len(served)} more calls were let through, the first answered {status}"
            self.out.breach(NEVER_OPENS, says, *run, first, notes=(f"answered {status}, the circuit must be open",))
            return
        after = len(run) - (first in run)
        says = f"row {calls.row[first]} was let through after {after} failures: {self._threshold()}; {len(served)} such"
        self.out.breach(LATE, says, *run, first, notes=(f"answered {status}, the circuit must be open",))

    def _promised(self) -> str:
        code = self.policy.code_when_open
        return f"{self.policy.status_when_open}" + (f" with the code {code}" if code else "")

    def opened(self, phase: Open) -> None:
        """Judge an open phase: whatever was surely decided inside it must have been rejected."""
        calls, out = self.calls, self.out
        inside = (calls.sent_ns[self.rejected] > phase.hi) & (calls.done_ns[self.rejected] < phase.lo + self.shortest)
        out.tested[REACHED] += int(np.count_nonzero(inside))
        if phase.why == "trial":
            out.tested[NO_PERIOD] += int(np.count_nonzero(inside))
        served = self._surely_inside(phase)
        if not len(served):
            return
        first = int(served[0])
        status, row = int(calls.status[first]), int(calls.row[first])
        note = (f"answered {status}, the circuit must be open",)
        if phase.why == "trial":
            rule = CLOSES_EARLY if phase.successes else NO_PERIOD
            done = f"after {phase.successes} of {self.policy.successes} successes" if phase.successes else "at once"
            says = (
                f"row {row} was let through though a trial had failed {done}: that opens the circuit for a full period"
            )
        elif calls.kind[first] == CallKind.FAILURE and status != self.policy.status_when_open:
            rule = STATUS
            says = f"row {row} was answered {status}, not {self._promised()}, while the circuit was open"
        else:
            rule = REACHED
            says = f"row {row} was answered {status} while the circuit was open: it was let through to the service"
        out.breach(rule, says, self.opener(phase), first, notes=note)

    def opener(self, phase: Open) -> int:
        """Return the last call that ended by the time the circuit was surely open."""
        ended = np.flatnonzero(self.calls.done_ns <= phase.hi)
        return int(ended[np.argmax(self.calls.done_ns[ended])]) if len(ended) else 0

    def _first(self, places: Ints, after_ns: int) -> int | None:
        """Return the place among `places` that ends first of those sent after an instant."""
        later = places[self.calls.sent_ns[places] > after_ns]
        return int(later[np.argmin(self.calls.done_ns[later])]) if len(later) else None

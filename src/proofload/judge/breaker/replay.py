"""Replays calls on the automaton, with bounds in place of instants: what no honest circuit can have answered."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from proofload.judge.breaker.calls import CallKind, Calls, CircuitContext
from proofload.judge.breaker.opening import Closed, due, earliest
from proofload.judge.models.attempts import FAR_NS, Ints

LATE, NEVER_OPENS, EARLY = "cb.opens_late", "cb.never_opens", "cb.opens_early"
REACHED, STATUS = "cb.reached_while_open", "cb.wrong_status_when_open"
NO_TRIAL, FLOOD = "cb.never_half_opens", "cb.half_open_flood"
CLOSES_EARLY, NO_PERIOD, NEVER_CLOSES = "cb.closes_early", "cb.reopens_without_period", "cb.never_closes"


@dataclass(frozen=True, slots=True)
class Breach:
    """A rule broken for certain, and the calls (places in `Calls`) that show it."""

    rule: str
    says: str
    places: tuple[int, ...]
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class Replay:
    """What the replay saw: how often each rule was put to the test, and what was broken."""

    breaches: list[Breach] = field(default_factory=list)
    tested: Counter[str] = field(default_factory=Counter)
    unclear: str = ""
    """Why the replay stopped before the end; what came later is not judged."""
    openings: list[tuple[int, int]] = field(default_factory=list)
    """For each time the circuit opened: the earliest and the latest instant."""

    def breach(self, rule: str, says: str, *places: int, notes: tuple[str, ...] = ()) -> None:
        """Note a rule broken, once: the first counterexample is the one that is told."""
        if all(known.rule != rule for known in self.breaches):
            self.breaches.append(Breach(rule, says, places, notes))


@dataclass(frozen=True, slots=True)
class Open:
    """An open phase: it began somewhere in [lo, hi]."""

    lo: int
    hi: int
    why: str
    """What opened it: `failures`, or `trial` where a half-open trial failed."""
    successes: int = 0
    """Trials that may have succeeded before that."""


class Circuit:
    """One circuit's calls and the phases that an honest automaton goes through with them."""

    def __init__(self, stage: CircuitContext, calls: Calls) -> None:
        self.stage, self.calls = stage, calls
        self.policy = stage.policy
        self.shortest = self.policy.open_for - stage.slack
        self.longest = self.policy.open_for + stage.slack
        self.rejected = np.flatnonzero(calls.of(CallKind.REJECTED))
        self.through = np.flatnonzero(calls.through())
        self.maybe_through = np.flatnonzero(~calls.of(CallKind.REJECTED))
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
                after = self.half_open(phase)
                phase = after if isinstance(after, Open) else None
                closed = after if isinstance(after, Closed) else None
        self._abandoned()
        return self.out

    def _abandoned(self) -> None:
        """Judge rejections that follow on nothing: no call for a whole open period could have opened the circuit."""
        calls = self.calls
        begun, ended = calls.sent_ns[self.maybe_through], np.sort(calls.done_ns[self.maybe_through])
        upto = np.searchsorted(begun, calls.done_ns[self.rejected], side="right")
        alone = np.flatnonzero(upto == np.searchsorted(ended, calls.sent_ns[self.rejected] - self.longest))
        if not len(alone):
            return
        blocked = int(self.rejected[alone[0]])
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
            out.tested[EARLY] += 1
            from_ns = max(since.since_lo, int(calls.sent_ns[place]) - self.longest)
            lo = earliest(self.policy, calls, since, from_ns, seen_ns)
            if lo is None:
                self._early(since, place)
                return None
            return Open(self._not_before(lo, since, seen_ns), seen_ns, "failures")
        assert forced is not None
        lo = earliest(self.policy, calls, since, since.since_lo, forced.at_ns)
        phase = Open(self._not_before(lo or forced.at_ns, since, forced.at_ns), forced.at_ns, "failures")
        out.tested[LATE] += 1
        out.tested[EARLY] += 1
        served = self._surely_inside(phase)
        if not len(served) and place is None:
            # Calls that took as long as an open period: each by itself may have been a trial, but not so many.
            served = self._more_than_trials(phase)
        if not len(served):
            return phase
        self._late(forced.places, served, place)
        # It did open, only later: go on from there, for what comes after is worth judging too.
        return Open(int(calls.sent_ns[served[-1]]), seen_ns, "failures") if place is not None else None

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
        told = [
            f"{len(failed)} failures, no {limit} of them in a row"
            if len(failed) >= limit
            else f"{len(failed)} failures"
        ]
        if len(neutral):
            statuses = ", ".join(str(status) for status in sorted(set(calls.status[neutral].tolist())))
            told.append(f"{len(neutral)} answers that are no failure of the service (status {statuses})")
        recovered = since.since_hi > int(calls.sent_ns[0])
        rule = NEVER_CLOSES if recovered and not len(failed) else EARLY
        says = f"row {calls.row[place]} was rejected by the circuit after {' and '.join(told)}: {self._threshold()}"
        self.out.breach(rule, says, *failed[-limit:].tolist(), *neutral[-2:].tolist(), place, notes=("rejected",))

    def _threshold(self) -> str:
        if self.policy.ratio is not None:
            return f"a share of {self.policy.ratio:g} failures opens it"
        return f"{self.policy.failures} consecutive failures open it"

    def _late(self, run: tuple[int, ...], served: Ints, place: int | None) -> None:
        calls = self.calls
        first = int(served[0])
        status = int(calls.status[first])
        if calls.kind[first] == CallKind.FAILURE and status not in calls.status[list(run)]:
            says = f"row {calls.row[first]} was answered {status} in place of {self.policy.status_when_open}"
            self.out.breach(STATUS, f"{says}: {self._threshold()}", *run, first, notes=("the circuit must be open",))
            return
        if place is None and len(served) >= 2:
            says = f"the circuit never opened: {len(served)} more calls were let through, the first answered {status}"
            self.out.breach(NEVER_OPENS, says, *run, first, notes=(f"answered {status}, the circuit must be open",))
            return
        says = (
            f"row {calls.row[first]} was let through after {len(run)} failures: {self._threshold()}; {len(served)} such"
        )
        self.out.breach(LATE, says, *run, first, notes=(f"answered {status}, the circuit must be open",))

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
            says = f"row {row} was answered {status}, not {self.policy.status_when_open}, while the circuit was open"
        else:
            rule = REACHED
            says = f"row {row} was answered {status} while the circuit was open: it was let through to the service"
        out.breach(rule, says, self._opener(phase), first, notes=note)

    def _opener(self, phase: Open) -> int:
        """Return the last call that ended by the time the circuit was surely open."""
        ended = np.flatnonzero(self.calls.done_ns <= phase.hi)
        return int(ended[np.argmax(self.calls.done_ns[ended])]) if len(ended) else 0

    def half_open(self, phase: Open) -> Open | Closed | None:
        """Judge what follows an open phase: trials, and the circuit's closing or opening again."""
        calls, out, policy = self.calls, self.out, self.policy
        ready_lo, ready_hi = phase.lo + self.shortest, phase.hi + self.longest
        late = self.rejected[calls.sent_ns[self.rejected] > ready_hi]
        possible = self.maybe_through[calls.done_ns[self.maybe_through] >= ready_lo]
        possible = possible[calls.sent_ns[possible] > phase.hi]
        if len(late):
            blocked = int(late[0])
            out.tested[NO_TRIAL] += 1
            if not np.any(calls.sent_ns[possible] <= calls.done_ns[blocked]):
                self._no_trial(phase, blocked)
                return None
        trials = possible[np.isin(calls.kind[possible], [CallKind.SUCCESS, CallKind.FAILURE, CallKind.NEUTRAL])]
        if not len(trials):
            return None
        out.tested[NO_TRIAL] += 1
        succeeded = trials[calls.kind[trials] == CallKind.SUCCESS]
        failed = trials[calls.kind[trials] == CallKind.FAILURE]
        unsure = possible[calls.kind[possible] == CallKind.UNSURE]
        # Whether a trial that is answered 4xx has succeeded is not agreed on between libraries: either will do.
        fine = trials[calls.kind[trials] != CallKind.FAILURE]
        self._flood(succeeded, fine, failed, unsure, ready_lo)
        close_ns = (
            int(np.sort(calls.done_ns[succeeded])[policy.successes - 1])
            if len(succeeded) >= policy.successes
            else FAR_NS
        )
        if len(failed) and calls.sent_ns[failed].min() <= close_ns:
            first = int(failed[np.argmin(calls.sent_ns[failed])])
            end = calls.done_ns[first]
            maybe = int(np.count_nonzero(calls.sent_ns[fine] <= end) + np.count_nonzero(calls.sent_ns[unsure] <= end))
            if not calls.excused[first]:
                out.unclear = f"row {calls.row[first]} failed as a trial outside of every fault"
                return None
            if maybe >= policy.successes:
                out.unclear = f"row {calls.row[first]} failed about when the circuit may have closed"
                return None
            return Open(max(ready_lo, int(calls.sent_ns[first])), int(end), "trial", maybe)
        if np.any(calls.sent_ns[unsure] <= close_ns):
            out.unclear = f"row {calls.row[unsure[0]]} was not answered: how the trial went can't be told"
            return None
        if close_ns == FAR_NS:
            return None
        out.tested[NEVER_CLOSES] += 1
        return Closed(int(calls.sent_ns[fine][policy.successes - 1]), close_ns)

    def _no_trial(self, phase: Open, blocked: int) -> None:
        calls = self.calls
        meanwhile = (calls.sent_ns[self.rejected] > phase.hi) & (calls.sent_ns[self.rejected] < calls.sent_ns[blocked])
        count = int(np.count_nonzero(meanwhile))
        waited = (int(calls.sent_ns[blocked]) - phase.hi) / 1e9
        says = (
            f"row {calls.row[blocked]} was rejected {waited:.3g} s after the circuit opened and no trial had been let "
            f"through, with {count} rejections meanwhile: either the timer never fires, or rejections restart it"
        )
        self.out.breach(NO_TRIAL, says, self._opener(phase), blocked, notes=("rejected, a trial was due",))

    def _flood(self, succeeded: Ints, fine: Ints, failed: Ints, unsure: Ints, ready_lo: int) -> None:
        """Judge how many calls a half-open circuit let through before it could know how the service fares."""
        calls, policy, out = self.calls, self.policy, self.out
        if len(failed):
            first_ns = max(int(calls.sent_ns[failed].min()), ready_lo)
            # The first failure opens it again: only what was let through beside it can fail in this round.
            beside = failed[calls.done_ns[failed] < first_ns + self.shortest]
            if len(beside):
                until = calls.done_ns[beside].max()
                maybe = sum(int(np.count_nonzero(calls.sent_ns[one] <= until)) for one in (fine, unsure))
                beside = beside[calls.sent_ns[beside] <= calls.done_ns[beside].min()]
                if maybe < policy.successes and len(beside) > 1:
                    out.tested[FLOOD] += 1
                    self._too_many_trials(beside, policy.half_open_trials)
                elif len(beside) == 1:
                    # Rejected about when the only trial was under way: what a flood would have let through.
                    meanwhile = calls.sent_ns[self.rejected] <= calls.done_ns[beside[0]]
                    meanwhile &= calls.done_ns[self.rejected] >= calls.sent_ns[beside[0]]
                    out.tested[FLOOD] += int(np.count_nonzero(meanwhile))
        if self.stage.trial_ns and len(succeeded):
            rounds = -(-policy.successes // policy.half_open_trials)
            # The first trial may have been one that nobody answered.
            start = max(ready_lo, int(calls.sent_ns[np.append(succeeded, unsure)].min()))
            # A trial takes at least `trial_ns`, so it was let through that much before its end, or earlier.
            passed = calls.done_ns[succeeded] - self.stage.trial_ns
            out.tested[FLOOD] += 1
            within = succeeded[passed < start + rounds * self.stage.trial_ns]
            self._too_many_trials(within, policy.successes + policy.half_open_trials - 1)

    def _too_many_trials(self, through: Ints, allowed: int) -> None:
        if len(through) <= allowed:
            return
        says = f"a half-open circuit let {len(through)} calls through before it knew how they went, {allowed} may try"
        self.out.breach(FLOOD, says, *through[: allowed + 1].tolist(), notes=("a trial too many",))

    def _first(self, places: Ints, after_ns: int) -> int | None:
        """Return the place among `places` that ends first of those sent after an instant."""
        later = places[self.calls.sent_ns[places] > after_ns]
        return int(later[np.argmin(self.calls.done_ns[later])]) if len(later) else None

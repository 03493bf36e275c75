"""What follows an open phase: trials, how many at a time, and the circuit's closing or opening again."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from proofload.judge.breaker.calls import CallKind, Calls, CircuitContext
from proofload.judge.breaker.phases import FLOOD, NEVER_CLOSES, NO_TRIAL, Closed, Open, Replay
from proofload.judge.models.attempts import FAR_NS, Ints


class ReplayedCircuit(Protocol):
    """What is asked of a circuit that is being replayed; places are those of its calls."""

    stage: CircuitContext
    calls: Calls
    out: Replay
    shortest: int
    longest: int
    rejected: Ints
    maybe_through: Ints
    hidden: Ints

    def opener(self, phase: Open) -> int:
        """Return the last call that ended by the time the circuit was certainly open."""
        ...


def half_open(circuit: ReplayedCircuit, phase: Open) -> Open | Closed | None:
    """Judge what follows an open phase: trials, and the circuit's closing or opening again."""
    calls, out, policy = circuit.calls, circuit.out, circuit.stage.policy
    ready_lo, ready_hi = phase.lo + circuit.shortest, phase.hi + circuit.longest
    hidden = circuit.hidden[(calls.done_ns[circuit.hidden] >= ready_lo) & (calls.sent_ns[circuit.hidden] > phase.hi)]
    if len(hidden):
        # Each may have been a trial that failed, which opens the circuit for a whole period more.
        ready_hi = max(ready_hi, int(calls.done_ns[hidden].max()) + circuit.longest)
    late = circuit.rejected[calls.sent_ns[circuit.rejected] > ready_hi]
    possible = circuit.maybe_through[calls.done_ns[circuit.maybe_through] >= ready_lo]
    possible = possible[calls.sent_ns[possible] > phase.hi]
    if len(late):
        blocked = int(late[0])
        out.tested[NO_TRIAL] += 1
        if not np.any(calls.sent_ns[possible] <= calls.done_ns[blocked]):
            _no_trial(circuit, phase, blocked)
            return None
    trials = possible[calls.through()[possible]]
    if not len(trials):
        return None
    out.tested[NO_TRIAL] += 1
    succeeded = trials[calls.kind[trials] == CallKind.SUCCESS]
    failed = trials[calls.kind[trials] == CallKind.FAILURE]
    unsure = possible[calls.kind[possible] == CallKind.UNSURE]
    # Whether a trial that is answered 4xx has succeeded is not agreed on between libraries: either will do.
    fine = trials[calls.kind[trials] != CallKind.FAILURE]
    _flood(circuit, succeeded, fine, failed, unsure, ready_lo)
    close_ns = (
        int(np.sort(calls.done_ns[succeeded])[policy.successes - 1]) if len(succeeded) >= policy.successes else FAR_NS
    )
    if len(hidden) and not len(failed) and calls.sent_ns[hidden].min() <= close_ns:
        out.unclear = f"row {calls.row[hidden[0]]} may be a failed trial that the circuit answered itself"
        return None
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


def _no_trial(circuit: ReplayedCircuit, phase: Open, blocked: int) -> None:
    calls = circuit.calls
    meanwhile = (calls.sent_ns[circuit.rejected] > phase.hi) & (
        calls.sent_ns[circuit.rejected] < calls.sent_ns[blocked]
    )
    count = int(np.count_nonzero(meanwhile))
    waited = (int(calls.sent_ns[blocked]) - phase.hi) / 1e9
    says = (
        f"row {calls.row[blocked]} was rejected {waited:.3g} s after the circuit opened and no trial had been let "
        f"through, with {count} rejections meanwhile: either the timer never fires, or rejections restart it"
    )
    circuit.out.breach(NO_TRIAL, says, circuit.opener(phase), blocked, notes=("rejected, a trial was due",))


def _flood(circuit: ReplayedCircuit, succeeded: Ints, fine: Ints, failed: Ints, unsure: Ints, ready_lo: int) -> None:
    """Judge how many calls a half-open circuit let through before it could know how the service fares."""
    calls, policy, out = circuit.calls, circuit.stage.policy, circuit.out
    if len(failed):
        first_ns = max(int(calls.sent_ns[failed].min()), ready_lo)
        # The first failure opens it again: only what was let through beside it can fail in this round.
        beside = failed[calls.done_ns[failed] < first_ns + circuit.shortest]
        if len(beside):
            until = calls.done_ns[beside].max()
            maybe = sum(int(np.count_nonzero(calls.sent_ns[one] <= until)) for one in (fine, unsure))
            beside = beside[calls.sent_ns[beside] <= calls.done_ns[beside].min()]
            if maybe < policy.successes and len(beside) > 1:
                out.tested[FLOOD] += 1
                _too_many_trials(circuit, beside, policy.half_open_trials)
            elif len(beside) == 1:
                # Rejected about when the only trial was under way: what a flood would have let through.
                meanwhile = calls.sent_ns[circuit.rejected] <= calls.done_ns[beside[0]]
                meanwhile &= calls.done_ns[circuit.rejected] >= calls.sent_ns[beside[0]]
                out.tested[FLOOD] += int(np.count_nonzero(meanwhile))
    if circuit.stage.trial_ns and len(succeeded):
        rounds = -(-policy.successes // policy.half_open_trials)
        # The first trial may have been one that nobody answered.
        start = max(ready_lo, int(calls.sent_ns[np.append(succeeded, unsure)].min()))
        # A trial takes at least `trial_ns`, so it was let through that much before its end, or earlier.
        passed = calls.done_ns[succeeded] - circuit.stage.trial_ns
        out.tested[FLOOD] += 1
        within = succeeded[passed < start + rounds * circuit.stage.trial_ns]
        _too_many_trials(circuit, within, policy.successes + policy.half_open_trials - 1)


def _too_many_trials(circuit: ReplayedCircuit, through: Ints, allowed: int) -> None:
    if len(through) <= allowed:
        return
    says = f"a half-open circuit let {len(through)} calls through before it knew how they went, {allowed} may try"
    circuit.out.breach(FLOOD, says, *through[: allowed + 1].tolist(), notes=("a trial too many",))

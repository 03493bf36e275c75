"""When a closed circuit can have opened at the earliest, and by when it surely had to, from outcomes on intervals."""

from __future__ import annotations

import numpy as np

from proofload.judge.breaker.calls import CallKind, Calls
from proofload.judge.breaker.phases import Closed, Due
from proofload.judge.breaker.ratio import due_by_ratio, earliest_by_ratio
from proofload.plan.policies import CircuitBreakerPolicy


def earliest(
    policy: CircuitBreakerPolicy, calls: Calls, closed: Closed, from_ns: int, to_ns: int, *, hidden: int = 0
) -> int | None:
    """Return the earliest instant in [from_ns, to_ns] at which the circuit can have opened; None: it can't have.

    Any assignment of instants will do: unanswered calls may have failed, what overlaps may have come in any order.
    `hidden` failures were answered by the circuit itself, which they opened.
    """
    if policy.ratio is not None:
        return earliest_by_ratio(policy, calls, closed, from_ns, to_ns, hidden=hidden)
    size = policy.failures - hidden
    if size < 1:
        return max(from_ns, closed.since_lo)
    failing = calls.of(CallKind.FAILURE, CallKind.UNSURE) & (calls.done_ns >= closed.since_lo)
    begun, ended = calls.sent_ns[failing], np.sort(calls.done_ns[failing])
    good = calls.of(CallKind.SUCCESS) & (calls.sent_ns >= closed.since_hi)
    by_end = np.argsort(calls.done_ns[good], kind="stable")
    good_done = calls.done_ns[good][by_end]
    # Whatever succeeded and had ended by then started the count again, no earlier than it was sent.
    good_sent = np.maximum.accumulate(calls.sent_ns[good][by_end]) if len(good_done) else good_done
    pieces = np.append(good_done[good_done < to_ns], to_ns)
    last = np.searchsorted(good_done, pieces) - 1
    since = np.where(last >= 0, good_sent[np.maximum(last, 0)] if len(good_sent) else closed.since_lo, closed.since_lo)
    before = np.searchsorted(ended, since)
    possible = np.searchsorted(begun, pieces, side="right") - before
    fits = np.flatnonzero((possible >= size) & (pieces >= from_ns))
    if not len(fits):
        return None
    first = int(fits[0])
    instant = int(begun[before[first] + size - 1])
    earlier = int(pieces[first - 1]) if first else closed.since_lo
    return max(instant, earlier, from_ns, closed.since_lo)


def due(policy: CircuitBreakerPolicy, calls: Calls, closed: Closed) -> Due | None:
    """Return by when a circuit closed since then surely had to open; None where the outcomes never force it.

    A run of failures is sure where nothing that may have started the count again overlaps it.
    """
    if policy.ratio is not None:
        return due_by_ratio(policy, calls, closed)
    failing = np.flatnonzero(calls.of(CallKind.FAILURE) & calls.demanded & (calls.sent_ns > closed.since_hi))
    if len(failing) < policy.failures:
        return None
    failing = failing[np.argsort(calls.done_ns[failing], kind="stable")]
    doubtful = calls.of(CallKind.SUCCESS, CallKind.NEUTRAL, CallKind.UNSURE)
    begun, ended = calls.sent_ns[doubtful], np.sort(calls.done_ns[doubtful])
    size = policy.failures
    done = calls.done_ns[failing]
    # The run ends with the last of `size` failures by end; it began with the earliest sent of them.
    starts = np.lib.stride_tricks.sliding_window_view(calls.sent_ns[failing], size).min(axis=1)
    ends = done[size - 1 :]
    crossing = np.searchsorted(begun, ends, side="right") - np.searchsorted(ended, starts)
    sure = np.flatnonzero(crossing == 0)
    if not len(sure):
        return None
    first = int(sure[0])
    return Due(int(ends[first]), tuple(int(place) for place in failing[first : first + size]))

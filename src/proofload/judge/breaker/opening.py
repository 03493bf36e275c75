"""When a closed circuit can have opened at the earliest, and by when it surely had to, from outcomes on intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from proofload.judge.breaker.calls import CallKind, Calls
from proofload.judge.models.attempts import FAR_NS
from proofload.plan.policies import CircuitBreakerPolicy


@dataclass(frozen=True, slots=True)
class Closed:
    """A closed phase: it began somewhere in [since_lo, since_hi]."""

    since_lo: int
    since_hi: int


@dataclass(frozen=True, slots=True)
class Due:
    """By `at_ns` the circuit surely had to be open, for the failures at `places`."""

    at_ns: int
    places: tuple[int, ...]


def earliest(policy: CircuitBreakerPolicy, calls: Calls, closed: Closed, from_ns: int, to_ns: int) -> int | None:
    """Return the earliest instant in [from_ns, to_ns] at which the circuit can have opened; None: it can't have.

    Any assignment of instants will do: unanswered calls may have failed, what overlaps may have come in any order.
    """
    if policy.ratio is not None:
        return _earliest_by_ratio(policy, calls, closed, from_ns, to_ns)
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
    fits = np.flatnonzero((possible >= policy.failures) & (pieces >= from_ns))
    if not len(fits):
        return None
    first = int(fits[0])
    instant = int(begun[before[first] + policy.failures - 1])
    earlier = int(pieces[first - 1]) if first else closed.since_lo
    return max(instant, earlier, from_ns, closed.since_lo)


def _earliest_by_ratio(
    policy: CircuitBreakerPolicy, calls: Calls, closed: Closed, from_ns: int, to_ns: int
) -> int | None:
    """Return the earliest instant at which the share of failures in the window can have been reached."""
    assert policy.ratio is not None
    window = policy.ratio_window or FAR_NS
    failing = calls.of(CallKind.FAILURE, CallKind.UNSURE) & (calls.done_ns >= closed.since_lo)
    begun, ended = calls.sent_ns[failing], np.sort(calls.done_ns[failing])
    good = calls.of(CallKind.SUCCESS) & (calls.sent_ns >= closed.since_hi)
    good_sent, good_done = calls.sent_ns[good], np.sort(calls.done_ns[good])
    at = np.unique(np.clip(np.append(begun, ended), from_ns, to_ns))
    bad = np.searchsorted(begun, at, side="right") - np.searchsorted(ended, at - window)
    fine = np.searchsorted(good_done, at) - np.searchsorted(good_sent, at - window)
    fine = np.maximum(0, fine)
    # Neutral calls and overlapping successes may make up the least number of calls.
    others = np.searchsorted(calls.sent_ns, at, side="right")
    fits = np.flatnonzero((bad > 0) & (bad >= policy.ratio * (bad + fine) - 1e-9) & (others >= policy.minimum_calls))
    return max(int(at[fits[0]]), closed.since_lo) if len(fits) else None


def due(policy: CircuitBreakerPolicy, calls: Calls, closed: Closed) -> Due | None:
    """Return by when a circuit closed since then surely had to open; None where the outcomes never force it.

    A run of failures is sure where nothing that may have started the count again overlaps it.
    """
    if policy.ratio is not None:
        return _due_by_ratio(policy, calls, closed)
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


def _due_by_ratio(policy: CircuitBreakerPolicy, calls: Calls, closed: Closed) -> Due | None:
    assert policy.ratio is not None
    window = policy.ratio_window or FAR_NS
    inside = calls.sent_ns > closed.since_hi
    failing = np.flatnonzero(calls.of(CallKind.FAILURE) & calls.demanded & inside)
    others = calls.of(CallKind.SUCCESS, CallKind.NEUTRAL, CallKind.UNSURE)
    begun, ended = calls.sent_ns[others], np.sort(calls.done_ns[others])
    at = np.sort(calls.done_ns[failing])
    fail_sent = np.sort(calls.sent_ns[failing])
    bad = np.maximum(0, np.arange(1, len(at) + 1) - np.searchsorted(fail_sent, at - window, side="right"))
    fine = np.searchsorted(begun, at, side="right") - np.searchsorted(ended, at - window)
    fits = np.flatnonzero((bad >= policy.ratio * (bad + fine) + 1e-9) & (bad >= policy.minimum_calls))
    if not len(fits):
        return None
    at_ns = int(at[fits[0]])
    places = failing[(calls.done_ns[failing] <= at_ns) & (calls.sent_ns[failing] > at_ns - window)]
    return Due(at_ns, tuple(int(place) for place in places))

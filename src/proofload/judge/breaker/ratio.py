"""When a circuit that goes by the share of failures can have opened, and by when it had to.

Libraries differ in what they leave to the reader: `>` or `>=`; a window that rolls (exactly, or by tenths of it), or
one that begins anew each time it has passed; whether a 4xx is a good call or none. Each of these is honest.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from proofload.judge.breaker.calls import CallKind, Calls
from proofload.judge.breaker.phases import Closed, Due
from proofload.judge.models.attempts import FAR_NS, Flags, Ints
from proofload.plan.policies import CircuitBreakerPolicy

_MOST_STARTS = 400
_TINY = 1e-9


def earliest_by_ratio(
    policy: CircuitBreakerPolicy, calls: Calls, closed: Closed, from_ns: int, to_ns: int, *, hidden: int = 0
) -> int | None:
    """Return the earliest instant in [from_ns, to_ns] at which some honest window held the share of failures."""
    assert policy.ratio is not None
    failing = calls.of(CallKind.FAILURE, CallKind.UNSURE) & (calls.done_ns >= closed.since_lo)
    begun, ended = calls.sent_ns[failing], np.sort(calls.done_ns[failing])
    good = calls.of(CallKind.SUCCESS) & (calls.sent_ns >= closed.since_hi)
    good_sent, good_done = calls.sent_ns[good], np.sort(calls.done_ns[good])
    every = (calls.done_ns >= closed.since_lo) & ~calls.of(CallKind.REJECTED)
    all_sent, all_done = calls.sent_ns[every], np.sort(calls.done_ns[every])
    # A window may have begun before or after any call: exactly so long ago, or when the last window had passed.
    starts = np.unique(np.concatenate([all_sent, all_done + 1, [closed.since_lo]]))
    for at in np.unique(np.clip(np.append(begun, np.append(ended, to_ns)), from_ns, to_ns)).tolist():
        since = starts[starts <= at]
        if policy.ratio_window is not None:
            # One that rolls by tenths may hold a tenth more.
            oldest = at - policy.ratio_window - policy.ratio_window // 10
            since = np.append(since[since >= oldest], max(closed.since_lo, oldest))
        bad = hidden + np.searchsorted(begun, at, side="right") - np.searchsorted(ended, since)
        fine = np.searchsorted(good_done, at) - np.searchsorted(good_sent, since)
        seen = hidden + np.searchsorted(all_sent, at, side="right") - np.searchsorted(all_done, since)
        share = bad >= policy.ratio * (bad + np.maximum(0, fine)) - _TINY
        if np.any((bad > 0) & share & (seen >= policy.minimum_calls)):
            return max(int(at), closed.since_lo)
    return None


def due_by_ratio(policy: CircuitBreakerPolicy, calls: Calls, closed: Closed) -> Due | None:
    """Return by when every honest window held more than the share of failures; None where that is never certain.

    With neither `ratio_window` nor `ratio_calls` declared it never is: the calls before these may weigh any amount.
    """
    if policy.ratio_window is None and policy.ratio_calls is None:
        return None
    failing = calls.of(CallKind.FAILURE) & calls.demanded & (calls.sent_ns > closed.since_hi)
    places = np.flatnonzero(failing)
    places = places[np.argsort(calls.done_ns[places], kind="stable")]
    if not len(places):
        return None
    if policy.ratio_calls is not None:
        return _due_by_calls(policy, calls, places, policy.ratio_calls)
    return _due_by_time(policy, calls, places)


def _due_by_calls(policy: CircuitBreakerPolicy, calls: Calls, places: Ints, size: int) -> Due | None:
    """Return by when the failures outweigh whatever else the ring of the latest calls may hold."""
    assert policy.ratio is not None
    sent = np.sort(calls.sent_ns[places])
    needed = max(policy.minimum_calls, int(policy.ratio * size + _TINY) + 1)
    needed = min(needed, size)
    others = _others(calls)
    for count in range(needed, len(places) + 1):
        last = int(calls.done_ns[places[count - 1]])
        # Of the latest calls, so many at the most were no failures: what overlaps may have come in any order.
        first = int(sent[count - needed])
        between = int(np.count_nonzero(others & (calls.done_ns >= first) & (calls.sent_ns <= last)))
        if needed + between <= size or between == 0:
            return Due(last, tuple(int(place) for place in places[count - needed : count]))
    return None


def _due_by_time(policy: CircuitBreakerPolicy, calls: Calls, places: Ints) -> Due | None:
    """Return by when the share was exceeded both in a window that rolls and in one that began amid the failures."""
    assert policy.ratio_window is not None
    whole = _exceeded(policy, calls, places, int(calls.sent_ns[places].min()) - policy.ratio_window)
    if whole is None:
        return None
    latest: Due = whole
    for start in _starts(calls, places, whole.at_ns):
        found = _exceeded(policy, calls, places, start)
        if found is None or found.at_ns - start > policy.ratio_window:
            return None
        latest = found if found.at_ns > latest.at_ns else latest
    return latest


def _starts(calls: Calls, places: Ints, until_ns: int) -> Iterator[int]:
    """Yield where a window may have begun anew: after each call up to an instant."""
    ends = np.unique(calls.done_ns[places])
    ends = ends[ends <= until_ns]
    yield from ends[:: max(1, len(ends) // _MOST_STARTS)].tolist()
    if len(ends):
        yield int(ends[-1])


def _exceeded(policy: CircuitBreakerPolicy, calls: Calls, places: Ints, start_ns: int) -> Due | None:
    """Return by when the failures that were surely in a window begun at `start_ns` exceeded the share in it."""
    assert policy.ratio is not None
    window = policy.ratio_window or FAR_NS
    # A window that rolls by tenths may have let go of the oldest tenth already.
    mine = places[calls.sent_ns[places] > start_ns]
    others = _others(calls)
    begun, ended = calls.sent_ns[others], np.sort(calls.done_ns[others])
    at = calls.done_ns[mine]
    sent = np.sort(calls.sent_ns[mine])
    gone = np.searchsorted(sent, at - window + window // 10, side="right")
    bad = np.maximum(0, np.arange(1, len(at) + 1) - gone)
    since = np.maximum(start_ns, at - window - window // 10)
    fine = np.searchsorted(begun, at, side="right") - np.searchsorted(ended, since)
    fits = np.flatnonzero((bad > policy.ratio * (bad + fine) + _TINY) & (bad >= policy.minimum_calls))
    if policy.ratio >= 1:
        fits = np.flatnonzero((bad > 0) & (fine == 0) & (bad >= policy.minimum_calls))
    if not len(fits):
        return None
    count = int(fits[0])
    return Due(int(at[count]), tuple(int(place) for place in mine[count + 1 - int(bad[count]) : count + 1]))


def _others(calls: Calls) -> Flags:
    """Return a mask of the calls that may have counted, and not as a failure."""
    return calls.of(CallKind.SUCCESS, CallKind.NEUTRAL, CallKind.UNSURE)

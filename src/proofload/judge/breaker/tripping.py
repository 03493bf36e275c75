"""The call whose failure opens the circuit: some breakers (pybreaker) answer it themselves, like those they reject."""

from __future__ import annotations

import numpy as np

from proofload.judge.breaker.calls import BackendHits, CallKind, Calls, CircuitContext

_TIMES_SLOWER = 5
_LEAST_GAP_NS = 20_000_000
_LEAST_SEEN = 3


def hidden_failure(stage: CircuitContext, calls: Calls, place: int) -> bool | None:
    """Return whether the rejected call at `place`, the first of its phase, reached the service; None: can't tell.

    It is told by what is declared, by the service's own count, or by its time: where failures took much longer than
    rejections, a rejection that took as long as a failure was one.
    """
    if stage.policy.tripping_call is not None:
        return stage.policy.tripping_call == "circuit"
    counted = _by_count(stage, calls, place)
    return _by_time(calls, place) if counted is None else counted


def may_hide(stage: CircuitContext) -> bool:
    """Say whether a failed call may bear the circuit's own answer."""
    return stage.policy.tripping_call != "service"


def _by_count(stage: CircuitContext, calls: Calls, place: int) -> bool | None:
    for count in stage.hits:
        if not (count.from_ns <= calls.sent_ns[place] and calls.done_ns[place] <= count.to_ns):
            continue
        touching = (calls.done_ns >= count.from_ns) & (calls.sent_ns <= count.to_ns)
        through = int(np.count_nonzero(touching & calls.through()))
        others = (
            int(np.count_nonzero(touching)) - through - int(np.count_nonzero(touching & calls.of(CallKind.REJECTED)))
        )
        failed = bool(np.any(touching & calls.of(CallKind.FAILURE) & calls.demanded))
        if not others and failed and count.at_least == count.at_most == through:
            # The service counts failing calls too, and all that it counted are accounted for.
            return False
        if through == 0 and others == 0 and count.at_least >= 1:
            return True
        if through == 0 and count.at_most == 0 and counts_failures(stage, count):
            return False
    return None


def _by_time(calls: Calls, place: int) -> bool | None:
    failed = calls.took_ns[calls.of(CallKind.FAILURE) & calls.demanded & (calls.sent_ns < calls.sent_ns[place])]
    later = calls.took_ns[calls.of(CallKind.REJECTED) & (calls.sent_ns > calls.done_ns[place])]
    if len(failed) < _LEAST_SEEN or len(later) < _LEAST_SEEN:
        return None
    slow, fast, took = int(failed.min()), int(later.max()), int(calls.took_ns[place])
    if slow < _TIMES_SLOWER * fast or slow - fast < _LEAST_GAP_NS:
        return None
    if took >= slow * 4 // 5:
        return True
    return False if took <= 2 * fast else None


def counts_failures(stage: CircuitContext, count: BackendHits) -> bool:
    """Say whether the service was seen to count calls during the fault that an interval lies in."""
    return any(
        other.at_least >= 1
        and span.narrow_from_ns <= min(other.from_ns, count.from_ns)
        and max(other.to_ns, count.to_ns) <= span.narrow_to_ns
        for other in stage.hits
        for span in stage.proven
    )

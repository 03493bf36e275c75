"""Judges how long a call may hang before whoever makes it for the client gives up on the service."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from proofload.core.units import NS_PER_SECOND, format_duration
from proofload.judge.breaker.calls import Kind, Stage, calls_of
from proofload.judge.rate_limit.words import steps
from proofload.judge.verdict import Finding, Outcome, held
from proofload.record.exchange import Ending

HANGS = "cb.no_timeout"
_LEAST = 3
_GRACE_NS = NS_PER_SECOND
_LOOK = "the timeout of the client that calls the service, and whether a call that timed out is tried again"


def judge_call_timeout(stage: Stage, rows: ArrayLike) -> list[Finding]:
    """Return whether calls made while the service surely hung were answered within the declared time.

    FAIL needs several that took more than twice that, answered or given up on; a little late is INCONCLUSIVE.
    """
    bound = stage.policy.call_timeout
    if bound is None:
        return []
    calls = calls_of(stage, rows)
    history = stage.history
    answered = history.numbers("ending")[calls.row] == Ending.ANSWERED
    # The replay lengthens calls without an answer by how long they may linger; here counts how long we waited.
    done = history.numbers("done_ns")[calls.row].astype(np.int64)
    took = done - calls.sent_ns
    inside = np.zeros(len(calls), dtype=np.bool_)
    for span in stage.proven:
        inside |= (calls.sent_ns >= span.narrow_from_ns) & (done <= span.narrow_to_ns)
    inside &= ~calls.of(Kind.REJECTED)
    hung = np.flatnonzero(inside & (took > 2 * bound))
    late = np.flatnonzero(inside & (took > bound + _GRACE_NS))
    ended = int(np.count_nonzero(inside & answered & (took <= bound + _GRACE_NS)))
    promised = format_duration(bound)
    if len(hung) >= _LEAST:
        row = int(calls.row[hung[np.argmax(took[hung])]])
        longest = format_duration(int(took[hung].max()))
        says = f"{len(hung)} calls of a service that hung were left for up to {longest}, {promised} is promised"
        shown = steps(history, (row,), ("still without an answer, or with a late one",))
        return [Finding(HANGS, Outcome.FAIL, says, len(calls), _LEAST, (row,), shown, _LOOK)]
    if len(late):
        says = f"{len(late)} calls of a service that hung took longer than the promised {promised}, though not by much"
        return [Finding(HANGS, Outcome.INCONCLUSIVE, says, len(calls), _LEAST)]
    says = f"every call of a service that hung was answered within {promised}"
    return [held(HANGS, says, examined=ended, needed=_LEAST)]

"""`Retry-After` of an open circuit: on every rejection where it is promised, and no untruth."""

from __future__ import annotations

import numpy as np

from proofload.core.units import NS_PER_SECOND, format_duration
from proofload.judge.breaker.calls import CallKind, Calls, CircuitContext
from proofload.judge.breaker.phases import Replay
from proofload.judge.models.attempts import FAR_NS, Flags, Ints
from proofload.judge.rate_limit.counterexample import steps
from proofload.judge.rate_limit.fields import Fields
from proofload.judge.verdict import Finding, Outcome, held
from proofload.record.history import HEADER_PREFIX

MISSING, UNTRUE = "cb.retry_after_missing", "cb.retry_after_untrue"
_ROUNDING_NS = NS_PER_SECOND
_LOOK = "where the open circuit's error is turned into an answer, and what it knows of the rest of the open time"


def judge_retry_after(stage: CircuitContext, calls: Calls, seen: Replay) -> list[Finding]:
    """Return `cb.retry_after_missing` and `cb.retry_after_untrue`, for the field that the policy promises.

    Untrue is a time at which the circuit is certainly still open, or one beyond twice its open time. Any
    other is fine: what is left of the open time, or all of it. Where the run did not keep the field, and where it
    is told as dates only, by a clock that is not ours, nothing is said of its truth.
    """
    name = stage.policy.retry_after
    if name is None:
        return []
    if not stage.headers_kept and HEADER_PREFIX + name.lower() not in stage.history.frame.columns:
        says = f"the run did not keep the answers' {name}"
        return [Finding(rule, Outcome.SKIPPED, says) for rule in (MISSING, UNTRUE)]
    rejected = np.flatnonzero(calls.of(CallKind.REJECTED) & ~calls.apparent & ~calls.alike)
    if not len(rejected):
        return [Finding(MISSING, Outcome.INCONCLUSIVE, f"no certain rejection, so no {name} was due", 0, 1)]
    told = Fields(stage.history).retry(name, calls.row[rejected])
    usable = told.present & told.read
    delta = np.where(usable & ~told.is_wall, np.minimum(told.ns, FAR_NS), FAR_NS)
    if not usable.all():
        return [_missing(stage, calls, name, rejected, usable)]
    said = f"all {len(rejected)} rejections told when to come back"
    return [held(MISSING, said, examined=len(rejected)), _truth(stage, calls, seen, rejected, delta)]


def _missing(stage: CircuitContext, calls: Calls, name: str, rejected: Ints, usable: Flags) -> Finding:
    without = calls.row[rejected[~usable]]
    says = f"{len(without)} of {len(rejected)} rejections have no usable {name}, which is promised while it is open"
    shown = steps(stage.history, without[:1].tolist(), (f"no {name}",))
    return Finding(MISSING, Outcome.FAIL, says, len(rejected), 1, tuple(without[:1].tolist()), shown, _LOOK)


def _truth(stage: CircuitContext, calls: Calls, seen: Replay, rejected: Ints, delta: Ints) -> Finding:
    """Return whether the delays in seconds are true; dates would need the target's clock, and are taken as they are.

    An opening after calls that hung lies somewhere in seconds, and then no rejection is surely inside its open
    time. One that told a time surely after the end of it is true all the same.
    """
    if np.all(delta == FAR_NS):
        return Finding(UNTRUE, Outcome.SKIPPED, "told as dates, which are true or not by the target's clock")
    sent, done = calls.sent_ns[rejected], calls.done_ns[rejected]
    examined = 0
    for lo, hi in seen.openings:
        after = (sent > hi) & (delta != FAR_NS)
        inside = after & (done < lo + stage.shortest)
        back = done + delta + _ROUNDING_NS
        too_far = delta > 2 * stage.longest + _ROUNDING_NS
        true = after & (done < hi + stage.longest) & (back >= hi + stage.longest) & ~too_far
        examined += int(np.count_nonzero(inside | true))
        short = inside & (back < lo + stage.shortest)
        long = inside & too_far
        if not np.any(short | long):
            continue
        first = int(np.flatnonzero(short | long)[0])
        row = int(calls.row[rejected[first]])
        told, left = int(delta[first]), lo + stage.shortest - int(done[first])
        says = f"row {row} was told to come back in {format_duration(told)}, " + (
            f"with at least {format_duration(left)} of the open time left"
            if short[first]
            else f"though the circuit is open for {format_duration(stage.policy.open_for)}"
        )
        shown = steps(stage.history, (row,), (f"told {format_duration(told)}",))
        return Finding(UNTRUE, Outcome.FAIL, says, examined, 1, (row,), shown, _LOOK)
    says = "no rejection told a time at which the circuit is still open"
    return held(UNTRUE, says, examined=examined)

"""From the replay of a circuit to findings, each with what was examined; none is PASS without a proven fault."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from proofload.core.units import format_duration
from proofload.judge.breaker import phases
from proofload.judge.breaker.calls import CallKind, Calls, CircuitContext
from proofload.judge.breaker.phases import Replay
from proofload.judge.breaker.replay import Circuit
from proofload.judge.breaker.retry_after import judge_retry_after
from proofload.judge.breaker.settle import doubt, settled_calls
from proofload.judge.breaker.tripping import may_hide
from proofload.judge.models.attempts import Flags
from proofload.judge.rate_limit.counterexample import steps
from proofload.judge.verdict import Finding, Outcome, held

SLOW, BACKEND, ISOLATED = "cb.slow_rejection", "cb.rejected_reached_backend", "cb.not_isolated"

_LOOK = {
    phases.LATE: "the comparison with the threshold, and whether the count is shared by all workers",
    phases.NEVER_OPENS: "whether this kind of failure (timeout, refused connection, 5xx) is recorded at all",
    phases.EARLY: "the comparison with the threshold, what starts the count again, and whether 4xx or contention count",
    phases.REACHED: "whether the state is checked before each call, and shared by all workers",
    phases.STATUS: "how the open circuit's error is turned into an answer",
    phases.NO_TRIAL: "the timer of the open state: whether it fires, and whether rejections set it anew",
    phases.FLOOD: "whether half-open counts its trials in one atomic step",
    phases.CLOSES_EARLY: "how many successes close the circuit, and whether that count starts at 0 in each half-open",
    phases.NO_PERIOD: "what a failed trial sets: a full open period from then",
    phases.NEVER_CLOSES: "whether successes of trials are counted, and the count of failures starts at 0 after closing",
    SLOW: "whether the state is checked before the connection is made",
    BACKEND: "whether the rejection stops the call, or only its answer",
    ISOLATED: "the breaker's key: it must hold the service's name",
}

_HELD = {
    phases.LATE: "the circuit opened no later than promised",
    phases.EARLY: "the circuit opened no earlier than promised",
    phases.REACHED: "nothing was let through while the circuit was open",
    phases.NO_TRIAL: "a trial was let through once the circuit had been open for its time",
    phases.FLOOD: "half-open let no more than the promised trials through",
    phases.NO_PERIOD: "a failed trial opened the circuit for a full period",
    phases.NEVER_CLOSES: "the circuit closed after its successes",
}

_SAME = {phases.NEVER_OPENS: phases.LATE, phases.STATUS: phases.REACHED, phases.CLOSES_EARLY: phases.NO_PERIOD}
"""Rules that are broken in the place of another: when one is, the other is not said to hold."""

OPENING = (phases.LATE, phases.EARLY, phases.REACHED)
RECOVERY = (phases.NO_TRIAL, phases.NEVER_CLOSES)
REOPENING = (phases.NO_PERIOD,)
TRIALS = (phases.FLOOD,)


def judge_breaker(
    stage: CircuitContext, rows: ArrayLike, *, expect: Sequence[str] = (*OPENING, *RECOVERY)
) -> list[Finding]:
    """Return what the replay of `rows` (calls of one service, from a closed circuit on) shows.

    `expect` names the rules that must have been put to the test (see OPENING, RECOVERY, REOPENING, TRIALS): each is
    PASS or INCONCLUSIVE where it was not broken. Whatever was broken is told, expected or not.
    """
    calls = settled_calls(stage, rows)
    seen = Circuit(stage, calls).run()
    unclear = seen.unclear or doubt(stage, calls)
    findings = [_broken(stage, calls, breach) for breach in seen.breaches]
    broken = {breach.rule for breach in seen.breaches}
    broken |= {_SAME[rule] for rule in broken if rule in _SAME}
    missing = _not_proven(stage)
    if missing:
        # What rests on a fault can't be told without it; a circuit that opened with no failures needs none.
        findings = [one for one in findings if one.rule in (phases.EARLY, phases.NEVER_CLOSES)]
        broken &= {phases.EARLY, phases.NEVER_CLOSES}
    for rule in expect:
        if rule in broken:
            continue
        if missing:
            findings.append(Finding(rule, Outcome.INCONCLUSIVE, missing))
        elif undecided := next((seen.undecided[one] for one in _aliases(rule) if one in seen.undecided), ""):
            findings.append(Finding(rule, Outcome.INCONCLUSIVE, undecided))
        elif seen.tested[rule] == 0 and unclear:
            findings.append(Finding(rule, Outcome.INCONCLUSIVE, unclear))
        else:
            findings.append(held(rule, _HELD[rule], examined=seen.tested[rule], openings=len(seen.openings)))
    opening = bool(set(OPENING) & set(expect))
    findings += [*_speed(stage, calls, required=opening), *_hits(stage, calls)]
    return [*findings, *judge_retry_after(stage, calls, seen)] if opening and not missing else findings


def _aliases(rule: str) -> list[str]:
    """Return a rule and those that are broken in its place."""
    return [rule, *(one for one, other in _SAME.items() if other == rule)]


def _not_proven(stage: CircuitContext) -> str:
    if not stage.spans:
        return "no fault went through its four moments, so nothing can be demanded of the circuit"
    if not stage.proven:
        return f"the fault {stage.spans[0].fault} on {stage.spans[0].service} was not proven to have taken hold"
    return ""


def _broken(stage: CircuitContext, calls: Calls, breach: phases.Breach) -> Finding:
    rows = tuple(int(calls.row[place]) for place in breach.places)
    shown = steps(stage.history, rows, breach.notes)
    return Finding(breach.rule, Outcome.FAIL, breach.says, len(calls), 1, rows, shown, _LOOK[breach.rule])


def _speed(stage: CircuitContext, calls: Calls, *, required: bool) -> list[Finding]:
    """Return whether rejections were quick: half of them within the promised time, for a network may hold up a few."""
    rejected = calls.of(CallKind.REJECTED) & ~calls.apparent
    took = np.sort(calls.took_ns[rejected])
    bound = stage.policy.fail_fast_within
    if not len(took):
        says = doubt(stage, calls) or "no rejection to time"
        return [Finding(SLOW, Outcome.INCONCLUSIVE, says, 0, 1)] if required else []
    median = int(took[len(took) // 2])
    told = (
        f"half of {len(took)} rejections took more than {format_duration(median)}, {format_duration(bound)} is promised"
    )
    if median > bound and len(took) >= 3:
        row = int(calls.row[rejected][np.argmax(calls.took_ns[rejected])])
        shown = steps(stage.history, (row,), ("rejected, and slowly",))
        return [Finding(SLOW, Outcome.FAIL, told, len(took), 3, (row,), shown, _LOOK[SLOW], {"median_ns": median})]
    if median > bound:
        return [Finding(SLOW, Outcome.INCONCLUSIVE, told, len(took), 3)]
    says = f"rejections were quick: median {format_duration(median)}"
    return [held(SLOW, says, examined=len(took), median_ns=median)]


def _hits(stage: CircuitContext, calls: Calls) -> list[Finding]:
    """Return whether the service itself received calls that the circuit rejected.

    Certain where all calls of an interval were rejected. Where some were let through, a gateway may have retried those.
    """
    examined = 0
    more = ""
    rejected = calls.of(CallKind.REJECTED) & ~calls.apparent
    first = np.flatnonzero(calls.of(CallKind.REJECTED))[:1]
    for count in stage.hits:
        meanwhile = (calls.done_ns >= count.from_ns) & (calls.sent_ns <= count.to_ns)
        blocked = meanwhile & rejected
        could = int(np.count_nonzero(meanwhile & ~rejected))
        if may_hide(stage) and np.any(meanwhile[first] | np.any(blocked & calls.excused & _after_period(stage, calls))):
            could += 1
        examined += int(np.count_nonzero(blocked)) if count.at_most <= could else 0
        if count.at_least <= could or not blocked.any():
            continue
        says = f"the service received {count.at_least} calls while only {could} can have been let through"
        if could:
            more = (
                f"{says}: calls that were rejected, or retries of the gateway; read the count while the circuit is open"
            )
            continue
        rows = tuple(int(row) for row in calls.row[blocked][:1])
        shown = (*steps(stage.history, rows), f"all were rejected, and the service counted {count.at_least}")
        return [Finding(BACKEND, Outcome.FAIL, says, int(blocked.sum()), 1, rows, shown, _LOOK[BACKEND])]
    if more:
        return [Finding(BACKEND, Outcome.INCONCLUSIVE, more, examined)]
    if not stage.hits:
        return []
    return [held(BACKEND, "no rejected call reached the service", examined=examined)]


def _after_period(stage: CircuitContext, calls: Calls) -> Flags:
    """Return which calls came an open period after the first rejection: one of them may be a trial that failed."""
    rejected = np.flatnonzero(calls.of(CallKind.REJECTED))
    since = int(calls.sent_ns[rejected[0]]) if len(rejected) else 0
    return np.asarray(calls.done_ns >= since + stage.shortest)


def judge_isolation(stage: CircuitContext, rows: ArrayLike) -> list[Finding]:
    """Return whether the circuit of a healthy service, which `rows` call, stayed closed while another's was open.

    `stage.policy` and `stage.spans` are the healthy service's own, so any rejection without failures is another's.
    """
    calls = settled_calls(stage, rows)
    seen: Replay = Circuit(stage, calls).run()
    early = [breach for breach in seen.breaches if breach.rule in (phases.EARLY, phases.NEVER_CLOSES)]
    if early:
        found = _broken(stage, calls, early[0])
        return [
            Finding(ISOLATED, found.outcome, found.says, found.examined, 1, found.rows, found.shown, _LOOK[ISOLATED])
        ]
    if says := next(iter(seen.undecided.values()), "") or doubt(stage, calls):
        return [Finding(ISOLATED, Outcome.INCONCLUSIVE, says, len(calls))]
    rejected = int(np.count_nonzero(calls.of(CallKind.REJECTED)))
    if rejected:
        says = f"{rejected} calls were rejected, but the service had failures of its own"
        return [Finding(ISOLATED, Outcome.INCONCLUSIVE, says, len(calls))]
    served = int(np.count_nonzero(calls.of(CallKind.SUCCESS)))
    return [held(ISOLATED, "the circuit of a healthy service stayed closed", examined=served, needed=5)]


def judge_never_trips(
    stage: CircuitContext, rows: ArrayLike, what: str, *, needed: int | None = None, each: Sequence[int] = ()
) -> list[Finding]:
    """Return whether `rows`, of which none or too few are failures, left the circuit closed; `what` names them.

    PASS needs `needed` answers (twice the failures that open it), and as many of each status that `each` names: a
    breaker may count one 4xx and not another.
    """
    calls = settled_calls(stage, rows)
    seen = Circuit(stage, calls).run()
    broken = [breach for breach in seen.breaches if breach.rule in (phases.EARLY, phases.NEVER_CLOSES)]
    if broken:
        return [_broken(stage, calls, broken[0])]
    if says := next(iter(seen.undecided.values()), "") or doubt(stage, calls):
        return [Finding(phases.EARLY, Outcome.INCONCLUSIVE, says, len(calls))]
    if seen.openings:
        return [Finding(phases.EARLY, Outcome.INCONCLUSIVE, "the circuit opened for failures that count", len(calls))]
    least = 2 * stage.policy.failures if needed is None else needed
    told = calls.of(CallKind.NEUTRAL, CallKind.SUCCESS, CallKind.FAILURE)
    counts = {status: int(np.count_nonzero(told & (calls.status == status))) for status in each}
    few = {status: count for status, count in counts.items() if count < least}
    if few:
        listed = ", ".join(f"{count} of status {status}" for status, count in few.items())
        says = f"{what} never opened the circuit, but too few were seen: {listed}, {least} of each are needed"
        return [Finding(phases.EARLY, Outcome.INCONCLUSIVE, says, min(few.values()), least)]
    examined = int(np.count_nonzero(told))
    return [held(phases.EARLY, f"{what} never opened the circuit", examined=examined, needed=least)]

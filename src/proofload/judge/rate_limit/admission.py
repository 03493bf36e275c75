"""Who was admitted: never more than the limit, never a rejection before it, with the right status."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from proofload.core.units import format_duration
from proofload.judge.models.attempts import AttemptKind, Broken, Examined
from proofload.judge.rate_limit.conjunction import explained_by_others
from proofload.judge.rate_limit.context import Keyed, RateLimitContext, attempts_of, by_key, kinds
from proofload.judge.rate_limit.counterexample import ordinal, promise, steps
from proofload.judge.rate_limit.models import can_judge, examine
from proofload.judge.sampling import with_share
from proofload.judge.verdict import Finding, Outcome, held

OVER, WRONGFUL, NEVER, STATUS = "rl.over_admission", "rl.wrongful_rejection", "rl.never_rejects", "rl.wrong_status"
LEAK, EVASION = "rl.key_leak", "rl.evasion"

_LOOK_OVER = (
    "where the limiter compares the count with the limit (`<` or `<=`), and whether that is one step with the write"
)
_LOOK_WRONGFUL = (
    "the comparison with the limit, the expiry (lost, or renewed by each request), and what the key is made of"
)
_LOOK_STATUS = "what the limiter's rejection is turned into on its way out: error handlers, middleware order"
_LOOK_LEAK = "what the limiter's key is made of: it must hold the client's own address or user"
_LEAST_OTHERS = 3
"""A stray 5xx after the limit may be the target's own trouble; this many without one right answer is the limiter's."""


@dataclass(frozen=True, slots=True)
class JudgedKey:
    """One key and how its attempts fared."""

    keyed: Keyed
    examined: Examined


def judge_admission(
    scene: RateLimitContext, rows: ArrayLike, *, needed: int | None = None, varied: ArrayLike = ()
) -> list[Finding]:
    """Return over-admission, wrongful rejection, wrong status and 'never rejects', over every key in `rows`.

    PASS for over-admission needs more requests than the limit surely decided inside one window; PASS for wrongful
    rejection needs the whole limit surely admitted in one, or `needed` requests where traffic is meant to stay below.
    Of `rows`, those in `varied` tried to get round the limit: they may have spent allowance, and prove nothing here.
    What another declared limit (`scene.also`) may have rejected proves nothing of this one either.
    """
    reason = can_judge(scene)
    if reason:
        return [Finding(rule, Outcome.INCONCLUSIVE, reason) for rule in (OVER, WRONGFUL, STATUS)]
    chosen = np.asarray(rows, dtype=np.int64)
    doubtful = np.concatenate([np.asarray(varied, dtype=np.int64), chosen[explained_by_others(scene, chosen)]])
    counting = replace(scene, unsure=doubtful)
    judged = [JudgedKey(one, examine(counting, one.attempts)) for one in by_key(counting, chosen, interesting=True)]
    findings = [_over(scene, judged), _wrongful(scene, judged, np.size(rows), needed), *_status(scene, judged)]
    return [*findings, *_never(scene, judged)]


def _over(scene: RateLimitContext, judged: Sequence[JudgedKey]) -> Finding:
    policy = scene.policy
    broken = [(one, one.examined.over) for one in judged if one.examined.over is not None]
    tried = max((one.examined.tried for one in judged), default=0)
    needed = max((one.examined.tried_needed for one in judged), default=policy.allowance + 1)
    if not broken:
        says = f"no more than {promise(policy)} were admitted; {tried} were tried inside one window"
        # Each request that was rejected would have been one too many.
        beyond = sum(_rejections(scene, one.keyed) for one in judged)
        return with_share(held(OVER, says, examined=tried, needed=needed, keys=len(judged)), beyond)
    one, over = min(broken, key=lambda pair: len(pair[1].rows))
    return over_finding(scene, one.keyed, over, OVER, keys=len(broken))


def over_finding(
    scene: RateLimitContext, keyed: Keyed, over: Broken, rule: str, **figures: int | float | str
) -> Finding:
    """Return FAIL for an allowance that was overrun, with the admissions that show it."""
    span = format_duration(over.to_ns - over.from_ns)
    nth = ordinal(over.allowed + 1)
    two = scene.policy.algorithm == "fixed_window" and over.allowed == 2 * scene.policy.limit
    windows = "less than a window, so in two at the most" if two else "one window"
    says = (
        f"{over.counted} requests of {keyed.key} were admitted inside {windows}, {over.allowed} are allowed: "
        f"the {nth} admitted request is row {over.culprit}"
    )
    notes = (
        f"the {nth} admitted, and {over.allowed} are allowed",
        f"all {len(over.rows)} were sent and answered inside {span}, and a window lasts "
        f"{format_duration(scene.policy.window)}",
    )
    shown = steps(scene.history, over.rows, notes)
    figures = {"admitted": over.counted, "allowed": over.allowed, "span_ns": over.to_ns - over.from_ns, **figures}
    return Finding(rule, Outcome.FAIL, says, len(over.rows), over.allowed + 1, over.rows, shown, _LOOK_OVER, figures)


def _wrongful(scene: RateLimitContext, judged: Sequence[JudgedKey], sent: int, needed: int | None) -> Finding:
    policy = scene.policy
    broken = [(one, one.examined.wrongful) for one in judged if one.examined.wrongful is not None]
    if not broken:
        granted = max((one.examined.granted for one in judged), default=0)
        least = max((one.examined.granted_needed for one in judged), default=policy.allowance)
        says = f"no rejection while the limit of {promise(policy)} was not used up"
        if needed is not None:
            return with_share(held(WRONGFUL, says, examined=sent, needed=needed, keys=len(judged)), sent)
        served = sum(int(np.count_nonzero(one.keyed.attempts.admitted)) for one in judged)
        return with_share(held(WRONGFUL, says, examined=granted, needed=least, keys=len(judged)), served)
    one, wrong = min(broken, key=lambda pair: pair[1].counted)
    return wrongful_finding(scene, one.keyed, wrong, one.examined.wrongfuls)


def wrongful_finding(scene: RateLimitContext, keyed: Keyed, wrong: Broken, times: int, rule: str = WRONGFUL) -> Finding:
    """Return FAIL for a rejection that came before the allowance was used up."""
    says = (
        f"row {wrong.culprit} of {keyed.key} was rejected when at the most {wrong.counted} requests "
        f"could count against it, and {wrong.allowed} are allowed"
    )
    note = f"rejected, with at the most {wrong.counted} of {wrong.allowed} used up by then"
    shown = steps(scene.history, wrong.rows, (note,))
    figures = {"possibly_counted": wrong.counted, "allowed": wrong.allowed, "rejections": times}
    return Finding(rule, Outcome.FAIL, says, times, 1, wrong.rows, shown, _LOOK_WRONGFUL, figures)


def _status(scene: RateLimitContext, judged: Sequence[JudgedKey]) -> list[Finding]:
    """Return whether what must have been rejected was rejected with the promised status."""
    rejections = 0
    for one in judged:
        proper = _rejections(scene, one.keyed)
        rejections += proper
        if proper or one.examined.over is not None:
            continue
        found = _in_place_of(scene, one.keyed)
        if found is not None:
            return [found]
    says = f"requests beyond the limit were answered {scene.policy.status}"
    return [held(STATUS, says, examined=rejections, needed=1)]


def _rejections(scene: RateLimitContext, keyed: Keyed) -> int:
    """Return how many were rejected as promised, by this limit or by another."""
    return int(np.count_nonzero(kinds(scene, keyed.attempts.row) == AttemptKind.REJECTED))


def _in_place_of(scene: RateLimitContext, keyed: Keyed) -> Finding | None:
    """Return FAIL where an error of another kind surely stands in the place of the promised rejection."""
    attempts = keyed.attempts
    errors = scene.history.numbers("status")[attempts.row] >= 400
    errors &= attempts.kind == AttemptKind.UNSURE
    if np.count_nonzero(attempts.admitted) < scene.policy.allowance or np.count_nonzero(errors) < _LEAST_OTHERS:
        return None
    kind = np.where(errors, AttemptKind.ADMITTED, attempts.kind).astype(np.uint8)
    # Were these admitted, the limit would be overrun; were they rejected, they would say so: both break the promise.
    supposed = examine(scene, replace(attempts, kind=kind))
    if supposed.over is None or _beyond(supposed) < _LEAST_OTHERS:
        return None
    admitted = attempts.row[attempts.admitted]
    if np.count_nonzero(np.isin(supposed.over.rows, admitted)) < scene.policy.allowance:
        return None
    culprit = supposed.over.culprit
    status = int(scene.history.numbers("status")[culprit])
    says = f"row {culprit} of {keyed.key}, beyond the limit, was answered {status} in place of {scene.policy.status}"
    shown = steps(scene.history, supposed.over.rows, (f"{status}, where {scene.policy.status} is promised",))
    count = int(np.count_nonzero(errors))
    rows = supposed.over.rows
    return Finding(STATUS, Outcome.FAIL, says, count, 1, rows, shown, _LOOK_STATUS, {"status": status, "times": count})


def _beyond(examined: Examined) -> int:
    """Return how many admissions were too many: of one window, or one by one where no window bounds them."""
    over = examined.over
    return 0 if over is None else max(over.counted - over.allowed, examined.overs)


def _never(scene: RateLimitContext, judged: Sequence[JudgedKey]) -> list[Finding]:
    """Return whether anything was ever rejected, where the limit was surely put to the test."""
    tested = [one for one in judged if one.examined.tried >= one.examined.tried_needed]
    if not tested:
        return []
    rejected = sum(_rejections(scene, one.keyed) for one in tested)
    if rejected:
        return [held(NEVER, f"{rejected} requests beyond the limit were rejected", examined=rejected)]
    worst = max(tested, key=lambda one: one.examined.tried)
    if worst.examined.over is None:
        return []
    over, tried = worst.examined.over, worst.examined.tried
    says = f"nothing was ever rejected: {tried} requests inside one window, {scene.policy.allowance} allowed"
    look = "whether the limiter is in the way of these requests at all, and what it does when its store fails"
    return [Finding(NEVER, Outcome.FAIL, says, tried, 1, over.rows, over_lines(scene, over), look)]


def over_lines(scene: RateLimitContext, over: Broken) -> tuple[str, ...]:
    """Return the lines that show an overrun allowance."""
    return steps(scene.history, over.rows, (f"admitted, and {over.allowed} are allowed",))


def judge_evasion(scene: RateLimitContext, rows: ArrayLike, by: str, *, plain: ArrayLike = ()) -> list[Finding]:
    """Return whether `rows`, of one key but varied in `by` (a header, a path, a connection), share one allowance.

    Those of `rows` that are in `plain` were not varied. Where they alone exceed the limit, nothing had to be evaded:
    an evasion is one only where no counterexample comes about without a varied request.
    """
    attempts = attempts_of(scene, rows)
    unvaried = np.isin(attempts.row, np.asarray(plain, dtype=np.int64))
    if np.all(unvaried):
        return [Finding(EVASION, Outcome.INCONCLUSIVE, f"nothing was sent with a varying {by}")]
    reason = can_judge(scene)
    if reason:
        return [Finding(EVASION, Outcome.INCONCLUSIVE, reason)]
    keyed = Keyed(f"one client with a varying {by}", attempts)
    if np.any(unvaried) and examine(scene, attempts.only(unvaried)).over is not None:
        says = f"the limit was exceeded without it, so a varying {by} shows nothing"
        return [Finding(EVASION, Outcome.INCONCLUSIVE, says, len(attempts))]
    examined = examine(scene, attempts)
    if examined.over is None or np.all(np.isin(examined.over.rows, attempts.row[unvaried])):
        says = f"a varying {by} opened no new allowance"
        found = held(EVASION, says, examined=examined.tried, needed=examined.tried_needed)
        return [with_share(found, int(np.count_nonzero(~unvaried)))]
    finding = over_finding(scene, keyed, examined.over, EVASION, by=by)
    return [replace(finding, look_at=f"what the limiter's key is made of: it must not hold the {by}")]


def judge_isolation(scene: RateLimitContext, rows: ArrayLike) -> list[Finding]:
    """Return whether the keys in `rows` (two or more) leave each other alone: one's excess never limits another.

    Of one counter for all clients nothing of the kind is promised, so there is nothing to say.
    """
    if scene.policy.scope == "global":
        return []
    reason = can_judge(scene)
    if reason:
        return [Finding(LEAK, Outcome.INCONCLUSIVE, reason)]
    every = [JudgedKey(keyed, examine(scene, keyed.attempts)) for keyed in by_key(scene, rows)]
    full = [one for one in every if one.examined.granted >= one.examined.granted_needed]
    wronged = [(one, one.examined.wrongful) for one in every if one.examined.wrongful is not None]
    if wronged and full and len(every) > 1:
        # One counter for all explains the rejection; a limit of one too few, say, would not be a leak.
        if examine(scene, attempts_of(scene, rows)).wrongful is None:
            one, wrong = min(wronged, key=lambda pair: pair[1].counted)
            finding = wrongful_finding(scene, one.keyed, wrong, one.examined.wrongfuls, LEAK)
            others = ", ".join(other.keyed.key for other in full[:3] if other is not one)
            says = f"{finding.says}; {others} had used up the limit, and one counter for both explains it"
            return [replace(finding, says=says, look_at=_LOOK_LEAK)]
        return [Finding(LEAK, Outcome.INCONCLUSIVE, "requests were wrongly rejected, but not because of other keys")]
    quiet = sum(1 for one in every if not np.any(one.keyed.attempts.rejected) and np.any(one.keyed.attempts.admitted))
    says = f"{len(full)} keys used up their limit and {quiet} others were served meanwhile"
    return [held(LEAK, says, examined=min(len(full), quiet), needed=1, keys=len(every))]

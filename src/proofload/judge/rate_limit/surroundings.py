"""What surrounds the limit: exempt paths, the backend, the promised reset, quick rejections, a store that is down."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from proofload.core.units import format_duration
from proofload.judge.models.attempts import FAR_NS, AttemptKind, Attempts, Flags, Ints
from proofload.judge.rate_limit.context import RateLimitContext, attempts_of, by_key, kinds
from proofload.judge.rate_limit.counterexample import steps
from proofload.judge.rate_limit.fields import Times
from proofload.judge.rate_limit.models import can_judge
from proofload.judge.sampling import with_share
from proofload.judge.verdict import Finding, Outcome, held
from proofload.record.exchange import NEVER_NS, Ending
from proofload.record.fault_edge import FaultSpan
from proofload.record.ledger import Reading

EXEMPT, BACKEND, RESET_KEPT = "rl.exempt_limited", "rl.rejected_reached_backend", "rl.reset_untrue"
SLOW, FAIL_OPEN = "rl.slow_reject", "rl.fail_open"
_LEAST_FOR_MEDIAN = 8
"""Of eight, the least and the greatest hold the median with 99 % confidence."""

_MOST_PROMISED_NS = 2**62
"""What a header names from there on, no client waits for."""


def judge_exempt(scene: RateLimitContext, rows: ArrayLike, *, needed: int | None = None) -> list[Finding]:
    """Return whether the exempt requests in `rows` were never answered with the limiter's rejection.

    PASS needs more of them than the allowance (or `needed`): fewer would have been admitted anyway.
    """
    chosen = np.asarray(rows, dtype=np.int64)
    status = scene.history.numbers("status")[chosen]
    answered = scene.history.numbers("ending")[chosen] == Ending.ANSWERED
    limited = chosen[answered & (status == scene.policy.status)]
    if len(limited):
        row = int(limited[0])
        says = f"an exempt request was limited: row {row} was answered {scene.policy.status}, {len(limited)} in all"
        shown = steps(scene.history, [row], ("this path is declared exempt",))
        look = "the list of exempt paths, and whether it is looked at before the limiter"
        return [Finding(EXEMPT, Outcome.FAIL, says, len(chosen), 1, (row,), shown, look, {"times": len(limited)})]
    served = int(np.count_nonzero(answered & (status < 500)))
    least = scene.policy.allowance + 1 if needed is None else needed
    return [with_share(held(EXEMPT, "exempt requests were never limited", examined=served, needed=least), served)]


def judge_backend_hits(
    scene: RateLimitContext,
    rows: ArrayLike,
    hits_at_least: int,
    hits_at_most: int | None = None,
    *,
    readings: tuple[Reading, Reading] | None = None,
) -> list[Finding]:
    """Return whether the backend saw no more requests than can have been admitted, by its own count over `rows`' span.

    `hits_at_least` is what the backend certainly counted for these requests, foreign traffic already taken off. With
    the two `readings` that it is the difference of, only those of `rows` are held against it that lie between them.
    """
    every = attempts_of(scene, rows)
    inside, touching = _between(every, readings)
    attempts = every.only(inside)
    rejected = int(np.count_nonzero(attempts.rejected))
    could = len(attempts) - rejected + int(np.count_nonzero(touching & ~every.rejected))
    figures = {"hits": hits_at_least, "not_rejected": could, "rejected": rejected}
    if hits_at_least > could:
        extra = hits_at_least - could
        says = f"{extra} rejected requests reached the backend: it saw {hits_at_least}, only {could} were not rejected"
        shown = (
            f"sent {len(attempts)}, rejected {rejected}: at the most {could} may reach the backend",
            f"the backend counted {hits_at_least}",
        )
        look = "whether the limiter stands before the call to the backend, or runs beside it"
        culprits = tuple(int(row) for row in attempts.row[attempts.rejected][:1])
        return [Finding(BACKEND, Outcome.FAIL, says, rejected, 1, culprits, shown, look, figures)]
    known = int(np.count_nonzero(attempts.admitted))
    if hits_at_most is not None and hits_at_most < known:
        says = f"{known} were answered from behind the backend and it counted at the most {hits_at_most}: no evidence"
        return [Finding(BACKEND, Outcome.INCONCLUSIVE, says, rejected, 1, figures=figures)]
    # Unanswered requests could hide as many that leaked through.
    if could - known and hits_at_least > known:
        says = f"{could - known} unanswered requests may account for what the backend saw beyond the {known} admitted"
        return [Finding(BACKEND, Outcome.INCONCLUSIVE, says, rejected, 1, figures=figures)]
    says = "no rejected request reached the backend"
    return [with_share(held(BACKEND, says, examined=rejected, **figures), rejected)]


def _between(attempts: Attempts, readings: tuple[Reading, Reading] | None) -> tuple[Flags, Flags]:
    """Return which attempts certainly lie between two readings, and which may."""
    if readings is None:
        return np.ones(len(attempts), dtype=np.bool_), np.zeros(len(attempts), dtype=np.bool_)
    before, after = readings
    inside = (attempts.sent_ns >= before.answered_ns) & (attempts.done_ns <= after.asked_ns)
    outside = (attempts.done_ns < before.asked_ns) | (attempts.sent_ns > after.answered_ns)
    return inside, ~inside & ~outside


def judge_promised_reset(scene: RateLimitContext, rows: ArrayLike) -> list[Finding]:
    """Return whether requests sent once `Reset` or `Retry-After` had come were admitted, by what earlier answers said.

    A request later than the promise by less than the rounding of a whole second decides nothing.
    """
    names = scene.policy.headers
    if names.reset is None and names.retry_after is None:
        return []
    reason = can_judge(scene)
    if reason:
        return [Finding(RESET_KEPT, Outcome.INCONCLUSIVE, reason)]
    kept = close = 0
    for keyed in by_key(scene, rows):
        attempts = keyed.attempts
        promised = _promised_ns(scene, attempts.row)
        rejections = np.flatnonzero(attempts.rejected & (promised < FAR_NS))
        for first in rejections[:1]:
            due = int(promised[first])
            told = attempts.row[first]
            later = np.flatnonzero(attempts.sent_ns >= due)
            if not len(later):
                continue
            # The first to come is owed admission, unless others may have spent the new allowance meanwhile.
            next_one = int(later[0])
            # The promise may have been worked out from clock and time to live at either end of the exchange.
            took_ns = int(attempts.done_ns[first] - attempts.sent_ns[first])
            sure = attempts.sent_ns[next_one] >= due + took_ns + scene.leeway.rounding_ns + scene.wall_error_ns
            # Elsewhere than in a fixed window, whatever was admitted since the promise delays its coming true.
            windowed = scene.policy.algorithm == "fixed_window"
            since = due - scene.leeway.rounding_ns if windowed else attempts.sent_ns[first]
            owed = scene.policy.limit if windowed else 1
            spenders = (attempts.kind != AttemptKind.REJECTED) & (attempts.done_ns >= since)
            spent = np.count_nonzero(spenders & (attempts.sent_ns <= attempts.done_ns[next_one]))
            if attempts.admitted[next_one]:
                kept += 1
            elif attempts.rejected[next_one] and spent < owed:
                if not sure:
                    close += 1
                    continue
                pair = (int(told), int(attempts.row[next_one]))
                late = format_duration(int(attempts.sent_ns[next_one]) - due)
                says = f"row {pair[1]}, sent {late} after the reset that row {pair[0]} announced, was rejected again"
                shown = steps(scene.history, pair, (f"rejected {late} after the announced reset",))
                look = "the key's expiry: lost, renewed by each request, or prolonged by rejected ones"
                return [Finding(RESET_KEPT, Outcome.FAIL, says, 1, 1, pair, shown, look)]
    if close and not kept:
        says = (
            "a request was rejected less than a second after the announced reset: inside the rounding of whole seconds"
        )
        return [Finding(RESET_KEPT, Outcome.INCONCLUSIVE, says, close)]
    return [held(RESET_KEPT, "requests sent after the announced reset were admitted", examined=kept)]


def _promised_ns(scene: RateLimitContext, rows: Ints) -> Ints:
    """Return the monotonic instant from which each answer promised admission; FAR_NS where it promised nothing."""
    names = scene.policy.headers
    promised = np.full(len(rows), FAR_NS, dtype=np.int64)
    for found in (
        scene.fields.retry(names.retry_after, rows) if names.retry_after else None,
        scene.fields.reset(names.reset, names.reset_unit, rows) if names.reset else None,
    ):
        if found is not None:
            at_ns = _instants_ns(scene, found, rows)
            # The later of two promises is the one that a careful client keeps.
            later = np.where(promised == FAR_NS, at_ns, np.maximum(promised, at_ns))
            promised = np.where(at_ns == FAR_NS, promised, later)
    return promised


def _instants_ns(scene: RateLimitContext, found: Times, rows: Ints) -> Ints:
    """Return the monotonic instant that each header's time means, FAR_NS where it means none."""
    done = scene.history.numbers("done_ns")[rows].astype(np.int64)
    usable = found.read & (found.ns >= 0) & (found.ns < _MOST_PROMISED_NS)
    if scene.anchor is None:
        return np.where(usable & ~found.is_wall, done + found.ns, FAR_NS)
    at_ns = found.ns - scene.anchor.wall_ns + scene.anchor.monotonic_ns
    return np.where(usable, np.where(found.is_wall, at_ns, done + found.ns), FAR_NS)


def judge_rejection_speed(
    scene: RateLimitContext, rows: ArrayLike, *, quick_ns: int = 20_000_000, needed: int = 20
) -> list[Finding]:
    """Return whether rejecting is cheaper than serving, by the medians; rejections under `quick_ns` are quick.

    The medians' own confidence intervals (order statistics, about 99 %) must lie apart for a FAIL, and what was sent
    alone is only compared with what was sent alone. What can't be told is SKIPPED: this says nothing of enforcement.
    """
    chosen = np.asarray(rows, dtype=np.int64)
    kind = kinds(scene, chosen)
    took = (scene.history.numbers("done_ns") - scene.history.numbers("sent_ns"))[chosen].astype(np.int64)
    refused = kind == AttemptKind.REJECTED
    rejected = np.sort(took[refused])
    if not len(rejected):
        return [Finding(SLOW, Outcome.SKIPPED, "nothing was rejected, so how quickly is not told")]
    if len(rejected) >= _LEAST_FOR_MEDIAN and _median_bounds(rejected)[1] <= quick_ns:
        says = f"rejections are quick: median {format_duration(int(np.median(rejected)))}"
        figures = {"rejected_median_ns": int(np.median(rejected))}
        return [held(SLOW, says, examined=len(rejected), needed=_LEAST_FOR_MEDIAN, **figures)]
    alone = _alone(scene, chosen)
    for like in (alone, ~alone):
        pair = np.sort(took[like & refused]), np.sort(took[like & (kind == AttemptKind.ADMITTED)])
        if min(len(one) for one in pair) >= needed:
            return [_compared(scene, chosen[like & refused], *pair, quick_ns=quick_ns, needed=needed)]
    served = int(np.count_nonzero(kind == AttemptKind.ADMITTED))
    told = f"{len(rejected)} rejected (median {format_duration(int(np.median(rejected)))}) and {served} served"
    says = f"too few to compare the speed of rejections: {told}, {needed} of each sent alike are needed"
    return [Finding(SLOW, Outcome.SKIPPED, says, min(len(rejected), served), needed)]


def _compared(
    scene: RateLimitContext, rows: Ints, rejected: Ints, served: Ints, *, quick_ns: int, needed: int
) -> Finding:
    """Return whether rejections that took longer than `quick_ns` at least took less than what was served."""
    least = min(len(rejected), len(served))
    (reject_lo, reject_hi), (serve_lo, serve_hi) = _median_bounds(rejected), _median_bounds(served)
    told = f"{format_duration(int(np.median(rejected)))} against {format_duration(int(np.median(served)))}"
    figures = {"rejected_median_ns": int(np.median(rejected)), "served_median_ns": int(np.median(served))}
    if reject_lo > quick_ns and reject_lo * 10 >= serve_hi * 8:
        says = f"a rejection costs as much as a served request: median {told}"
        row = int(rows[0])
        shown = steps(scene.history, [row], ("rejected, as slowly as others were served",))
        look = "whether the limiter answers before or after the work, and whether rejections wait in the same queue"
        return Finding(SLOW, Outcome.FAIL, says, least, needed, (row,), shown, look, figures)
    if reject_hi * 10 < serve_lo * 8:
        return held(SLOW, f"rejections are quicker: median {told}", examined=least, needed=needed, **figures)
    says = f"too close to call whether rejections are quicker: median {told}"
    return Finding(SLOW, Outcome.SKIPPED, says, least, needed, figures=figures)


def _alone(scene: RateLimitContext, rows: Ints) -> Flags:
    """Return which rows were under way with no other of the history: the others may have waited for each other."""
    sent, done = (scene.history.numbers(name).astype(np.int64) for name in ("sent_ns", "done_ns"))
    went = sent != NEVER_NS
    begins, ends = np.sort(sent[went]), np.sort(done[went])
    begun = np.searchsorted(begins, done[rows], side="right")
    return np.asarray(begun - np.searchsorted(ends, sent[rows]) == 1, dtype=np.bool_)


def _median_bounds(ordered: Ints) -> tuple[int, int]:
    """Return the order statistics that hold the median with about 99 % confidence (normal approximation of ranks)."""
    half, reach = len(ordered) / 2, 1.29 * len(ordered) ** 0.5
    return int(ordered[max(0, int(half - reach))]), int(ordered[min(len(ordered) - 1, int(half + reach))])


def judge_store_down(scene: RateLimitContext, rows: ArrayLike, spans: Sequence[FaultSpan]) -> list[Finding]:
    """Return whether the limiter did as declared while its store was surely down.

    `closed`: nothing is admitted. `open`: requests are served. Neither declared: what happened is told, not judged.
    """
    promised = scene.policy.when_store_is_down
    proven = [span for span in spans if span.held]
    if not proven:
        return [Finding(FAIL_OPEN, Outcome.INCONCLUSIVE, "the store was never proven to be down")]
    chosen = np.asarray(rows, dtype=np.int64)
    sent, done = scene.history.numbers("sent_ns")[chosen], scene.history.numbers("done_ns")[chosen]
    inside = np.zeros(len(chosen), dtype=np.bool_)
    for span in proven:
        inside |= (sent >= span.narrow_from_ns) & (done <= span.narrow_to_ns) & (sent >= 0)
    answered = inside & (scene.history.numbers("ending")[chosen] == Ending.ANSWERED)
    admitted = chosen[answered & (kinds(scene, chosen) == AttemptKind.ADMITTED)]
    refused = chosen[answered & (scene.history.numbers("status")[chosen] >= 400)]
    count = int(np.count_nonzero(answered))
    told = f"{len(admitted)} of {count} requests were admitted while the store was down"
    if promised is None:
        return [Finding(FAIL_OPEN, Outcome.SKIPPED, f"{told}; the policy promises nothing about that", count)]
    wrong = admitted if promised == "closed" else refused
    if len(wrong):
        row = int(wrong[0])
        says = f"{told}, and the policy says {promised}: the first against it is row {row}"
        shown = steps(scene.history, [row], (f"the store was down, and the policy says {promised}",))
        look = "what the limiter does with an error of its store: a bare except, a default, a timeout"
        return [Finding(FAIL_OPEN, Outcome.FAIL, says, count, 1, (row,), shown, look, {"times": len(wrong)})]
    return [held(FAIL_OPEN, f"{told}, as the policy says ({promised})", examined=count)]

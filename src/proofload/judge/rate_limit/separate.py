"""Tells the declared model from the other models with the same limit and window: what to send, and what it shows.

Token bucket, GCRA and leaky bucket (as a meter) admit the same requests, so one stands for all three.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from proofload.judge.rate_limit.context import RateLimitContext, attempts_of
from proofload.judge.rate_limit.identify import describe, refutation
from proofload.judge.rate_limit.models import can_judge
from proofload.judge.verdict import Finding, Outcome
from proofload.plan.policies import Algorithm, RateLimitPolicy

MODEL = "rl.model"

_LOOK = "which algorithm the limiter is configured with, and whether its windows begin at the clock or a first request"
_MODELS: tuple[tuple[Algorithm, str], ...] = (
    ("fixed_window", "first_request"),
    ("fixed_window", "clock"),
    ("sliding_log", "first_request"),
    ("sliding_window_counter", "first_request"),
    ("sliding_window_counter", "clock"),
    ("token_bucket", "first_request"),
)
_ON_CLOCK = ("fixed_window", "sliding_window_counter")
_SPARE = 3


def separated(scene: RateLimitContext, rows: ArrayLike) -> Finding:
    """Return whether the answers in `rows` fit the declared model, and which of the others they fit as well.

    FAIL only where the declared model is refuted, which the rules on admission say too, and another one fits.
    """
    policy = scene.policy
    reason = can_judge(scene)
    if reason:
        return Finding(MODEL, Outcome.INCONCLUSIVE, reason)
    attempts = attempts_of(scene, rows)
    if not np.any(attempts.rejected):
        return Finding(MODEL, Outcome.INCONCLUSIVE, "nothing was rejected, so the model of the limiter can't be told")
    others = {one: refutation(replace(scene, policy=one), attempts, rows) for one in alternatives(policy)}
    fitting = [describe(one) for one, why in others.items() if not why]
    why = refutation(scene, attempts, rows)
    examined = len(others) + 1
    shown = tuple(f"not a {describe(one)}: {reason}" for one, reason in others.items() if reason)
    figures: dict[str, int | float | str] = {"also_fits": "; ".join(fitting), "refuted": len(shown)}
    if not why:
        also = f"; these fit as well: {'; '.join(fitting)}" if fitting else ", and no other model does"
        says = f"a {describe(policy)} fits{also}"
        return Finding(MODEL, Outcome.PASS, says, examined, shown=shown, figures=figures)
    if not fitting:
        says = f"no known model fits, and the declared {describe(policy)} does not: {why}"
        return Finding(MODEL, Outcome.SKIPPED, says, examined, shown=shown, figures=figures)
    says = f"declared is a {describe(policy)}, which can't be: {why}. What fits: {'; '.join(fitting)}"
    return Finding(MODEL, Outcome.FAIL, says, examined, 1, (), (f"not a {describe(policy)}: {why}",), _LOOK, figures)


def alternatives(policy: RateLimitPolicy) -> Iterator[RateLimitPolicy]:
    """Yield every other model with the limit and window of a policy."""
    declared = _identity(policy)
    for algorithm, alignment in _MODELS:
        changes = {"algorithm": algorithm, "alignment": alignment, "burst": policy.burst if policy.is_bucket else None}
        one = policy.model_copy(update=changes)
        if _identity(one) != declared:
            yield one


def _identity(policy: RateLimitPolicy) -> tuple[str, str]:
    alignment = policy.alignment if policy.algorithm in _ON_CLOCK else ""
    return "bucket" if policy.is_bucket else policy.algorithm, alignment


def separating_phase_ns(policy: RateLimitPolicy) -> int:
    """Return how far into a window of the wall clock the schedule has to begin, so that clocks' edges show."""
    return policy.window * 4 // 10


def separating_schedule(policy: RateLimitPolicy) -> list[tuple[int, int]]:
    """Return when to send how many requests, from a fresh key, so that no two models answer all of them alike.

    Offsets are nanoseconds from the first request; each group is sent at once. It lasts two windows.
    """
    # A first request alone, a whole allowance late in its window and more after its end: a window that it began is
    # full and then new; a log still holds the late ones; a bucket was whole again in time for them. Edges of the
    # clock come at 0.6 and 1.6 windows, so what counts by the clock gives nothing new at 1.1 and 1.5, and something
    # at 1.75. By 2.0 a log is empty, while a counter still weighs the late ones.
    size, more = policy.allowance, _at_least(policy, 3)
    groups: Sequence[tuple[int, int]] = (
        (0, 1),
        (90, size + _SPARE),
        (110, more),
        (150, more),
        (175, more),
        (200, _at_least(policy, 5)),
    )
    return [(policy.window * hundredths // 100, count) for hundredths, count in groups]


def _at_least(policy: RateLimitPolicy, tenths: int) -> int:
    return -(-policy.allowance * tenths // 10) + _SPARE

"""Several limits declared at once: all that cover a request must admit it, so a rejection may come from any of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from proofload.core.units import format_duration
from proofload.judge.models.attempts import AttemptKind, Attempts, Flags, Ints
from proofload.judge.models.bucket_bounds import Bucket, could_be_empty
from proofload.judge.rate_limit.context import RateLimitContext, by_key, covered, kinds
from proofload.judge.rate_limit.models import examine
from proofload.judge.verdict import Finding, Outcome
from proofload.plan.policies import RateLimitPolicy

UNTESTED = "rl.untested"


def explained_by_others(scene: RateLimitContext, rows: Ints) -> Flags:
    """Return which of `rows` were rejected when another declared limit that covers them can have been used up.

    Every other request on that limit's key may have spent it, admitted or not: limiters differ in what they count.
    """
    explained = np.zeros(len(rows), dtype=np.bool_)
    rejected = kinds(scene, rows) == AttemptKind.REJECTED
    for policy in scene.also:
        if policy.status == scene.policy.status and np.any(rejected):
            explained |= rejected & covered(scene, policy, rows) & _may_be_used_up(replace(scene, policy=policy), rows)
    return explained


def _may_be_used_up(scene: RateLimitContext, rows: Ints) -> Flags:
    """Return on which of `rows` the limit of a context can have been used up, as far as a client can tell."""
    every = np.arange(len(scene.history), dtype=np.int64)
    every = every[covered(scene, scene.policy, every)]
    found = np.zeros(len(scene.history), dtype=np.bool_)
    for keyed in by_key(scene, every):
        found[keyed.attempts.row] = _used_up(scene, keyed.attempts)
    return found[rows]


def _used_up(scene: RateLimitContext, attempts: Attempts) -> Flags:
    policy, slack = scene.policy, scene.leeway
    if policy.is_bucket:
        return could_be_empty(Bucket(policy.window / policy.limit, policy.allowance), attempts, slack)
    # A counter still weighs what lies in the window before this one.
    windows = 2 if policy.algorithm == "sliding_window_counter" else 1
    reach_ns = windows * (policy.window + slack.window_ns) + 2 * slack.clock_ns
    ends = np.sort(attempts.done_ns)
    upto = np.searchsorted(attempts.sent_ns, attempts.done_ns, side="right")
    others = upto - np.searchsorted(ends, attempts.sent_ns - reach_ns) - 1
    foreign = (not attempts.fresh) & (attempts.sent_ns <= attempts.sent_ns[0] + reach_ns)
    return np.asarray((others >= policy.limit) | foreign, dtype=np.bool_)


def judge_untested(scene: RateLimitContext, rows: ArrayLike, limits: Iterable[RateLimitPolicy]) -> list[Finding]:
    """Return a finding for each declared limit that `rows` never put to the test: it may not be in force at all."""
    chosen = np.asarray(rows, dtype=np.int64)
    return [one for policy in limits if (one := _untested(scene, chosen, policy)) is not None]


def _untested(scene: RateLimitContext, rows: Ints, policy: RateLimitPolicy) -> Finding | None:
    own = replace(scene, policy=policy)
    needed = policy.allowance + 1
    tried = 0
    for keyed in by_key(own, rows[covered(scene, policy, rows)]):
        examined = examine(own, keyed.attempts)
        if examined.tried >= examined.tried_needed:
            return None
        tried, needed = max(tried, examined.tried), examined.tried_needed
    limit = f"{policy.name} ({policy.limit} in {format_duration(policy.window)} on {', '.join(policy.applies_to)})"
    says = (
        f"{limit} is declared and was not tested: at most {tried} requests came within one window, {needed} are needed"
    )
    return Finding(UNTESTED, Outcome.INCONCLUSIVE, says, tried, needed, figures={"limit": policy.name})

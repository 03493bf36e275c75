"""Scripts that spend an allowance: one by one, at a pace, beyond a refill, or at announced instants."""

from __future__ import annotations

from collections.abc import Iterable

from proofload.core.units import NS_PER_SECOND
from proofload.drive.user import Answer, User
from proofload.plan.policies import RateLimitPolicy
from proofload.plan.workload import Script

ROUNDING_NS = NS_PER_SECOND
"""Stores keep whole seconds of expiry: a window may last this much longer than declared."""
_SUSTAINED_TOKENS = 10
"""How many tokens flow in while a bucket is kept empty: enough that a refill of another rate shows."""
_MOST_SUSTAINED = 2_000


def exhaust(policy: RateLimitPolicy, over: int) -> Script:
    """Send an allowance and `over` more one by one; of a bucket, that fills meanwhile, until `over` were rejected."""
    return keep_last(policy, {}, "", over)


def keep_last(policy: RateLimitPolicy, last: dict[str, Answer], name: str, over: int = 3) -> Script:
    """Exhaust the allowance, and keep the last answer under a name."""

    async def spend(user: User) -> None:
        for _ in range(policy.allowance + over):
            last[name] = await user.request(policy.probe)

    async def spend_bucket(user: User) -> None:
        # Tokens flow in while they are spent, and some limiters hold back what they nearly reject.
        rejected = 0
        for _ in range(4 * (policy.allowance + over)):
            last[name] = await user.request(policy.probe)
            rejected += last[name].status == policy.status
            if rejected == over:
                return

    return spend_bucket if policy.is_bucket else spend


def sustained(policy: RateLimitPolicy) -> Script:
    """Send at twice the rate of the refill, from an empty bucket, while a few tokens flow in."""
    every_ns = max(1, policy.window // (2 * policy.limit))
    count = min(_MOST_SUSTAINED, 2 * max(_SUSTAINED_TOKENS, 2 * policy.limit * NS_PER_SECOND // policy.window))
    return paced(policy.probe, count, every_ns)


def paced(operation: str, count: int, every_ns: int) -> Script:
    """Send one request each `every_ns`, and never two at once; 0 is one after the other."""

    async def send(user: User) -> None:
        began_ns = (await user.request(operation)).sent_ns
        for place in range(1, count):
            if every_ns:
                await user.pause_until_ns(began_ns + place * every_ns)
            await user.request(operation)

    return send


def pace_below_ns(policy: RateLimitPolicy, count: int, rivals: Iterable[RateLimitPolicy]) -> int:
    """Return how far apart `count` requests must be, so that none of the rivals is the one that rejects them.

    >>> short = RateLimitPolicy(limit=10, window="1s", probe="read")
    >>> pace_below_ns(RateLimitPolicy(limit=15, window="10s", probe="read"), 20, [short])
    125000000
    """
    tighter = [one for one in rivals if one.status == policy.status and one.allowance < count]
    # A quarter slower than the limit itself: windows may begin anywhere, and last a little longer.
    return max((one.window * 5 // (4 * one.limit) for one in tighter), default=0)


def at_promised(operation: str, due_ns: int) -> Script:
    """Send at an instant, and once more when whole seconds can no longer excuse a rejection."""

    async def twice(user: User) -> None:
        await user.pause_until_ns(due_ns)
        await user.request(operation)
        # Headers speak in whole seconds: what is still rejected after one more second was promised in vain.
        await user.pause_until_ns(due_ns + ROUNDING_NS + NS_PER_SECOND // 10)
        await user.request(operation)

    return twice

"""Which limits a target declares: what every case that sends must know, so as not to be limited by accident."""

from __future__ import annotations

from proofload.cases.requirement import Missing, Requirement
from proofload.plan.policies import RateLimitPolicy
from proofload.plan.target import Target


def gateway_limit(target: Target) -> RateLimitPolicy | None:
    """Return the limit over all services, or nothing where the target declares none."""
    return next((policy for policy in target.policies.rate_limit if policy.service is None), None)


def _found(target: Target) -> RateLimitPolicy | Missing:
    return gateway_limit(target) or Missing("the target declares no rate limit (policies.rate_limit)")


GATEWAY_LIMIT = Requirement("rate limit over all services", "policies.rate_limit", _found)


def its_probe(limit: RateLimitPolicy) -> tuple[str, ...]:
    """Return the operation that spends the limit: what most cases on limits send."""
    return (limit.probe,)


def allowance(policy: RateLimitPolicy) -> int:
    """Return how many requests a client that has sent nothing may send at once: a bucket's size, or the limit."""
    return max(1, policy.burst) if is_bucket(policy) and policy.burst is not None else policy.limit


def is_bucket(policy: RateLimitPolicy) -> bool:
    """Return whether the allowance flows in all the time, in place of coming back when a window ends."""
    return policy.algorithm in ("token_bucket", "gcra", "leaky_bucket")


def polite_count(target: Target, wanted: int, share: float = 0.8) -> int:
    """Return how many requests one client may send in a window and stay well below the limit, `wanted` at the most."""
    policy = gateway_limit(target)
    return wanted if policy is None else max(1, min(wanted, int(allowance(policy) * share)))

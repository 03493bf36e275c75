"""Which limits a target declares: what every case that sends must know, so as not to be limited by accident."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from proofload.cases.isolation import service_of
from proofload.cases.requirement import Missing, Requirement
from proofload.judge.evidence import Evidence
from proofload.judge.rate_limit import RateLimitContext
from proofload.plan.policies import RateLimitPolicy
from proofload.plan.target import Target

ACCOUNTS = "accounts_of_steps"
"""The fact that says for which accounts each step of a case sent: a list of names for its users, in their order."""
_EVERYWHERE = ("/*",)


def gateway_limits(target: Target) -> tuple[RateLimitPolicy, ...]:
    """Return every limit over all services, in the order in which they are declared."""
    return tuple(policy for policy in target.policies.rate_limit if policy.service is None)


def gateway_limit(target: Target) -> RateLimitPolicy | None:
    """Return the limit over all services that a client meets first, or nothing where the target declares none.

    Of several that cover what the first one's probe sends, that is the one which admits the fewest at once.
    """
    every = gateway_limits(target)
    if not every:
        return None
    path = path_of(target, every[0].probe)
    return min((one for one in every if one is every[0] or one.covers(path)), key=lambda one: one.allowance)


def path_of(target: Target, operation: str) -> str:
    """Return the path of an operation; a path that stands for itself is its own."""
    return target.operations[operation].path if operation in target.operations else operation


def covering(target: Target, operation: str) -> list[RateLimitPolicy]:
    """Return the declared limits that an operation spends."""
    path = path_of(target, operation)
    return [one for one in (_narrowed(target, limit) for limit in target.policies.rate_limit) if one.covers(path)]


def others(target: Target, policy: RateLimitPolicy) -> tuple[RateLimitPolicy, ...]:
    """Return the other declared limits: a rejection may be theirs where they cover what was sent."""
    return tuple(_narrowed(target, one) for one in target.policies.rate_limit if one != policy)


def _narrowed(target: Target, policy: RateLimitPolicy) -> RateLimitPolicy:
    """Return a service's own limit as covering the paths of that service only, where it says no paths itself."""
    if policy.service is None or policy.applies_to != _EVERYWHERE:
        return policy
    paths = [one.path.split("?")[0] for name, one in target.operations.items() if _calls(target, name, policy.service)]
    return policy.model_copy(update={"applies_to": tuple(dict.fromkeys(paths))}) if paths else policy


def _calls(target: Target, operation: str, service: str) -> bool:
    return service_of(target, operation) == service


def _found(target: Target) -> RateLimitPolicy | Missing:
    return gateway_limit(target) or Missing("the target declares no rate limit (policies.rate_limit)")


GATEWAY_LIMIT = Requirement("rate limit over all services", "policies.rate_limit", _found)


def its_probe(limit: RateLimitPolicy) -> tuple[str, ...]:
    """Return the operation that spends the limit: what most cases on limits send."""
    return (limit.probe,)


def allowance(policy: RateLimitPolicy) -> int:
    """Return how many requests a client that has sent nothing may send at once: a bucket's size, or the limit."""
    return policy.allowance


def polite_count(target: Target, wanted: int, share: float = 0.8, *, operations: Iterable[str] = ()) -> int:
    """Return how many requests one client may send in a window and stay well below every limit, `wanted` at the most.

    The limits are those that cover `operations`; without any, the gateway's.
    """
    policy = gateway_limit(target)
    limits = [one for name in operations for one in covering(target, name)] or ([policy] if policy else [])
    return min([wanted, *(max(1, int(one.allowance * share)) for one in limits)])


def limit_context(evidence: Evidence, policy: RateLimitPolicy, **more: Any) -> RateLimitContext:
    """Return the context for the judges of one limit, beside the target's other limits, over a case's evidence."""
    history = evidence.history
    names = history.frame["operation"].cast(pl.String).unique().to_list() if len(history) else []
    # What was asked for by its path alone has the path for a name.
    paths = {str(name): str(name) for name in names if str(name).startswith("/")}
    paths |= {name: one.path for name, one in evidence.target.operations.items()}
    more.setdefault("accounts", accounts_of(evidence))
    return RateLimitContext(policy, history, evidence.anchor, also=others(evidence.target, policy), paths=paths, **more)


def accounts_of(evidence: Evidence) -> NDArray[np.int64] | None:
    """Return for each row of the history a number of the account that sent it; None where no step says."""
    told = evidence.facts.get(ACCOUNTS, {})
    if not told:
        return None
    known = {name: number for number, name in enumerate(sorted({one for names in told.values() for one in names}))}
    users = evidence.history.numbers("user").astype(np.int64)
    # Whoever no step tells of is somebody else.
    found = users + len(known)
    for step, names in told.items():
        rows = evidence.history.of_workloads(str(step))
        place = np.searchsorted(np.unique(users[rows]), users[rows])
        numbers = np.asarray([known[one] for one in names], dtype=np.int64)
        found[rows] = numbers[place % len(numbers)] if len(numbers) else found[rows]
    return np.asarray(found, dtype=np.int64)

"""TC-RL-003 and TC-RL-004: limits of single services, and many clients at once, each limited on its own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from proofload.cases.accounts import Account
from proofload.cases.addresses import has_many
from proofload.cases.context import Lab
from proofload.cases.declared_limits import allowance, gateway_limit, is_bucket
from proofload.cases.evidence_rows import delivered, rows_of, steps_of
from proofload.cases.rate_limit.driving import missing as missing_limit
from proofload.cases.short_window import in_time
from proofload.judge.evidence import Evidence
from proofload.judge.rate_limit import RateLimitContext, judge_admission, judge_isolation
from proofload.judge.verdict import Finding, Outcome, held
from proofload.plan.policies import RateLimitPolicy
from proofload.plan.target import Target

_ELSEWHERE = 3
_GREEDY = 6
_QUIET = 3
_OVER = 5
_OWN, _KEYS = "rl.service_limit_leaks", "rl.keys_tried"


def service_limits(target: Target) -> list[RateLimitPolicy]:
    """Return the limits of single services that one client can meet before it meets the gateway's."""
    gateway = gateway_limit(target)
    return [
        one
        for one in target.policies.rate_limit
        if one.service is not None and (gateway is None or one.limit < gateway.limit)
    ]


def missing_service(target: Target) -> str:
    """Return why limits of single services can't be put to the test, or nothing."""
    if all(one.service is None for one in target.policies.rate_limit):
        return "the target declares no limit of a single service (policies.rate_limit with a service)"
    if not service_limits(target):
        return "every service's own limit is at least the gateway's, so it is never met first"
    return _one_address(target)


def missing_clients(target: Target) -> str:
    """Return why several clients can't be told apart, or nothing."""
    return missing_limit(target) or _one_address(target)


def _one_address(target: Target) -> str:
    return "" if has_many(target) else "this machine has one address only, so clients can't be told apart (sources)"


async def drive_services(lab: Lab) -> None:
    """Go beyond each service's own limit, one by one and all at once; then call another service from there."""
    accounts = await lab.accounts(1)
    for policy in service_limits(lab.target):
        async with in_time(lab, policy):
            await _one_service(lab, policy, accounts[0])


async def _one_service(lab: Lab, policy: RateLimitPolicy, account: Account) -> None:
    source = lab.source()
    count = policy.limit + _over(lab.target, policy)
    lab.doing(f"{policy.name}: sending {count} requests where {policy.limit} are allowed")
    await lab.run(lab.steps(f"{policy.name} own", policy.probe, count, account=account, source=source))
    if (other := _elsewhere(lab.target, policy)) is not None:
        few = min(_ELSEWHERE, _left(lab.target, policy))
        await lab.run(lab.steps(f"{policy.name} elsewhere", other, few, account=account, source=source))
    await lab.run(
        lab.burst(f"{policy.name} burst", policy.probe, count, account=account, source=lab.source()),
        lab.steps(f"{policy.name} quiet", policy.probe, _QUIET, account=account, source=lab.source()),
    )


def judge_services(evidence: Evidence) -> list[Finding]:
    """TC-RL-003: exactly each service's own limit, for each client, and nothing of it for another service."""
    findings: list[Finding] = []
    for policy in service_limits(evidence.target):
        scene = RateLimitContext(policy, evidence.history, evidence.anchor)
        limited = rows_of(evidence, *(f"{policy.name} {step}" for step in ("own", "burst", "quiet")))
        found = [*judge_admission(scene, limited), *judge_isolation(scene, limited), *_spared(evidence, policy)]
        findings += [replace(one, says=f"{policy.name}: {one.says}") for one in found]
    return delivered(evidence, findings)


def _spared(evidence: Evidence, policy: RateLimitPolicy) -> list[Finding]:
    """Return whether another service was served to a client that had used up this one's limit."""
    rows = rows_of(evidence, f"{policy.name} elsewhere")
    if not len(rows):
        return []
    status = evidence.history.numbers("status")
    limited = rows[status[rows] == policy.status]
    if not len(limited):
        return [held(_OWN, "another service was served to a client beyond this limit", examined=len(rows))]
    # What was rejected spent nothing: only what was admitted counts against the gateway's limit.
    own = rows_of(evidence, f"{policy.name} own")
    gateway = gateway_limit(evidence.target)
    spent = int((status[own] != policy.status).sum()) + len(rows)
    if gateway is not None and spent > gateway.limit:
        says = "another service was limited too, but the gateway's own limit may have been used up"
        return [Finding(_OWN, Outcome.INCONCLUSIVE, says, len(rows))]
    row = int(limited[0])
    says = f"row {row}, of another service, was rejected by a client that had used up this service's limit only"
    look = "what the limiter's key is made of: a service's own limit must hold the service's name"
    return [Finding(_OWN, Outcome.FAIL, says, len(rows), rows=(int(own[-1]), row), look_at=look)]


def _over(target: Target, policy: RateLimitPolicy) -> int:
    """Return how many requests go beyond the service's limit: rejected ones spend nothing of the gateway's."""
    gateway = gateway_limit(target)
    return _OVER if gateway is None else max(1, min(_OVER, gateway.limit - policy.limit))


def _left(target: Target, policy: RateLimitPolicy) -> int:
    """Return how much of the gateway's limit a client has left that has used up the service's."""
    gateway = gateway_limit(target)
    return _ELSEWHERE if gateway is None else max(1, gateway.limit - policy.limit - _over(target, policy))


def _elsewhere(target: Target, policy: RateLimitPolicy) -> str | None:
    """Return the probe of the gateway's limit, where another service answers it that has no limit of its own."""
    gateway = gateway_limit(target)
    service = target.operations[gateway.probe].service if gateway else None
    limited = {one.service for one in target.policies.rate_limit if one.service is not None}
    return gateway.probe if gateway and service is not None and service not in limited else None


async def drive_clients(lab: Lab) -> None:
    """Let several clients go beyond the limit side by side, and a few more stay below it meanwhile."""
    policy = gateway_limit(lab.target)
    assert policy is not None
    accounts = await lab.accounts(_GREEDY + _QUIET)
    # A bucket fills while it is spent: as much again finds it empty.
    each = allowance(policy) + (allowance(policy) if is_bucket(policy) else _OVER)
    below = max(1, min(policy.burst or policy.limit, policy.limit) // 2)
    lab.doing(f"{_GREEDY} clients beyond the limit side by side, {_QUIET} below it")
    greedy = lab.crowd("greedy", policy.probe, _GREEDY, each, accounts=accounts[:_GREEDY], sources=lab.sources(_GREEDY))
    quiet = lab.crowd("quiet", policy.probe, _QUIET, below, accounts=accounts[_GREEDY:], sources=lab.sources(_QUIET))
    async with in_time(lab, policy):
        await lab.run(greedy, quiet)


def judge_clients(evidence: Evidence) -> list[Finding]:
    """TC-RL-004: each of the clients got exactly its own limit."""
    policy = gateway_limit(evidence.target)
    assert policy is not None
    scene = RateLimitContext(policy, evidence.history, evidence.anchor)
    rows = rows_of(evidence, *steps_of(evidence))
    findings = [*judge_admission(scene, rows), *judge_isolation(scene, rows)]
    sources = evidence.history.frame["source"].to_physical().to_numpy()[rows]
    rejected = evidence.history.numbers("status")[rows] == policy.status
    tried = len(np.unique(sources[rejected]))
    says = f"{tried} of {_GREEDY} clients met their limit side by side"
    return delivered(evidence, [*findings, held(_KEYS, says, examined=tried, needed=_GREEDY)])

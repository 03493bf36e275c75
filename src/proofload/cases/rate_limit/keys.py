"""TC-RL-003 and TC-RL-004: limits of single services, and many clients at once, each limited on its own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from proofload.cases.accounts import Account
from proofload.cases.addresses import has_many
from proofload.cases.case import Category, Priority, case
from proofload.cases.context import CaseContext
from proofload.cases.declared_limits import GATEWAY_LIMIT, allowance, gateway_limit, is_bucket, its_probe
from proofload.cases.evidence_rows import delivered, rows_of, steps_of
from proofload.cases.requirement import Missing, Requirement
from proofload.cases.short_window import in_time
from proofload.core.units import NS_PER_SECOND
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


def _several_addresses(target: Target) -> Target | Missing:
    if has_many(target):
        return target
    return Missing("this machine has one address only, so clients can't be told apart (sources)")


def _own_limits(target: Target) -> list[RateLimitPolicy] | Missing:
    if all(one.service is None for one in target.policies.rate_limit):
        return Missing("the target declares no limit of a single service (policies.rate_limit with a service)")
    return service_limits(target) or Missing(
        "every service's own limit is at least the gateway's: it is never met first"
    )


SEVERAL_ADDRESSES = Requirement("several client addresses", "sources, or a target on loopback", _several_addresses)
SERVICE_LIMITS = Requirement(
    "limits of single services below the gateway's",
    "policies.rate_limit with a service, below the gateway's limit",
    _own_limits,
)


@case(
    "TC-RL-003",
    "Rate limits of single services",
    Category.RATE_LIMIT,
    Priority.HIGH,
    phase=2,
    requires=SERVICE_LIMITS.needing(SEVERAL_ADDRESSES),
    uses=lambda limits: [limit.probe for limit in limits],
    takes=3 * NS_PER_SECOND,
    spends=True,
)
async def services(run: CaseContext, limits: list[RateLimitPolicy]) -> None:
    """A service's own limit holds beside the gateway's, for each client, and for that service only.

    Sends: for each service with a limit of its own, that limit and a few requests more: one by one from one
        address, all at once from another; then requests of another service from the limited address
    Passes when: exactly the service's limit was admitted from each address, other clients were served
        meanwhile, and so was the limited client by the other service
    Reading FAIL: the finding names the service's limit and shows the request that was admitted or rejected
        wrongly
    Least evidence: more requests than the service's limit surely decided inside one window
    """
    accounts = await run.accounts(1)
    for policy in limits:
        async with in_time(run, policy):
            await _one_service(run, policy, accounts[0])


async def _one_service(run: CaseContext, policy: RateLimitPolicy, account: Account) -> None:
    source = run.source()
    count = policy.limit + _over(run.target, policy)
    run.doing(f"{policy.name}: sending {count} requests where {policy.limit} are allowed")
    await run.run(run.steps(f"{policy.name} own", policy.probe, count, account=account, source=source))
    if (other := _elsewhere(run.target, policy)) is not None:
        few = min(_ELSEWHERE, _left(run.target, policy))
        await run.run(run.steps(f"{policy.name} elsewhere", other, few, account=account, source=source))
    await run.run(
        run.burst(f"{policy.name} burst", policy.probe, count, account=account, source=run.source()),
        run.steps(f"{policy.name} quiet", policy.probe, _QUIET, account=account, source=run.source()),
    )


@services.judge
def judge_services(evidence: Evidence, limits: list[RateLimitPolicy]) -> list[Finding]:
    """TC-RL-003: exactly each service's own limit, for each client, and nothing of it for another service."""
    findings: list[Finding] = []
    for policy in limits:
        context = RateLimitContext(policy, evidence.history, evidence.anchor)
        limited = rows_of(evidence, *(f"{policy.name} {step}" for step in ("own", "burst", "quiet")))
        seen = [*judge_admission(context, limited), *judge_isolation(context, limited), *_spared(evidence, policy)]
        findings += [replace(one, says=f"{policy.name}: {one.says}") for one in seen]
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


@case(
    "TC-RL-004",
    "Clients in parallel, each limited on its own",
    Category.RATE_LIMIT,
    Priority.HIGH,
    phase=2,
    requires=GATEWAY_LIMIT.needing(SEVERAL_ADDRESSES),
    uses=its_probe,
    takes=4 * NS_PER_SECOND,
    spends=True,
)
async def clients(run: CaseContext, policy: RateLimitPolicy) -> None:
    """Under load from many addresses each has its own allowance: no leak between keys, in either direction.

    Sends: the limit and a few more from each of six addresses, side by side, and half of it from each of three
    Passes when: each of the six was admitted exactly the limit, and nobody below it was rejected
    Reading FAIL: the finding names the address, and the request that was admitted or rejected wrongly
    Least evidence: six clients that met their limit, and more requests than the limit inside one window
    """
    accounts = await run.accounts(_GREEDY + _QUIET)
    # A bucket fills while it is spent: as much again finds it empty.
    each = allowance(policy) + (allowance(policy) if is_bucket(policy) else _OVER)
    below = max(1, min(policy.burst or policy.limit, policy.limit) // 2)
    run.doing(f"{_GREEDY} clients beyond the limit side by side, {_QUIET} below it")
    greedy = run.crowd("greedy", policy.probe, _GREEDY, each, accounts=accounts[:_GREEDY], sources=run.sources(_GREEDY))
    quiet = run.crowd("quiet", policy.probe, _QUIET, below, accounts=accounts[_GREEDY:], sources=run.sources(_QUIET))
    async with in_time(run, policy):
        await run.run(greedy, quiet)


@clients.judge
def judge_clients(evidence: Evidence, policy: RateLimitPolicy) -> list[Finding]:
    """TC-RL-004: each of the clients got exactly its own limit."""
    context = RateLimitContext(policy, evidence.history, evidence.anchor)
    rows = rows_of(evidence, *steps_of(evidence))
    findings = [*judge_admission(context, rows), *judge_isolation(context, rows)]
    sources = evidence.history.frame["source"].to_physical().to_numpy()[rows]
    rejected = evidence.history.numbers("status")[rows] == policy.status
    tried = len(np.unique(sources[rejected]))
    says = f"{tried} of {_GREEDY} clients met their limit side by side"
    return delivered(evidence, [*findings, held(_KEYS, says, examined=tried, needed=_GREEDY)])

"""TC-RL-003 and TC-RL-004: limits of single services, and many clients at once, each limited on its own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from proofload.cases.addresses import has_many
from proofload.cases.case import Category, Priority, case
from proofload.cases.context import CaseContext
from proofload.cases.declared_limits import GATEWAY_LIMIT, gateway_limit, its_probe, limit_context, others
from proofload.cases.evidence_rows import delivered, rows_of, steps_of
from proofload.cases.rate_limit.clients import (
    Client,
    can_be_told_apart,
    clients_of,
    own_allowances,
    send,
    why_not_apart,
)
from proofload.cases.rate_limit.spending import exhaust
from proofload.cases.requirement import Missing, Requirement
from proofload.cases.short_window import in_time
from proofload.core.units import NS_PER_SECOND
from proofload.judge.evidence import Evidence
from proofload.judge.rate_limit import judge_admission, judge_isolation
from proofload.judge.rate_limit.conjunction import UNTESTED
from proofload.judge.rate_limit.context import key_codes
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
        if one.service is not None and (gateway is None or one.allowance < gateway.allowance)
    ]


def _several_addresses(target: Target) -> Target | Missing:
    if has_many(target):
        return target
    return Missing("this machine has one address only, so clients can't be told apart (sources)")


def _own_limits(target: Target) -> list[RateLimitPolicy] | Missing:
    if all(one.service is None for one in target.policies.rate_limit):
        return Missing("the target declares no limit of a single service (policies.rate_limit with a service)")
    met = service_limits(target)
    apart = [one for one in met if can_be_told_apart(target, one)]
    if apart or not met:
        return apart or Missing("every service's own limit is at least the gateway's: it is never met first")
    return Missing(why_not_apart(target, met[0]))


SEVERAL_ADDRESSES = Requirement("several client addresses", "sources, or a target on loopback", _several_addresses)
SERVICE_LIMITS = Requirement(
    "limits of single services below the gateway's",
    "policies.rate_limit with a service, below the gateway's limit, sources",
    _own_limits,
)


@case(
    "TC-RL-003",
    "Rate limits of single services",
    Category.RATE_LIMIT,
    Priority.HIGH,
    phase=2,
    requires=SERVICE_LIMITS,
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
    for policy in limits:
        clients = await clients_of(run, policy, ("own", "burst", "quiet"))
        async with in_time(run, policy):
            await _one_service(run, policy, clients)


async def _one_service(run: CaseContext, policy: RateLimitPolicy, clients: dict[str, Client]) -> None:
    own, crowd, quiet = (clients[name] for name in ("own", "burst", "quiet"))
    count = policy.allowance + _over(run.target, policy)
    run.doing(f"{policy.name}: sending {count} requests where {policy.allowance} are allowed")
    spend = exhaust(policy, _over(run.target, policy))
    await send(run, run.steps(f"{policy.name} own", spend, account=own.account, source=own.source))
    if (other := _elsewhere(run.target, policy)) is not None:
        few = min(_ELSEWHERE, _left(run.target, policy))
        elsewhere = run.steps(f"{policy.name} elsewhere", other, few, account=own.account, source=own.source)
        await send(run, elsewhere)
    await send(
        run,
        run.burst(f"{policy.name} burst", policy.probe, count, account=crowd.account, source=crowd.source),
        run.steps(f"{policy.name} quiet", policy.probe, _quiet(policy), account=quiet.account, source=quiet.source),
    )


def _quiet(policy: RateLimitPolicy) -> int:
    return min(_QUIET, policy.allowance)


@services.judge
def judge_services(evidence: Evidence, limits: list[RateLimitPolicy]) -> list[Finding]:
    """TC-RL-003: exactly each service's own limit, for each client, and nothing of it for another service."""
    findings: list[Finding] = []
    for policy in limits:
        context = limit_context(evidence, policy)
        limited = rows_of(evidence, *(f"{policy.name} {step}" for step in ("own", "burst", "quiet")))
        seen = [*judge_admission(context, limited), *judge_isolation(context, limited), *_spared(evidence, policy)]
        findings += [replace(one, says=f"{policy.name}: {one.says}") for one in seen]
    return delivered(evidence, [*findings, *_never_met(evidence.target, limits)])


def _never_met(target: Target, limits: list[RateLimitPolicy]) -> list[Finding]:
    """Return a word on each service's limit that no client comes near, because the gateway's is met first."""
    gateway = gateway_limit(target)
    if gateway is None:
        return []
    says = f"is not tested: {gateway.name} admits {gateway.allowance}, so it is met first"
    return [
        Finding(UNTESTED, Outcome.SKIPPED, f"{one.name} ({one.allowance}) {says}")
        for one in target.policies.rate_limit
        if one.service is not None and one not in limits
    ]


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
    explained = any(spent > one.allowance for one in others(evidence.target, policy) if one.status == policy.status)
    if (gateway is not None and spent > gateway.allowance) or explained:
        says = "another service was limited too, but the gateway's own limit may have been used up"
        return [Finding(_OWN, Outcome.INCONCLUSIVE, says, len(rows))]
    row = int(limited[0])
    says = f"row {row}, of another service, was rejected by a client that had used up this service's limit only"
    look = "what the limiter's key is made of: a service's own limit must hold the service's name"
    return [Finding(_OWN, Outcome.FAIL, says, len(rows), rows=(int(own[-1]), row), look_at=look)]


def _over(target: Target, policy: RateLimitPolicy) -> int:
    """Return how many requests go beyond the service's limit: rejected ones spend nothing of the gateway's."""
    gateway = gateway_limit(target)
    return _OVER if gateway is None else max(1, min(_OVER, gateway.allowance - policy.allowance))


def _left(target: Target, policy: RateLimitPolicy) -> int:
    """Return how much of the gateway's limit a client has left that has used up the service's."""
    gateway = gateway_limit(target)
    return _ELSEWHERE if gateway is None else max(1, gateway.allowance - policy.allowance - _over(target, policy))


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
    requires=own_allowances(GATEWAY_LIMIT),
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
    # A bucket fills while it is spent: as much again finds it empty.
    each = policy.allowance + (policy.allowance if policy.is_bucket else _OVER)
    below = max(1, policy.allowance // 2)
    accounts = await run.accounts(_GREEDY + _QUIET)
    run.doing(f"{_GREEDY} clients beyond the limit side by side, {_QUIET} below it")
    greedy = run.crowd("greedy", policy.probe, _GREEDY, each, accounts=accounts[:_GREEDY], sources=run.sources(_GREEDY))
    quiet = run.crowd("quiet", policy.probe, _QUIET, below, accounts=accounts[_GREEDY:], sources=run.sources(_QUIET))
    async with in_time(run, policy):
        await send(run, greedy, quiet)


@clients.judge
def judge_clients(evidence: Evidence, policy: RateLimitPolicy) -> list[Finding]:
    """TC-RL-004: each of the clients got exactly its own limit."""
    context = limit_context(evidence, policy)
    rows = rows_of(evidence, *steps_of(evidence))
    findings = [*judge_admission(context, rows), *judge_isolation(context, rows)]
    rejected = evidence.history.numbers("status")[rows] == policy.status
    tried = len(np.unique(key_codes(context, rows[rejected])))
    says = f"{tried} of {_GREEDY} clients met their limit side by side"
    return delivered(evidence, [*findings, held(_KEYS, says, examined=tried, needed=_GREEDY)])

"""TC-INT-001, 002 and 007: the limit beside failures, beside the books, and before authentication."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from proofload.cases.accounts import Account
from proofload.cases.case import Category, Priority, case
from proofload.cases.context import CaseContext
from proofload.cases.declared_limits import GATEWAY_LIMIT, accounts_of, covering, its_probe, limit_context
from proofload.cases.evidence_rows import delivered, rows_of
from proofload.cases.isolation import service_of
from proofload.cases.metrics_and_audit import (
    METRICS_PAGE,
    audited_event,
    counted,
    note_secrets,
    on_record,
    read_log,
    settle_metrics_and_audit,
)
from proofload.cases.rate_limit.clients import clients_of, own_allowances, send
from proofload.cases.requirement import Missing, Requirement
from proofload.cases.short_window import in_time
from proofload.core.units import NS_PER_SECOND
from proofload.drive.user import User
from proofload.judge.evidence import Evidence
from proofload.judge.rate_limit import judge_admission, judge_isolation
from proofload.judge.verdict import Finding, held
from proofload.plan.policies import AuditPolicy, MetricsPolicy, RateLimitPolicy
from proofload.plan.target import Target
from proofload.plan.workload import Script

_OVER = 10
_LOGINS_OF_TEN = 3
"""Passwords cost the target time: a few of them among failures that cost it little."""
FAILED, LIMITED, FORGED = "int.failures_seen", "int.rejections_seen", "int.forged_tokens_refused"
_EVENT = "rate_limited"
_WRONG = frozenset({400, 401, 403, 404, 422})
_CLIENTS, _SERVERS, _BEYOND = 400, 500, 600


@dataclass(frozen=True, slots=True)
class FailingRequests:
    """A limit, and operations under it that fail behind it: by the client's fault (4xx), or the service's (5xx)."""

    limit: RateLimitPolicy
    wrong: tuple[str, ...]
    broken: tuple[str, ...] = ()
    statuses: frozenset[int] = _WRONG
    """What such a failure is answered: it came from behind the limiter."""

    @property
    def steps(self) -> dict[str, tuple[str, ...]]:
        """Return by step what is sent in it: an allowance each, for limiters refund one kind and not the other."""
        return {name: one for name, one in (("failing", self.wrong), ("failing 5xx", self.broken)) if one}


def _can_fail(target: Target) -> FailingRequests | Missing:
    limit = GATEWAY_LIMIT.find(target)
    if isinstance(limit, Missing):
        return limit
    if limit.is_bucket:
        return Missing("a bucket fills while it is spent, so that a refund and a refill look alike")
    wrong, broken = tuple(_failing(target, limit)), tuple(_broken(target, limit))
    if not wrong and not broken:
        return Missing("the target names no operation that can be made to fail (users.login, accept)")
    named = {status for name in (*wrong, *broken) for status in target.operations[name].accept if status >= _CLIENTS}
    return FailingRequests(limit, wrong, broken, (_WRONG | named) - {limit.status})


def _failing(target: Target, limit: RateLimitPolicy) -> list[str]:
    """Return operations under the limit that answer 4xx: those that accept one, and a log-in with a wrong password."""
    names = [name for name in _without_effect(target, limit) if _accepts(target, limit, name, _CLIENTS, _SERVERS)]
    login = target.users.login if target.users else None
    return [*names, *([login] if login is not None and limit.covers(target.operations[login].path) else [])]


def _broken(target: Target, limit: RateLimitPolicy) -> list[str]:
    """Return operations under the limit that their service answers 5xx, where no circuit opens on them."""
    circuits = {one.service for one in target.policies.circuit_breaker}
    return [
        name
        for name in _without_effect(target, limit)
        if _accepts(target, limit, name, _SERVERS, _BEYOND) and service_of(target, name) not in circuits
    ]


def _without_effect(target: Target, limit: RateLimitPolicy) -> list[str]:
    """Return the operations that may be sent at will and spend this limit before any tighter one."""
    return [
        name
        for name, one in sorted(target.operations.items())
        if one.effect == "none"
        and limit.covers(one.path)
        and all(each.allowance >= limit.allowance for each in covering(target, name))
    ]


def _accepts(target: Target, limit: RateLimitPolicy, name: str, least: int, below: int) -> bool:
    return any(least <= status < below and status != limit.status for status in target.operations[name].accept)


def _forgeable(target: Target) -> RateLimitPolicy | Missing:
    limit = GATEWAY_LIMIT.find(target)
    if isinstance(limit, Missing):
        return limit
    if target.users is None or target.users.login is None:
        return Missing("the target declares no log-in, so there is no token to forge (users.login)")
    if target.operations[limit.probe].auth != "bearer":
        return Missing("the limit's probe needs no token")
    return limit


FAILING_REQUESTS = Requirement(
    "rate limit, and an operation under it that can be made to fail",
    "policies.rate_limit, users.login or an operation that accepts 4xx or 5xx",
    _can_fail,
)
RECORDED_LIMIT = GATEWAY_LIMIT & (METRICS_PAGE & audited_event(_EVENT))
FORGEABLE_LIMIT = Requirement(
    "rate limit whose probe needs a token", "policies.rate_limit, users.login, an operation with a token", _forgeable
)


@case(
    "TC-INT-001",
    "Failing requests are not free of the limit",
    Category.INTERACTION,
    Priority.HIGH,
    phase=2,
    requires=FAILING_REQUESTS,
    uses=lambda _: (),
    takes=3 * NS_PER_SECOND,
    spends=True,
)
async def failures(run: CaseContext, failing: FailingRequests) -> None:
    """Who guesses passwords or asks for what is not there spends its allowance like anybody else.

    Sends: more requests than the limit from one client, all of which fail behind the limiter by the client's
        fault (4xx); as many from another that fail by the service's (5xx), where an operation says that it does
    Passes when: exactly the allowed number got through to fail, and every further one was rejected
    Reading FAIL: the finding shows the failing request that was admitted beyond the limit
    Least evidence: half the limit of failures, and more requests than the limit inside one window
    """
    policy = failing.limit

    def fail(names: tuple[str, ...]) -> Script:
        async def script(user: User) -> None:
            for i in range(policy.allowance + _OVER):
                await user.request(names[0] if i % 10 >= _LOGINS_OF_TEN else names[-1])

        return script

    for step, names in failing.steps.items():
        # One after the other: where all clients share one allowance, it has come back by then.
        (client,) = (await clients_of(run, policy, [step])).values()
        account = client.account
        wrong = Account(account.name, f"{account.password}-wrong", account.token)
        # Behind a circuit that another case has opened they would not fail as they are meant to.
        async with run.undisturbed(*names), in_time(run, policy):
            run.doing("spending an allowance on requests that fail")
            await send(run, run.steps(step, fail(names), account=wrong, source=client.source))


@failures.judge
def judge_failures(evidence: Evidence, failing: FailingRequests) -> list[Finding]:
    """TC-INT-001: failing requests count against the limit like any others."""
    policy = failing.limit
    context = limit_context(evidence, policy, admitted_statuses=failing.statuses)
    findings: list[Finding] = []
    for step in failing.steps:
        rows = rows_of(evidence, step)
        status = evidence.history.numbers("status")[rows]
        failed = int(np.count_nonzero(np.isin(status, sorted(failing.statuses))))
        kind = "5xx" if step.endswith("5xx") else "4xx"
        says = f"{failed} requests failed behind the limiter ({kind})"
        told = held(FAILED, says, examined=failed, needed=max(1, policy.allowance // 2))
        findings += [*judge_admission(context, rows), told]
    return delivered(evidence, findings)


@case(
    "TC-INT-002",
    "Rejections are counted and on record",
    Category.INTERACTION,
    Priority.HIGH,
    phase=5,
    requires=RECORDED_LIMIT,
    uses=lambda found: its_probe(found[0]),
    takes=lambda found: 3 * NS_PER_SECOND + found[1][1].arrives_within,
    spends=True,
)
async def recorded(run: CaseContext, found: tuple[RateLimitPolicy, tuple[MetricsPolicy, AuditPolicy]]) -> None:
    """A rate-limited request leaves its mark in the metrics and in the audit log.

    Sends: two clients well beyond their limit, one by one and all at once, alone between two readings
    Passes when: each 429 was counted under its route and status, and each left its event in the audit log
    Reading FAIL: the finding names the series or the requests that are missing
    Least evidence: ten rejections
    """
    policy, _ = found
    (account,) = await run.accounts(1)
    note_secrets(run, [account])
    size = policy.allowance
    async with run.exclusive():
        await run.readings.begin_audit()
        await run.readings.services("before")
        run.doing("having two clients rejected")
        await run.run(run.steps("one by one", policy.probe, size + 2 * _OVER, account=account, source=run.source()))
        await run.run(run.burst("at once", policy.probe, size + 2 * _OVER, account=account, source=run.source()))
        await settle_metrics_and_audit(run)
        await run.readings.services("after")
        await read_log(run)


@recorded.judge
def judge_recorded(
    evidence: Evidence, found: tuple[RateLimitPolicy, tuple[MetricsPolicy, AuditPolicy]]
) -> list[Finding]:
    """TC-INT-002: each rejection is counted, and stands in the audit log."""
    policy, (metrics, audit) = found
    rows = rows_of(evidence, "one by one", "at once")
    rejected = rows[evidence.history.numbers("status")[rows] == policy.status]
    told = held(LIMITED, f"{len(rejected)} requests were rejected", examined=len(rejected), needed=_OVER)
    return delivered(
        evidence, [*counted(evidence, metrics), *on_record(evidence, audit, rejected, _EVENT, needed=_OVER), told]
    )


@case(
    "TC-INT-007",
    "Nobody spends another's allowance unauthenticated",
    Category.INTERACTION,
    Priority.HIGH,
    phase=2,
    requires=own_allowances(FORGEABLE_LIMIT),
    uses=its_probe,
    takes=3 * NS_PER_SECOND,
    spends=True,
)
async def forged(run: CaseContext, policy: RateLimitPolicy) -> None:
    """What a stranger sends in a user's name, with a token that nobody signed, costs that user nothing.

    Sends: a flood beyond the limit with a forged token from one address, then half the limit by the user itself
    Passes when: the flood was refused, and no request of the user was rejected
    Reading FAIL: the finding shows the user's request that was rejected, and how little it had sent
    Least evidence: ten forged requests that were refused, and half the limit of the user's own
    """
    (account,) = await run.accounts(1)
    stranger = Account(account.name, account.password, _unsigned(account.token or ""))
    async with in_time(run, policy):
        run.doing("flooding in the name of a user, with a token that nobody signed")
        flood = run.steps("forged", policy.probe, policy.allowance + _OVER, account=stranger, source=run.source())
        await send(run, flood)
        own = run.steps("own", _calls(policy, policy.allowance // 2), account=account, source=run.source())
        await send(run, own)


@forged.judge
def judge_forged(evidence: Evidence, policy: RateLimitPolicy) -> list[Finding]:
    """TC-INT-007: what a stranger sends in a user's name is refused, and costs that user nothing."""
    flood, own = rows_of(evidence, "forged"), rows_of(evidence, "own")
    accounts = accounts_of(evidence)
    if accounts is not None:
        # The forged requests bear the user's name and are not the user's: under a limit per user, somebody else's.
        accounts[flood] = accounts.max() + 1 if len(accounts) else 0
    context = limit_context(evidence, policy, admitted_statuses=frozenset({401, 403}), accounts=accounts)
    admitted = judge_admission(context, own, needed=max(1, policy.allowance // 2))
    wanted = [one for one in admitted if one.rule == "rl.wrongful_rejection"]
    status = evidence.history.numbers("status")[flood]
    refused = int(np.count_nonzero(np.isin(status, (401, 403))))
    told = held(FORGED, f"{refused} requests with a forged token were refused", examined=refused, needed=_OVER)
    rows = np.concatenate([flood, own])
    return delivered(evidence, [*wanted, *judge_isolation(context, rows), told])


def _calls(policy: RateLimitPolicy, count: int) -> Script:
    async def script(user: User) -> None:
        for _ in range(count):
            await user.request(policy.probe)

    return script


def _unsigned(token: str) -> str:
    """Return the token with a signature that cannot be right: what it claims can still be read."""
    head, dot, signature = token.rpartition(".")
    # The first character only: reversed, most signatures are no Base64 any more, and nobody reads such a token.
    return f"{head}{dot}{'B' if signature[:1] == 'A' else 'A'}{signature[1:]}" if dot else token[::-1]

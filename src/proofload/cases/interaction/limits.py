"""TC-INT-001, 002 and 007: the limit beside failures, beside the books, and before authentication."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from proofload.cases.accounts import Account
from proofload.cases.case import Category, Priority, case
from proofload.cases.context import CaseContext
from proofload.cases.declared_limits import GATEWAY_LIMIT, allowance, is_bucket, its_probe
from proofload.cases.evidence_rows import delivered, rows_of
from proofload.cases.metrics_and_audit import (
    METRICS_PAGE,
    audited_event,
    counted,
    note_secrets,
    on_record,
    read_log,
    settle_metrics_and_audit,
)
from proofload.cases.rate_limit.keys import SEVERAL_ADDRESSES
from proofload.cases.requirement import Missing, Requirement
from proofload.cases.short_window import in_time
from proofload.core.units import NS_PER_SECOND
from proofload.drive.user import User
from proofload.judge.evidence import Evidence
from proofload.judge.rate_limit import RateLimitContext, judge_admission, judge_isolation
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


@dataclass(frozen=True, slots=True)
class FailingRequests:
    """A limit, and operations under it that fail behind it."""

    limit: RateLimitPolicy
    operations: tuple[str, ...]


def _can_fail(target: Target) -> FailingRequests | Missing:
    limit = GATEWAY_LIMIT.find(target)
    if isinstance(limit, Missing):
        return limit
    if is_bucket(limit):
        return Missing("a bucket fills while it is spent, so that a refund and a refill look alike")
    operations = tuple(_failing(target, limit))
    if not operations:
        return Missing("the target names no operation that can be made to fail (users.login, accept)")
    return FailingRequests(limit, operations)


def _failing(target: Target, limit: RateLimitPolicy) -> list[str]:
    """Return operations under the limit that answer 4xx: those that accept one, and a log-in with a wrong password."""
    names = [
        name
        for name, one in sorted(target.operations.items())
        if one.effect == "none" and limit.covers(one.path) and any(400 <= status < 500 for status in one.accept or ())
    ]
    login = target.users.login if target.users else None
    return [*names, *([login] if login is not None and limit.covers(target.operations[login].path) else [])]


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
    "policies.rate_limit, users.login or an operation that accepts 4xx",
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

    Sends: more requests than the limit from one address, all of which fail behind the limiter
    Passes when: exactly the allowed number got through to fail, and every further one was rejected
    Reading FAIL: the finding shows the failing request that was admitted beyond the limit
    Least evidence: half the limit of failures, and more requests than the limit inside one window
    """
    policy, names = failing.limit, failing.operations
    (account,) = await run.accounts(1)
    wrong = Account(account.name, f"{account.password}-wrong", account.token)

    async def fail(user: User) -> None:
        for i in range(allowance(policy) + _OVER):
            await user.request(names[0] if i % 10 >= _LOGINS_OF_TEN else names[-1])

    # Behind a circuit that another case has opened they would not fail as they are meant to.
    async with run.undisturbed(*names), in_time(run, policy):
        run.doing("spending an allowance on requests that fail")
        await run.run(run.steps("failing", fail, account=wrong, source=run.source()))


@failures.judge
def judge_failures(evidence: Evidence, failing: FailingRequests) -> list[Finding]:
    """TC-INT-001: failing requests count against the limit like any others."""
    policy = failing.limit
    rows = rows_of(evidence, "failing")
    context = RateLimitContext(policy, evidence.history, evidence.anchor, admitted_statuses=_WRONG)
    status = evidence.history.numbers("status")[rows]
    failed = int(np.count_nonzero(np.isin(status, sorted(_WRONG))))
    told = held(FAILED, f"{failed} requests failed behind the limiter", examined=failed, needed=policy.limit // 2)
    return delivered(evidence, [*judge_admission(context, rows), told])


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
    size = allowance(policy)
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
    requires=FORGEABLE_LIMIT.needing(SEVERAL_ADDRESSES),
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
        flood = run.steps("forged", policy.probe, allowance(policy) + _OVER, account=stranger, source=run.source())
        await run.run(flood)
        own = run.steps("own", _calls(policy, allowance(policy) // 2), account=account, source=run.source())
        await run.run(own)


@forged.judge
def judge_forged(evidence: Evidence, policy: RateLimitPolicy) -> list[Finding]:
    """TC-INT-007: what a stranger sends in a user's name is refused, and costs that user nothing."""
    flood, own = rows_of(evidence, "forged"), rows_of(evidence, "own")
    context = RateLimitContext(policy, evidence.history, evidence.anchor, admitted_statuses=frozenset({401, 403}))
    admitted = judge_admission(context, own, needed=max(1, policy.limit // 2))
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

"""TC-INT-001, 002 and 007: the limit beside failures, beside the books, and before authentication."""

from __future__ import annotations

import numpy as np

from proofload.cases import metrics_and_audit as books
from proofload.cases.accounts import Account
from proofload.cases.addresses import has_many
from proofload.cases.context import Lab
from proofload.cases.declared_limits import allowance, gateway_limit, is_bucket
from proofload.cases.evidence_rows import delivered, rows_of
from proofload.cases.short_window import in_time
from proofload.drive.user import User
from proofload.judge.evidence import Evidence
from proofload.judge.rate_limit import RateLimitContext, judge_admission, judge_isolation
from proofload.judge.verdict import Finding, held
from proofload.plan.policies import RateLimitPolicy
from proofload.plan.target import Target
from proofload.plan.workload import Script

_OVER = 10
_LOGINS_OF_TEN = 3
"""Passwords cost the target time: a few of them among failures that cost it little."""
FAILED, LIMITED, FORGED = "int.failures_seen", "int.rejections_seen", "int.forged_tokens_refused"
_EVENT = "rate_limited"
_WRONG = frozenset({400, 401, 403, 404, 422})


def _limit(target: Target) -> RateLimitPolicy:
    policy = gateway_limit(target)
    assert policy is not None
    return policy


def missing_failures(target: Target) -> str:
    """Return why nothing can be made to fail behind the limiter, or nothing."""
    policy = gateway_limit(target)
    if policy is None:
        return "the target declares no rate limit (policies.rate_limit)"
    if is_bucket(policy):
        return "a bucket fills while it is spent, so that a refund and a refill look alike"
    return "" if _failing(target) else "the target names no operation that can be made to fail (users.login, accept)"


def _failing(target: Target) -> list[str]:
    """Return operations under the limit that answer 4xx: those that accept one, and a log-in with a wrong password."""
    policy = _limit(target)
    names = [
        name
        for name, one in sorted(target.operations.items())
        if one.effect == "none" and policy.covers(one.path) and any(400 <= status < 500 for status in one.accept or ())
    ]
    login = target.users.login if target.users else None
    return [*names, *([login] if login is not None and policy.covers(target.operations[login].path) else [])]


async def drive_failures(lab: Lab) -> None:
    """Spend a whole allowance on requests that fail, and go on."""
    policy = _limit(lab.target)
    (account,) = await lab.accounts(1)
    wrong = Account(account.name, f"{account.password}-wrong", account.token)
    names = _failing(lab.target)

    async def fail(user: User) -> None:
        for i in range(allowance(policy) + _OVER):
            await user.request(names[0] if i % 10 >= _LOGINS_OF_TEN else names[-1])

    # Behind a circuit that another case has opened they would not fail as they are meant to.
    async with lab.using(*names), in_time(lab, policy):
        lab.doing("spending an allowance on requests that fail")
        await lab.run(lab.steps("failing", fail, account=wrong, source=lab.source()))


def judge_failures(evidence: Evidence) -> list[Finding]:
    """TC-INT-001: failing requests count against the limit like any others."""
    policy = _limit(evidence.target)
    rows = rows_of(evidence, "failing")
    scene = RateLimitContext(policy, evidence.history, evidence.anchor, admitted_statuses=_WRONG)
    status = evidence.history.numbers("status")[rows]
    failed = int(np.count_nonzero(np.isin(status, sorted(_WRONG))))
    told = held(FAILED, f"{failed} requests failed behind the limiter", examined=failed, needed=policy.limit // 2)
    return delivered(evidence, [*judge_admission(scene, rows), told])


def missing_books(target: Target) -> str:
    """Return why rejections can't be looked for in the target's books, or nothing."""
    if gateway_limit(target) is None:
        return "the target declares no rate limit (policies.rate_limit)"
    return books.missing_metrics(target) or books.missing_event(target, _EVENT)


async def drive_books(lab: Lab) -> None:
    """Have a client rejected, one by one and all at once, between two readings of the books."""
    policy = _limit(lab.target)
    (account,) = await lab.accounts(1)
    size = allowance(policy)
    async with lab.silence():
        lab.begin_audit()
        await lab.read_services("before")
        lab.doing("having two clients rejected")
        await lab.run(lab.steps("one by one", policy.probe, size + 2 * _OVER, account=account, source=lab.source()))
        await lab.run(lab.burst("at once", policy.probe, size + 2 * _OVER, account=account, source=lab.source()))
        await books.settle_books(lab)
        await lab.read_services("after")
        await books.read_log(lab)


def judge_books(evidence: Evidence) -> list[Finding]:
    """TC-INT-002: each rejection is counted, and stands in the audit log."""
    policy = _limit(evidence.target)
    rows = rows_of(evidence, "one by one", "at once")
    rejected = rows[evidence.history.numbers("status")[rows] == policy.status]
    told = held(LIMITED, f"{len(rejected)} requests were rejected", examined=len(rejected), needed=_OVER)
    return delivered(
        evidence, [*books.counted(evidence), *books.on_record(evidence, rejected, _EVENT, needed=_OVER), told]
    )


def missing_tokens(target: Target) -> str:
    """Return why no token can be forged in a user's name, or nothing."""
    if gateway_limit(target) is None:
        return "the target declares no rate limit (policies.rate_limit)"
    if target.users is None or target.users.login is None:
        return "the target declares no log-in, so there is no token to forge (users.login)"
    if target.operations[_limit(target).probe].auth != "bearer":
        return "the limit's probe needs no token"
    return "" if has_many(target) else "this machine has one address only, so clients can't be told apart (sources)"


async def drive_forged(lab: Lab) -> None:
    """Flood with a token that names a user and is not signed, from elsewhere; then let the user do its work."""
    policy = _limit(lab.target)
    (account,) = await lab.accounts(1)
    forged = Account(account.name, account.password, _unsigned(account.token or ""))
    async with in_time(lab, policy):
        lab.doing("flooding in the name of a user, with a token that nobody signed")
        flood = lab.steps("forged", policy.probe, allowance(policy) + _OVER, account=forged, source=lab.source())
        await lab.run(flood)
        own = lab.steps("own", _calls(policy, allowance(policy) // 2), account=account, source=lab.source())
        await lab.run(own)


def judge_forged(evidence: Evidence) -> list[Finding]:
    """TC-INT-007: what a stranger sends in a user's name is refused, and costs that user nothing."""
    policy = _limit(evidence.target)
    forged, own = rows_of(evidence, "forged"), rows_of(evidence, "own")
    scene = RateLimitContext(policy, evidence.history, evidence.anchor, admitted_statuses=frozenset({401, 403}))
    found = judge_admission(scene, own, needed=max(1, policy.limit // 2))
    wanted = [one for one in found if one.rule == "rl.wrongful_rejection"]
    status = evidence.history.numbers("status")[forged]
    refused = int(np.count_nonzero(np.isin(status, (401, 403))))
    told = held(FORGED, f"{refused} requests with a forged token were refused", examined=refused, needed=_OVER)
    rows = np.concatenate([forged, own])
    return delivered(evidence, [*wanted, *judge_isolation(scene, rows), told])


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

"""TC-NEG-007: different users never wait for, or are refused for, one another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from proofload.cases.accounts import Account
from proofload.cases.context import Lab
from proofload.cases.evidence_rows import delivered, rows_of, steps_of
from proofload.drive.user import User
from proofload.judge.evidence import Evidence
from proofload.judge.lock import Movement
from proofload.judge.lock.contention import judge_contention
from proofload.judge.lock.effects import attempts
from proofload.judge.verdict import Finding, Outcome
from proofload.plan.policies import LockPolicy
from proofload.plan.target import Target
from proofload.plan.workload import Script

_USERS = 8
_ROUNDS = 2
_RULE = "lock.users_contend"


def missing(target: Target) -> str:
    """Return why no users can be made to act at once, or nothing."""
    return "" if target.policies.locks else "the target declares no user lock (policies.locks)"


async def drive_strangers(lab: Lab) -> None:
    """Let many users act at the same instant, each on its own account only, once for each lock and round."""
    policies = lab.target.policies.locks
    accounts = await lab.accounts(_USERS)
    await _fund(lab, accounts, policies)
    for policy in policies:
        for i in range(1, _ROUNDS + 1):
            lab.doing(f"{policy.name}: {_USERS} users at once")
            burst = lab.burst(f"{policy.name} at once {i}", _once(policy.operation), _USERS)
            identities = tuple(account.identity() for account in accounts)
            await lab.run(replace(burst, identities=identities, sources=lab.sources(_USERS)))


async def _fund(lab: Lab, accounts: Sequence[Account], policies: Sequence[LockPolicy]) -> None:
    """Give every user enough money for what follows, one after the other."""
    deposit = next((one for one in policies if one.kind == "deposit" and one.amount), None)
    spent = _ROUNDS * sum(one.amount or 0 for one in policies if one.kind in ("withdraw", "order"))
    if deposit is None or not spent:
        return
    count = -(-spent // (deposit.amount or 1))
    for i, account in enumerate(accounts):
        await lab.run(lab.steps(f"fund {i}", _once(deposit.operation), count, account=account, source=lab.source()))


def judge_strangers(evidence: Evidence) -> list[Finding]:
    """TC-NEG-007: nobody was refused for contention, for nobody did two things at a time."""
    findings: list[Finding] = []
    for policy in evidence.target.policies.locks:
        steps = steps_of(evidence, f"{policy.name} at once ")
        movements = [
            # A burst hands its users out in the order of the accounts, so a user's place tells whose money it is.
            Movement(one.row, f"user {i}", policy.kind, policy.amount or 0)
            for step in steps
            for i, one in enumerate(
                sorted(evidence.history.exchanges(rows_of(evidence, step).tolist()), key=lambda each: each.user)
            )
        ]
        found = attempts(policy, evidence.history, movements)
        findings += [
            replace(_at_least(told), says=f"{policy.name}: {told.says}")
            for told in judge_contention(policy, found, ())
            if told.rule == _RULE or told.outcome is Outcome.FAIL
        ]
    return delivered(evidence, findings)


def _at_least(told: Finding) -> Finding:
    """Return the finding; where users never overlapped, nothing is known, and that is not to be passed over here."""
    return replace(told, outcome=Outcome.INCONCLUSIVE) if told.outcome is Outcome.SKIPPED else told


def _once(operation: str) -> Script:
    async def script(user: User) -> None:
        await user.request(operation, keep_body=True)

    return script

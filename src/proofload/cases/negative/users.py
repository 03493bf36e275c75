"""TC-NEG-007: different users never wait for, or are refused for, one another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from proofload.cases.accounts import Account
from proofload.cases.case import Category, Priority, case
from proofload.cases.context import CaseContext
from proofload.cases.evidence_rows import delivered, rows_of, steps_of
from proofload.cases.lock.contention import LOCKS
from proofload.core.units import NS_PER_SECOND
from proofload.drive.user import User
from proofload.judge.evidence import Evidence
from proofload.judge.lock import Movement
from proofload.judge.lock.contention import judge_contention
from proofload.judge.lock.effects import attempts
from proofload.judge.verdict import Finding, Outcome
from proofload.plan.policies import LockPolicy
from proofload.plan.workload import Script

_USERS = 8
_ROUNDS = 2
_RULE = "lock.users_contend"


@case(
    "TC-NEG-007",
    "Different users never contend",
    Category.NEGATIVE,
    Priority.NEGATIVE,
    phase=7,
    requires=LOCKS,
    uses=lambda locks: [one.operation for one in locks],
    takes=4 * NS_PER_SECOND,
)
async def strangers(run: CaseContext, locks: tuple[LockPolicy, ...]) -> None:
    """A lock on a user is nobody else's business.

    Sends: every locking operation by eight users at the same instant, twice, each on its own account only
    Passes when: nobody was refused for contention
    Reading FAIL: the finding shows the refused operation and whose operation was under way at that time
    Least evidence: operations of two users that overlap
    """
    accounts = await run.accounts(_USERS)
    await _fund(run, accounts, locks)
    for policy in locks:
        for i in range(1, _ROUNDS + 1):
            run.doing(f"{policy.name}: {_USERS} users at once")
            burst = run.burst(f"{policy.name} at once {i}", _once(policy.operation), _USERS)
            identities = tuple(account.identity() for account in accounts)
            await run.run(replace(burst, identities=identities, sources=run.sources(_USERS)))


async def _fund(run: CaseContext, accounts: Sequence[Account], policies: Sequence[LockPolicy]) -> None:
    """Give every user enough money for what follows, one after the other."""
    deposit = next((one for one in policies if one.kind == "deposit" and one.amount), None)
    spent = _ROUNDS * sum(one.amount or 0 for one in policies if one.kind in ("withdraw", "order"))
    if deposit is None or not spent:
        return
    count = -(-spent // (deposit.amount or 1))
    for i, account in enumerate(accounts):
        await run.run(run.steps(f"fund {i}", _once(deposit.operation), count, account=account, source=run.source()))


@strangers.judge
def judge_strangers(evidence: Evidence, locks: tuple[LockPolicy, ...]) -> list[Finding]:
    """TC-NEG-007: nobody was refused for contention, for nobody did two things at a time."""
    findings: list[Finding] = []
    for policy in locks:
        steps = steps_of(evidence, f"{policy.name} at once ")
        movements = [
            # A burst hands its users out in the order of the accounts, so a user's place tells whose money it is.
            Movement(one.row, f"user {i}", policy.kind, policy.amount or 0)
            for step in steps
            for i, one in enumerate(
                sorted(evidence.history.exchanges(rows_of(evidence, step).tolist()), key=lambda each: each.user)
            )
        ]
        found = attempts(policy, evidence.history, movements, evidence.answers)
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

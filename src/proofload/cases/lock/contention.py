"""TC-LOCK: whether operations on one user happen one at a time, and no money is made or lost."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import polars as pl

from proofload.cases.accounts import Account as TestUser
from proofload.cases.case import Category, Priority, case
from proofload.cases.context import CaseContext
from proofload.cases.evidence_rows import delivered
from proofload.cases.requirement import Missing, Requirement
from proofload.cases.workloads import once
from proofload.core.units import NS_PER_SECOND
from proofload.drive.user import User
from proofload.judge.evidence import Evidence
from proofload.judge.lock import AccountBalance, Movement, balance_in, judge_lock, why_no_balance
from proofload.judge.verdict import Finding, Outcome
from proofload.plan.policies import LockPolicy
from proofload.plan.target import Target
from proofload.record.exchange import Exchange

_BURSTS = 5
_SPREAD = 6
_DEPOSITS = 4
_STRANGERS = 5
_MONEY = ("lock.money_not_conserved", "lock.not_linearizable")


def reckoned(target: Target) -> list[LockPolicy]:
    """Return the locks whose operations move a known amount of a balance that can be read."""
    return [one for one in target.policies.locks if one.amount is not None and one.balance is not None]


def _declared(target: Target) -> tuple[LockPolicy, ...] | Missing:
    return target.policies.locks or Missing("the target declares no user lock (policies.locks)")


def _money(target: Target) -> list[LockPolicy] | Missing:
    if not target.policies.locks:
        return Missing("the target declares no user lock (policies.locks)")
    return reckoned(target) or Missing(
        "no declared lock names the amount that it moves and the operation that reads it"
    )


LOCKS = Requirement("user lock", "policies.locks", _declared)
MONEY_LOCKS = Requirement("user lock with an amount and a balance", "policies.locks with amount and balance", _money)


@case(
    "TC-LOCK-001",
    "Concurrent operations for same user",
    Category.LOCK,
    Priority.HIGH,
    phase=7,
    requires=MONEY_LOCKS,
    uses=lambda _: (),
    takes=12 * NS_PER_SECOND,
)
async def contention(run: CaseContext, locks: list[LockPolicy]) -> None:
    """Of several operations on one user at once exactly one is done, and money adds up.

    Sends: for each lock, bursts of the declared size for one user, some one after the other while the first is
        under way, the same for several users at once, and every kind of operation at once for one user; the
        balance before and after
    Passes when: one of each burst was done, the others got the declared status and code while another held the
        lock, different users never contended, the lock was free again, and balances add up to the last unit
    Reading FAIL: the finding shows the operations that overlap, or the sum that does not come out
    Least evidence: operations that surely outlast the spread of a burst (holds_at_least)
    """
    policies = locks
    deposit = next((one for one in policies if one.kind == "deposit"), None)
    for policy in policies:
        async with run.undisturbed(*_called(policy, deposit)), run.exclusive():
            await _one_user(run, policy, deposit)
            await _strangers(run, policy, deposit)
    if len(policies) > 1 and deposit is not None:
        async with run.undisturbed(*(policy.operation for policy in policies)), run.exclusive():
            await _mixed(run, policies, deposit)


def _called(*policies: LockPolicy | None) -> list[str]:
    return [name for one in policies if one is not None for name in (one.operation, one.balance) if name]


async def _one_user(run: CaseContext, policy: LockPolicy, deposit: LockPolicy | None) -> None:
    (account,) = await run.accounts(1)
    source = run.source()
    run.doing(f"{policy.name}: {policy.concurrency} at once for one user, {_BURSTS} times")
    await _fund(run, policy.name, policy, deposit, account, source)
    # First of all: were it answered with errors, a burst would open the circuit, and hide what comes after it.
    await _spread(run, policy, account, source)
    for i in range(1, _BURSTS + 1):
        await run.run(
            run.burst(
                f"{policy.name} burst {i}", once(policy.operation), policy.concurrency, account=account, source=source
            )
        )
    await run.run(run.steps(f"{policy.name} alone", once(policy.operation), account=account, source=source))
    await run.run(run.steps(f"{policy.name} last", once(str(policy.balance)), account=account, source=source))


async def _spread(run: CaseContext, policy: LockPolicy, account: TestUser, source: str | None) -> None:
    """Send operations one after the other while the first holds the lock: for a lock that ends too soon."""
    if policy.holds_at_least is None:
        return
    step_s = policy.holds_at_least / (_SPREAD + 1) / NS_PER_SECOND

    async def late(user: User) -> None:
        await user.pause(user.index * step_s)
        await user.request(policy.operation, keep_body=True)

    sources = (source,) if source else ()
    await run.run(run.crowd(f"{policy.name} burst 0", late, _SPREAD, 1, accounts=(account,), sources=sources))


async def _strangers(run: CaseContext, policy: LockPolicy, deposit: LockPolicy | None) -> None:
    """Let users who have nothing to do with each other act at once: none may be told of contention."""
    accounts = await run.accounts(_STRANGERS)
    run.doing(f"{policy.name}: {_STRANGERS} users at once")
    for i, account in enumerate(accounts):
        await _fund(run, f"{policy.name} stranger {i}", policy, deposit, account, run.source())
    burst = run.burst(f"{policy.name} strangers", once(policy.operation), _STRANGERS, source=run.source())
    await run.run(replace(burst, identities=tuple(account.identity() for account in accounts)))
    for i, account in enumerate(accounts):
        last = run.steps(f"{policy.name} stranger {i} last", once(str(policy.balance)), account=account)
        await run.run(replace(last, sources=run.sources(1)))


async def _mixed(run: CaseContext, policies: Sequence[LockPolicy], deposit: LockPolicy) -> None:
    """Release every kind of operation on one balance at the same instant: one lock must guard them all."""
    (account,) = await run.accounts(1)
    source = run.source()
    run.doing("every kind of operation at once for one user")
    # For the dearest of them: whoever wins must be able to pay, in whatever order the locks are declared.
    dearest = max(policies, key=lambda one: (one.kind != "deposit", one.amount or 0))
    await _fund(run, "mixed", dearest, deposit, account, source)
    names = [policy.operation for policy in policies]

    async def one_of_them(user: User) -> None:
        await user.request(names[user.index % len(names)], keep_body=True)

    for i in range(1, _BURSTS + 1):
        count = policies[0].concurrency
        await run.run(run.burst(f"mixed burst {i}", one_of_them, count, account=account, source=source))
    await run.run(run.steps("mixed last", once(str(deposit.balance)), account=account, source=source))


async def _fund(
    run: CaseContext, step: str, policy: LockPolicy, deposit: LockPolicy | None, account: TestUser, source: str | None
) -> None:
    names: dict[str, str] = run.facts.setdefault("users", {})
    names[step] = account.name
    await run.run(run.steps(f"{step} first", once(str(policy.balance)), account=account, source=source))
    if policy.kind != "deposit" and deposit is not None:
        enough = _DEPOSITS * -(-(policy.amount or 0) // (deposit.amount or 1))
        fund = run.steps(f"{step} funds", once(deposit.operation), enough, account=account, source=source)
        await run.run(fund)


@contention.judge
def judge_contention(evidence: Evidence, locks: list[LockPolicy]) -> list[Finding]:
    """TC-LOCK-001: exactly one of N at once, the others told so, and every account adds up."""
    findings: list[Finding] = []
    for policy in locks:
        findings += _judge_user(evidence, policy, policy.name)
        findings += _judge_strangers(evidence, policy)
    mixed = [policy for policy in locks if policy.kind == "deposit"]
    if mixed and "mixed" in evidence.facts.get("users", {}):
        findings += _judge_user(evidence, mixed[0], "mixed")
    return delivered(evidence, findings)


def _judge_user(evidence: Evidence, policy: LockPolicy, step: str) -> list[Finding]:
    name = str(evidence.facts.get("users", {}).get(step, step))
    exchanges = _of_steps(evidence, step)
    account = _account(policy, name, step, exchanges, evidence)
    movements = list(_movements(evidence, name, exchanges, step))
    prefix = f"{evidence.case}/{step} burst"
    bursts: dict[str, list[int]] = {}
    for one in exchanges:
        if one.workload.startswith(prefix):
            bursts.setdefault(one.workload, []).append(one.row)
    accounts = [] if account is None else [account]
    found = judge_lock(
        policy, evidence.history, movements, accounts, bursts=list(bursts.values()), answers=evidence.answers
    )
    if account is None:
        # What was answered can be told without the money.
        found = [finding for finding in found if finding.rule not in _MONEY]
        reads = [one for one in exchanges if one.operation == policy.balance]
        why = next((why for one in reads if (why := why_no_balance(policy, one.body))), "it was not answered")
        says = f"the user's balance could not be read before and after ({why}), so nothing adds up"
        found.append(Finding(_MONEY[0], Outcome.INCONCLUSIVE, says))
    return [replace(finding, says=f"{step}: {finding.says}") for finding in found]


def _judge_strangers(evidence: Evidence, policy: LockPolicy) -> list[Finding]:
    """Judge the users who acted at once, each with its own balance, as one history of several keys."""
    movements: list[Movement] = []
    accounts: list[AccountBalance] = []
    burst = sorted(_of_steps(evidence, f"{policy.name} strangers", exact=True), key=lambda one: one.user)
    for i in range(_STRANGERS):
        step = f"{policy.name} stranger {i}"
        name = str(evidence.facts.get("users", {}).get(step, step))
        exchanges = _of_steps(evidence, step)
        mine = [burst[i]] if i < len(burst) else []
        account = _account(policy, name, step, exchanges, evidence)
        if account is None:
            return []
        accounts.append(account)
        movements += _movements(evidence, name, [*exchanges, *mine], step)
    found = judge_lock(policy, evidence.history, movements, accounts, needed=_STRANGERS, answers=evidence.answers)
    # No contention at all is what is hoped for here, so there is no answer whose status could be judged.
    told = [one for one in found if one.rule != "lock.wrong_status" or one.outcome is Outcome.FAIL]
    return [replace(finding, says=f"{policy.name}, different users: {finding.says}") for finding in told]


def _account(
    policy: LockPolicy, name: str, step: str, exchanges: Sequence[Exchange], evidence: Evidence
) -> AccountBalance | None:
    told: dict[str, tuple[int, int]] = {}
    for one in exchanges:
        value = balance_in(policy, one.body)
        if value is not None:
            told[one.workload.removeprefix(f"{evidence.case}/")] = (value, one.row)
    first, last = told.get(f"{step} first"), told.get(f"{step} last")
    return AccountBalance(name, first[0], last[0], last[1]) if first and last else None


def _movements(evidence: Evidence, name: str, exchanges: Sequence[Exchange], step: str) -> Iterator[Movement]:
    kinds = {policy.operation: policy for policy in reckoned(evidence.target)}
    for one in exchanges:
        policy = kinds.get(one.operation)
        if policy is not None and one.sent_ns >= 0:
            told = balance_in(policy, one.body) if one.status < 400 else None
            yield Movement(one.row, name, policy.kind, policy.amount or 0, told)


def _of_steps(evidence: Evidence, step: str, *, exact: bool = False) -> list[Exchange]:
    """Return the exchanges of a step and of what belongs to it (`step first`, `step burst 1`), in their order."""
    workload = pl.col("workload").cast(pl.String)
    name = f"{evidence.case}/{step}"
    parts = [f"{name} {part}" for part in ("first", "funds", "alone", "last")]
    parts += [f"{name} burst {i}" for i in range(_BURSTS + 1)]
    wanted = workload == name if exact else workload.is_in(parts)
    return evidence.history.exchanges(int(row) for row in evidence.history.rows_where(wanted))


def value_in(body: bytes | None, field: str) -> Any:
    """Return what stands at a field of a JSON answer (names joined by dots), or None."""
    try:
        value: Any = json.loads(body) if body else None
    except ValueError:
        return None
    for part in field.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value

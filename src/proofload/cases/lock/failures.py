"""TC-LOCK-002 to 004: locks after an operation that failed, a holder that dies or hangs, and an order sent twice."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from proofload.cases.accounts import Account as TestUser
from proofload.cases.case import Category, Priority, case
from proofload.cases.context import CaseContext
from proofload.cases.declared_limits import polite_count
from proofload.cases.evidence_rows import delivered, rows_of, steps_of
from proofload.cases.fault_control import can_break
from proofload.cases.isolation import service_of, too_few_to_trip
from proofload.cases.lock.contention import LOCKS, reckoned
from proofload.cases.requirement import Missing, Requirement
from proofload.cases.workloads import once
from proofload.core.units import NS_PER_SECOND
from proofload.drive.user import User
from proofload.judge.evidence import Evidence
from proofload.judge.lock import AccountBalance, Movement, balance_in, judge_lock
from proofload.judge.verdict import Finding, Outcome
from proofload.plan.policies import LockPolicy
from proofload.plan.target import Target
from proofload.plan.workload import Script
from proofload.record.exchange import Exchange
from proofload.record.fault_edge import spans

_BROKE = 3
_AFTER_FAILURE_S = 0.4
"""Longer than an honest server may take from its answer to the release, and far shorter than any expiry."""
_MOST_USERS = 4
_SESSIONS = 3
_RETRY_S = 0.04
_TRIES = 70
_RUN_UP_NS = NS_PER_SECOND // 2
_AFTERWARDS_NS = 5 * NS_PER_SECOND // 2
_SPARE_NS = NS_PER_SECOND // 2
_LEASE_NS = 20 * NS_PER_SECOND
_MONEY = frozenset({"lock.money_not_conserved", "lock.not_linearizable"})
_KILLED = frozenset({"lock.not_linearizable", "lock.not_released"})
"""Of those who were cut off a tenth may have paid in or not: some order must explain it, but a sum proves little."""


@dataclass(frozen=True, slots=True)
class MoneyLocks:
    """The lock whose operation adds to a balance, and those whose operations spend of it."""

    deposit: LockPolicy
    spending: Sequence[LockPolicy] = ()


@dataclass(frozen=True, slots=True)
class MortalHolder:
    """A lock on deposits, and its service, which can be killed and paused."""

    lock: LockPolicy
    service: str


def _deposit(target: Target) -> MoneyLocks | Missing:
    locks = LOCKS.find(target)
    if isinstance(locks, Missing):
        return locks
    deposit = next((one for one in reckoned(target) if one.kind == "deposit"), None)
    if deposit is None:
        return Missing("no declared lock deposits an amount on a balance that can be read")
    return MoneyLocks(deposit, [one for one in reckoned(target) if one.kind in ("withdraw", "order")])


def _deposit_and_spend(target: Target) -> MoneyLocks | Missing:
    found = _deposit(target)
    if isinstance(found, Missing) or found.spending:
        return found
    return Missing("no two declared locks deposit and spend an amount of a balance that can be read")


def _mortal(target: Target) -> MortalHolder | Missing:
    found = _deposit(target)
    if isinstance(found, Missing):
        return found
    lock = found.deposit
    name = service_of(target, lock.operation)
    if name is None or not all(can_break(target, name, kind) for kind in ("kill", "pause")):
        return Missing(
            f"the service of {lock.operation} can't be killed and paused (faults: supervised or docker, and "
            "services.NAME.health)"
        )
    return MortalHolder(lock, name)


SPENDING_LOCKS = Requirement(
    "locks of a deposit and of an operation that spends",
    "policies.locks of a deposit and of an operation that spends, with amount and balance",
    _deposit_and_spend,
)
MORTAL_HOLDER = Requirement(
    "lock of a deposit whose service can be killed and paused",
    "policies.locks of a deposit, with amount and balance, faults (supervised or docker)",
    _mortal,
)


@case(
    "TC-LOCK-002",
    "Locks after operations that fail",
    Category.LOCK,
    Priority.HIGH,
    phase=7,
    requires=SPENDING_LOCKS,
    uses=lambda locks: [one.operation for one in (locks.deposit, *locks.spending)],
    takes=2 * NS_PER_SECOND,
)
async def failures(run: CaseContext, locks: MoneyLocks) -> None:
    """Who is refused for want of money is not locked out afterwards.

    Sends: for each operation that spends, 3 users without money who try, and pay in shortly after
    Passes when: every deposit was made, and the balances add up
    Reading FAIL: the finding shows the operation that failed, and the one that still found its lock
    Least evidence: two operations that failed under a lock, each with another one after it
    """
    for policy in locks.spending:
        run.doing(f"{policy.name}: refused for want of money, and then a deposit")
        step = f"{policy.name} refused"
        await _users(run, step, _refused_then(policy, locks.deposit), await run.accounts(_BROKE))


def _refused_then(policy: LockPolicy, deposit: LockPolicy) -> Script:
    async def script(user: User) -> None:
        await user.request(str(deposit.balance), keep_body=True)
        await user.request(policy.operation, keep_body=True)
        await user.pause(_AFTER_FAILURE_S)
        await user.request(deposit.operation, keep_body=True)
        await user.request(str(deposit.balance), keep_body=True)

    return script


@failures.judge
def judge_failures(evidence: Evidence, locks: MoneyLocks) -> list[Finding]:
    """TC-LOCK-002: a lock is free again at once after an operation that failed."""
    refused = [f"{one.name} refused" for one in locks.spending]
    return delivered(evidence, _judged(evidence, locks.deposit, refused, _MONEY | _KILLED))


@case(
    "TC-LOCK-003",
    "Locks of holders that die or hang",
    Category.LOCK,
    Priority.HIGH,
    phase=7,
    requires=MORTAL_HOLDER,
    breaks=lambda holder: (holder.service,),
    takes=16 * NS_PER_SECOND,
    alone=True,
)
async def gone(run: CaseContext, holder: MortalHolder) -> None:
    """A dead holder's lock expires, and one who wakes up after its lock has expired takes nobody's away.

    Sends: deposits of a few users, several at once for each, while their service is paused for longer than the
        lock lasts; then deposits while it is killed, and one more of each user once the lock must have expired
    Passes when: the deposits afterwards were made, and every balance is what was acknowledged
    Reading FAIL: the finding shows the operation that was cut off and the one that still found its lock, or the
        deposits of which one was lost
    Least evidence: two users whose operation was cut off by the kill, seen by a probe
    """
    policy, service = holder.lock, holder.service
    users = too_few_to_trip(run.target, service, _MOST_USERS)
    killed, stalled = list(await run.accounts(users)), list(await run.accounts(users))
    read = once(str(policy.balance))
    # A success of each, which also ends whatever row of failures others left behind.
    await _users(run, "killed first", read, killed)
    await _users(run, "stalled first", read, stalled)
    async with run.turn():
        await _while_paying(run, "stalled", service, "pause", policy, stalled)
        await _while_paying(run, "killed", service, "kill", policy, killed)
        free_ns = run.clock.now_ns() + policy.expires_after + _SPARE_NS
        await run.wait_until_ns(free_ns, "the lock of a dead holder to expire")
        await _users(run, "killed after", once(policy.operation), killed)
        await _users(run, "killed last", read, killed)
        await _users(run, "stalled last", read, stalled)


async def _while_paying(
    run: CaseContext, step: str, service: str, kind: str, policy: LockPolicy, accounts: Sequence[TestUser]
) -> None:
    stalls = kind == "pause"
    until_ns = run.clock.now_ns() + _RUN_UP_NS + policy.expires_after + _AFTERWARDS_NS + 2 * NS_PER_SECOND
    script = _contending(run, policy, until_ns) if stalls else _until_it_dies(run, policy)
    crowd = [account for account in accounts for _ in range(_SESSIONS if stalls else 1)]
    run.doing(f"paying in, until {service} is to {kind}")
    paying = asyncio.create_task(_users(run, f"{step} paying", script, crowd))
    try:
        await run.clock.sleep_until_ns(run.clock.now_ns() + _RUN_UP_NS)
        began_ns = run.clock.now_ns()
        async with run.fault(service, kind, _LEASE_NS):
            if stalls:
                # Shorter than the patience of whoever calls the service, longer than the lock.
                longer_ns = policy.expires_after + _SPARE_NS // 2
                await run.wait_until_ns(began_ns + longer_ns, "the lock of a hanging holder to expire")
            else:
                await paying
        await paying
    finally:
        paying.cancel()


def _until_it_dies(run: CaseContext, policy: LockPolicy) -> Script:
    async def script(user: User) -> None:
        for _ in range(polite_count(run.target, _TRIES, operations=[policy.operation])):
            if not (await user.request(policy.operation, keep_body=True)).ok:
                return

    return script


def _contending(run: CaseContext, policy: LockPolicy, until_ns: int) -> Script:
    async def script(user: User) -> None:
        for _ in range(polite_count(run.target, _TRIES, operations=[policy.operation])):
            await user.request(policy.operation, keep_body=True)
            if run.clock.now_ns() > until_ns:
                return
            await user.pause(_RETRY_S)

    return script


@gone.judge
def judge_gone(evidence: Evidence, holder: MortalHolder) -> list[Finding]:
    """TC-LOCK-003: the lock of a dead holder expires, and a holder that outlived its lock takes nobody's away."""
    faults = spans(evidence.edges)
    kinds = {span.fault.split()[0] for span in faults if span.held}
    unproven = {"kill", "pause"} - kinds
    if unproven:
        says = f"the service was not proven to have been hit by: {', '.join(sorted(unproven))}"
        return delivered(evidence, [Finding("lock.not_released", Outcome.INCONCLUSIVE, says)])
    return delivered(
        evidence,
        [*_judged(evidence, holder.lock, ["killed"], _KILLED), *_judged(evidence, holder.lock, ["stalled"], _MONEY)],
    )


async def _users(run: CaseContext, step: str, script: Script, accounts: Sequence[TestUser]) -> None:
    names: dict[str, list[str]] = run.facts.setdefault("users", {})
    names[step] = [account.name for account in accounts]
    await run.run(run.crowd(step, script, len(accounts), 1, accounts=accounts, sources=run.sources(len(accounts))))


def _judged(evidence: Evidence, policy: LockPolicy, prefixes: Sequence[str], told: frozenset[str]) -> list[Finding]:
    """Return what the users of these steps show of money and of locks that were left behind."""
    steps = [step for prefix in prefixes for step in steps_of(evidence, prefix)]
    by_user: dict[str, list[Exchange]] = {}
    for name, exchange in _by_user(evidence, steps):
        by_user.setdefault(name, []).append(exchange)
    accounts: list[AccountBalance] = []
    movements: list[Movement] = []
    for name, exchanges in by_user.items():
        exchanges.sort(key=lambda one: one.sent_ns)
        reads = [one for one in exchanges if one.operation == policy.balance]
        reading = [(one, value) for one in reads if (value := balance_in(policy, one.body)) is not None]
        if len(reading) >= 2:
            accounts.append(AccountBalance(name, reading[0][1], reading[-1][1], reading[-1][0].row))
            movements += _movements(evidence.target, name, exchanges)
    if len(accounts) < len(by_user) or not accounts:
        says = f"the balance of {len(by_user) - len(accounts)} of {len(by_user)} users was not read before and after"
        return [Finding("lock.money_not_conserved", Outcome.INCONCLUSIVE, says)]
    found = judge_lock(
        policy, evidence.history, movements, accounts, faults=tuple(spans(evidence.edges)), answers=evidence.answers
    )
    return [_tried(one) for one in found if one.rule in told or one.outcome is Outcome.FAIL]


def _tried(finding: Finding) -> Finding:
    """Return the finding; that nothing was left behind to be cleaned up is not what these users were sent for."""
    return replace(finding, outcome=Outcome.INCONCLUSIVE) if finding.outcome is Outcome.SKIPPED else finding


def _movements(target: Target, name: str, exchanges: Sequence[Exchange]) -> Iterator[Movement]:
    kinds = {policy.operation: policy for policy in reckoned(target)}
    for one in exchanges:
        policy = kinds.get(one.operation)
        if policy is not None and one.sent_ns >= 0:
            told = balance_in(policy, one.body) if one.status < 400 else None
            yield Movement(one.row, name, policy.kind, policy.amount or 0, told)


def _by_user(evidence: Evidence, steps: Sequence[str]) -> Iterator[tuple[str, Exchange]]:
    """Yield each exchange with whose it was: users of a step take the accounts in turn, by their place in it."""
    numbers = evidence.history.numbers("user")
    for step in steps:
        names = evidence.facts.get("users", {}).get(step, [])
        rows = rows_of(evidence, step)
        places = {int(user): place for place, user in enumerate(np.unique(numbers[rows]))}
        for one in evidence.history.exchanges(rows.tolist()):
            yield names[places[int(numbers[one.row])]], one

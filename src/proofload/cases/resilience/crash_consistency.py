"""TC-RES-004: an order and its payment both stand or neither does, though the service is killed in between."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from proofload.cases.accounts import Account
from proofload.cases.case import Category, Priority, case
from proofload.cases.context import CaseContext
from proofload.cases.declared_limits import polite_count
from proofload.cases.evidence_rows import delivered, rows_of, steps_of
from proofload.cases.fault_control import can_break
from proofload.cases.isolation import service_of
from proofload.cases.requirement import Missing, Requirement
from proofload.core.units import NS_PER_SECOND
from proofload.drive.user import Answer, User
from proofload.judge.evidence import Evidence
from proofload.judge.overload import Books, judge_books
from proofload.judge.verdict import Finding
from proofload.plan.policies import OrdersPolicy
from proofload.plan.target import Target
from proofload.record.fault_edge import spans

_ROUNDS = 2
_DEPOSITS, _ORDERS = 12, 45
_MOST_USERS = 4
"""Each is cut off once: fewer than the failures that open a circuit, which would hide the books."""
_RUN_UP_NS = NS_PER_SECOND // 2
_DEAD_NS = 15 * NS_PER_SECOND


@dataclass(frozen=True, slots=True)
class MortalOrders:
    """What is promised of orders, and their service, which can be killed."""

    orders: OrdersPolicy
    service: str


def _mortal(target: Target) -> MortalOrders | Missing:
    policy = target.policies.orders
    if policy is None:
        return Missing("the target promises nothing of orders and payments (policies.orders)")
    name = service_of(target, policy.order)
    if name is None or not can_break(target, name, "kill"):
        return Missing(
            f"the service of {policy.order} can't be killed, and seen to be (faults: supervised or docker, and "
            "services.NAME.health)"
        )
    return MortalOrders(policy, name)


MORTAL_ORDERS = Requirement(
    "orders whose service can be killed",
    "policies.orders, faults (supervised or docker), services.<name>.health",
    _mortal,
)


@case(
    "TC-RES-004",
    "No half orders",
    Category.RESILIENCE,
    Priority.HIGH,
    phase=6,
    requires=MORTAL_ORDERS,
    uses=lambda found: (found.orders.deposit, found.orders.balance),
    breaks=lambda found: (found.service,),
    takes=lambda found: 12 * NS_PER_SECOND + found.orders.settles_within // 2,
)
async def crash(run: CaseContext, found: MortalOrders) -> None:
    """An order and its payment both stand or neither does, whatever dies in between.

    Sends: a few users buy one thing after the other while the service is killed, on a lease and seen by a
        probe, twice; then their orders and balances, until nothing is pending
    Passes when: each balance is what was paid in less what the orders that stand cost, and every acknowledged
        order is in the books
    Reading FAIL: the finding names the user whose money is gone without an order, or whose order was never paid
    Least evidence: two orders under way at the moment of each kill
    """
    policy, service = found.orders, found.service
    users = _users(run.target, service)
    buyers: dict[str, list[Account]] = {}
    for number in range(1, _ROUNDS + 1):
        # A killed service leaves its users locked for a while: new ones for every round.
        accounts = list(await run.accounts(users))
        buyers[f"round {number}"] = accounts
        await _pay_in(run, policy, number, accounts)
        async with run.turn():
            await _buy_until_killed(run, policy, service, number, accounts)
    until_ns = run.clock.now_ns() + policy.settles_within
    watch, pending = 0, True
    while pending and run.clock.now_ns() < until_ns:
        watch += 1
        run.doing("reading the books until nothing is pending", until_ns)
        answers = [await _read(run, policy, watch, step, accounts) for step, accounts in buyers.items()]
        pending = not all(_settled(policy, answer) for some in answers for answer in some)
        if pending:
            await run.wait_until_ns(run.clock.now_ns() + NS_PER_SECOND, "orders to be settled")
    run.note("watch", watch)


async def _buy_until_killed(
    run: CaseContext, policy: OrdersPolicy, service: str, number: int, accounts: list[Account]
) -> None:
    buying = asyncio.create_task(_buy(run, policy, number, accounts))
    try:
        await run.clock.sleep_until_ns(run.clock.now_ns() + _RUN_UP_NS)
        async with run.fault(service, "kill", _DEAD_NS):
            await buying
    finally:
        buying.cancel()


async def _pay_in(run: CaseContext, policy: OrdersPolicy, number: int, accounts: list[Account]) -> None:
    async def script(user: User) -> None:
        for _ in range(polite_count(run.target, _DEPOSITS)):
            await user.request(policy.deposit, keep_body=True)

    run.doing("giving test users money")
    step = f"deposits, round {number}"
    await run.run(run.crowd(step, script, len(accounts), 1, accounts=accounts, sources=run.sources(len(accounts))))


async def _buy(run: CaseContext, policy: OrdersPolicy, number: int, accounts: list[Account]) -> None:
    async def script(user: User) -> None:
        for _ in range(polite_count(run.target, _ORDERS)):
            if not (await user.request(policy.order, keep_body=True)).ok:
                return

    run.doing("buying, until the service dies")
    step = f"orders, round {number}"
    await run.run(run.crowd(step, script, len(accounts), 1, accounts=accounts, sources=run.sources(len(accounts))))


async def _read(run: CaseContext, policy: OrdersPolicy, watch: int, step: str, accounts: list[Account]) -> list[Answer]:
    answers: list[Answer] = []

    async def script(user: User) -> None:
        answers.append(await user.request(policy.book, keep_body=True))
        await user.request(policy.balance, keep_body=True)

    name = f"books {watch}, {step}"
    await run.run(run.crowd(name, script, len(accounts), 1, accounts=accounts, sources=run.sources(len(accounts))))
    return answers


def _settled(policy: OrdersPolicy, answer: Answer) -> bool:
    """Return whether a list of orders came back that holds none that is pending, as far as its text tells."""
    return answer.ok and not any(f'"{status}"' in answer.text for status in policy.pending)


@crash.judge
def judge_crash(evidence: Evidence, found: MortalOrders) -> list[Finding]:
    """TC-RES-004: once all is settled, each balance is what was paid in less what the orders that stand cost."""
    policy, service = found.orders, found.service
    ours = [span for span in spans(evidence.edges) if span.service == service]
    findings: list[Finding] = []
    for number in range(1, _ROUNDS + 1):
        span = ours[number - 1] if len(ours) >= number else None
        findings += judge_books(policy, evidence.history, span, _books(evidence, number))
    return delivered(evidence, findings)


def _books(evidence: Evidence, number: int) -> list[Books]:
    """Return what each user of a round did: users of a step take the accounts in turn, by their place in it."""
    watch = int(evidence.facts.get("watch", 0))
    parts = {
        name: _by_place(evidence, step)
        for name, step in (
            ("deposits", f"deposits, round {number}"),
            ("orders", f"orders, round {number}"),
            ("read", f"books {watch}, round {number}"),
        )
        if step in steps_of(evidence)
    }
    found = []
    for place, deposits in enumerate(parts.get("deposits", [])):
        reads = parts.get("read", [])
        orders = parts.get("orders", [])
        read = reads[place] if place < len(reads) and len(reads[place]) == 2 else [None, None]
        made = orders[place] if place < len(orders) else []
        found.append(Books(f"user {place + 1} of round {number}", deposits, made, read[0], read[1]))
    return found


def _by_place(evidence: Evidence, step: str) -> list[list[int]]:
    users = evidence.history.numbers("user")
    by_user: dict[int, list[int]] = {}
    for row in rows_of(evidence, step):
        by_user.setdefault(int(users[row]), []).append(int(row))
    return [by_user[user] for user in sorted(by_user)]


def _users(target: Target, service: str) -> int:
    failures = [one.failures for one in target.policies.circuit_breaker if one.service == service]
    return max(1, min([_MOST_USERS, *(count - 1 for count in failures)]))

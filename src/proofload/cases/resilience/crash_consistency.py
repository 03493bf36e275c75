"""TC-RES-004: an order and its payment both stand or neither does, though the service is killed in between."""

from __future__ import annotations

import asyncio

from proofload.cases.accounts import Account
from proofload.cases.case import Case, Category, Priority
from proofload.cases.context import Lab
from proofload.cases.declared_limits import polite_count
from proofload.cases.evidence_rows import delivered, rows_of, steps_of
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
_KILLS = frozenset({"supervised", "docker"})


def missing(target: Target) -> str:
    """Return why no order can be cut off, or nothing."""
    policy = target.policies.orders
    if policy is None:
        return "the target promises nothing of orders and payments (policies.orders)"
    name = target.operations[policy.order].service
    fault = target.faults.get(name) if name else None
    if name is None or fault is None or fault.driver not in _KILLS:
        return f"the service of {policy.order} can't be killed (faults: supervised or docker)"
    service = target.services.get(name)
    return "" if service and service.health else f"nothing shows that {name} is gone (services.{name}.health)"


async def drive(lab: Lab) -> None:
    """Let a few users buy, kill the service while they do, twice; then read books and balances until all is settled."""
    policy, service = _policy(lab.target), _service(lab.target)
    users = _users(lab.target)
    buyers: dict[str, list[Account]] = {}
    for number in range(1, _ROUNDS + 1):
        # A killed service leaves its users locked for a while: new ones for every round.
        accounts = list(await lab.accounts(users))
        buyers[f"round {number}"] = accounts
        await _pay_in(lab, policy, number, accounts)
        async with lab.turn():
            await _buy_until_killed(lab, policy, service, number, accounts)
    until_ns = lab.clock.now_ns() + policy.settles_within
    watch, pending = 0, True
    while pending and lab.clock.now_ns() < until_ns:
        watch += 1
        lab.doing("reading the books until nothing is pending", until_ns)
        answers = [await _read(lab, policy, watch, step, accounts) for step, accounts in buyers.items()]
        pending = not all(_settled(policy, answer) for some in answers for answer in some)
        if pending:
            await lab.wait_until_ns(lab.clock.now_ns() + NS_PER_SECOND, "orders to be settled")
    lab.note("watch", watch)


async def _buy_until_killed(lab: Lab, policy: OrdersPolicy, service: str, number: int, accounts: list[Account]) -> None:
    buying = asyncio.create_task(_buy(lab, policy, number, accounts))
    try:
        await lab.clock.sleep_until_ns(lab.clock.now_ns() + _RUN_UP_NS)
        async with lab.fault(service, "kill", _DEAD_NS):
            await buying
    finally:
        buying.cancel()


async def _pay_in(lab: Lab, policy: OrdersPolicy, number: int, accounts: list[Account]) -> None:
    async def script(user: User) -> None:
        for _ in range(polite_count(lab.target, _DEPOSITS)):
            await user.request(policy.deposit, keep_body=True)

    lab.doing("giving test users money")
    step = f"deposits, round {number}"
    await lab.run(lab.crowd(step, script, len(accounts), 1, accounts=accounts, sources=lab.sources(len(accounts))))


async def _buy(lab: Lab, policy: OrdersPolicy, number: int, accounts: list[Account]) -> None:
    async def script(user: User) -> None:
        for _ in range(polite_count(lab.target, _ORDERS)):
            if not (await user.request(policy.order, keep_body=True)).ok:
                return

    lab.doing("buying, until the service dies")
    step = f"orders, round {number}"
    await lab.run(lab.crowd(step, script, len(accounts), 1, accounts=accounts, sources=lab.sources(len(accounts))))


async def _read(lab: Lab, policy: OrdersPolicy, watch: int, step: str, accounts: list[Account]) -> list[Answer]:
    answers: list[Answer] = []

    async def script(user: User) -> None:
        answers.append(await user.request(policy.book, keep_body=True))
        await user.request(policy.balance, keep_body=True)

    name = f"books {watch}, {step}"
    await lab.run(lab.crowd(name, script, len(accounts), 1, accounts=accounts, sources=lab.sources(len(accounts))))
    return answers


def _settled(policy: OrdersPolicy, answer: Answer) -> bool:
    """Return whether a list of orders came back that holds none that is pending, as far as its text tells."""
    return answer.ok and not any(f'"{status}"' in answer.text for status in policy.pending)


def judge(evidence: Evidence) -> list[Finding]:
    """TC-RES-004: once all is settled, each balance is what was paid in less what the orders that stand cost."""
    policy, service = _policy(evidence.target), _service(evidence.target)
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


def _users(target: Target) -> int:
    service = _service(target)
    failures = [one.failures for one in target.policies.circuit_breaker if one.service == service]
    return max(1, min([_MOST_USERS, *(count - 1 for count in failures)]))


def _policy(target: Target) -> OrdersPolicy:
    policy = target.policies.orders
    assert policy is not None
    return policy


def _service(target: Target) -> str:
    service = target.operations[_policy(target).order].service
    assert service is not None
    return service


CASES = (
    Case(
        id="TC-RES-004",
        title="No half orders",
        category=Category.RESILIENCE,
        priority=Priority.HIGH,
        phase=6,
        purpose="An order and its payment both stand or neither does, whatever dies in between.",
        sends="a few users buy one thing after the other while the service is killed, on a lease and seen by a probe, "
        "twice; then their orders and balances, until nothing is pending",
        passes_when="each balance is what was paid in less what the orders that stand cost, and every acknowledged "
        "order is in the books",
        read_fail="the finding names the user whose money is gone without an order, or whose order was never paid",
        least_evidence="two orders under way at the moment of each kill",
        needs=("policies.orders", "faults (supervised or docker)", "services.<name>.health"),
        missing=missing,
        expected_ns=lambda target: (
            12 * NS_PER_SECOND + (target.policies.orders.settles_within // 2 if target.policies.orders else 0)
        ),
        drive=drive,
        judge=judge,
        uses=frozenset({"service:user"}),
        disturbs=frozenset({"service:order"}),
    ),
)

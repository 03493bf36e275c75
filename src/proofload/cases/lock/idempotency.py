"""TC-LOCK-004: an order that is sent again under the same idempotency key is the same order."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from proofload.cases.case import Category, Priority, case
from proofload.cases.context import CaseContext
from proofload.cases.evidence_rows import delivered, rows_of, steps_of
from proofload.cases.lock.contention import value_in
from proofload.cases.requirement import Missing, Requirement
from proofload.cases.workloads import once
from proofload.core.units import NS_PER_SECOND
from proofload.drive.user import User
from proofload.judge.evidence import Evidence
from proofload.judge.lock import judge_idempotency
from proofload.judge.verdict import Finding
from proofload.plan.policies import OrdersPolicy
from proofload.plan.target import Target
from proofload.plan.workload import Script

_KEYS = 3
_TWICE = 2
_AT_ONCE = 5


def _repeatable(target: Target) -> OrdersPolicy | Missing:
    policy = target.policies.orders
    if policy is None:
        return Missing("the target promises nothing of orders (policies.orders)")
    if not policy.idempotency_key:
        return Missing("the target promises no idempotency key (policies.orders.idempotency_key)")
    return policy


REPEATABLE_ORDERS = Requirement("orders with an idempotency key", "policies.orders.idempotency_key", _repeatable)


@case(
    "TC-LOCK-004",
    "Orders that are sent twice",
    Category.LOCK,
    Priority.HIGH,
    phase=7,
    requires=REPEATABLE_ORDERS,
    uses=lambda policy: [policy.order, policy.deposit],
    takes=4 * NS_PER_SECOND,
)
async def repeated(run: CaseContext, policy: OrdersPolicy) -> None:
    """Whoever repeats an order under its idempotency key, for the answer was lost, buys once.

    Sends: 3 orders twice under keys of their own, 5 at once under one key, and that one again
    Passes when: every answer under one key told of the same order
    Reading FAIL: the finding names the orders that were made under one key, and the rows that made them
    Least evidence: one key under which two requests were answered with an order
    """
    (account,) = await run.accounts(1)
    source = run.source()
    enough = -(-policy.price * _TWICE * (_KEYS + 1) * _AT_ONCE // policy.deposited)
    await run.run(run.steps("funds", once(policy.deposit), enough, account=account, source=source))
    run.doing("sending orders twice under one key")
    for i in range(1, _KEYS + 1):
        twice = _under(policy, secrets.token_hex(12), _TWICE)
        await run.run(run.steps(f"key {i}", twice, account=account, source=source))
    key = secrets.token_hex(12)
    await run.run(run.burst("key at once", _under(policy, key, 1), _AT_ONCE, account=account, source=source))
    await run.run(run.steps("key at once again", _under(policy, key, _TWICE), account=account, source=source))


@repeated.judge
def judge_repeated(evidence: Evidence, policy: OrdersPolicy) -> list[Finding]:
    """TC-LOCK-004: under each key one order was made, however often it was asked for."""
    groups: list[Sequence[int]] = [
        rows_of(evidence, step).tolist() for step in steps_of(evidence, "key ") if not step.startswith("key at once")
    ]
    groups.append(rows_of(evidence, "key at once", "key at once again").tolist())
    made = {
        one.row: told
        for group in groups
        for one in evidence.history.exchanges(group)
        if one.status < 400 and isinstance(told := value_in(one.body, policy.id_field), str)
    }
    return delivered(evidence, [judge_idempotency(evidence.history, groups, made)])


def _under(policy: OrdersPolicy, key: str, count: int) -> Script:
    header = str(policy.idempotency_key)

    async def script(user: User) -> None:
        for _ in range(count):
            await user.request(policy.order, headers={header: key}, keep_body=True)

    return script

"""TC-LOCK-004: an order that is sent again under the same idempotency key is the same order."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from proofload.cases.case import Case, Category, Priority
from proofload.cases.context import Lab
from proofload.cases.evidence_rows import delivered, rows_of, steps_of
from proofload.cases.lock.contention import once, value_in
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


def missing(target: Target) -> str:
    """Return why nothing can be sent twice under one key, or nothing."""
    policy = target.policies.orders
    if policy is None:
        return "the target promises nothing of orders (policies.orders)"
    return "" if policy.idempotency_key else "the target promises no idempotency key (policies.orders.idempotency_key)"


async def drive_repeated(lab: Lab) -> None:
    """Send orders twice under one key, one after the other; then several at once under one key, and once more."""
    policy = _policy(lab.target)
    (account,) = await lab.accounts(1)
    source = lab.source()
    enough = -(-policy.price * _TWICE * (_KEYS + 1) * _AT_ONCE // policy.deposited)
    await lab.run(lab.steps("funds", once(policy.deposit), enough, account=account, source=source))
    lab.doing("sending orders twice under one key")
    for i in range(1, _KEYS + 1):
        twice = _under(policy, secrets.token_hex(12), _TWICE)
        await lab.run(lab.steps(f"key {i}", twice, account=account, source=source))
    key = secrets.token_hex(12)
    await lab.run(lab.burst("key at once", _under(policy, key, 1), _AT_ONCE, account=account, source=source))
    await lab.run(lab.steps("key at once again", _under(policy, key, _TWICE), account=account, source=source))


def judge_repeated(evidence: Evidence) -> list[Finding]:
    """TC-LOCK-004: under each key one order was made, however often it was asked for."""
    policy = _policy(evidence.target)
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


def _policy(target: Target) -> OrdersPolicy:
    policy = target.policies.orders
    assert policy is not None
    return policy


CASES = (
    Case(
        id="TC-LOCK-004",
        title="Orders that are sent twice",
        category=Category.LOCK,
        priority=Priority.HIGH,
        phase=7,
        purpose="Whoever repeats an order under its idempotency key, for the answer was lost, buys once.",
        sends=f"{_KEYS} orders twice under keys of their own, {_AT_ONCE} at once under one key, and that one again",
        passes_when="every answer under one key told of the same order",
        read_fail="the finding names the orders that were made under one key, and the rows that made them",
        least_evidence="one key under which two requests were answered with an order",
        needs=("policies.orders.idempotency_key",),
        missing=missing,
        expected_ns=lambda _: 4 * NS_PER_SECOND,
        drive=drive_repeated,
        judge=judge_repeated,
        uses=frozenset({"service:user", "service:order"}),
    ),
)

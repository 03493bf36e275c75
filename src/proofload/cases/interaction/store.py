"""TC-INT-006: the store of the limits goes away and comes back; the promise for that time is kept, then all others."""

from __future__ import annotations

import numpy as np

from proofload.cases.context import Lab
from proofload.cases.declared_limits import allowance, gateway_limit
from proofload.cases.evidence_rows import delivered, rows_of, steps_of
from proofload.cases.interaction.circuits import once
from proofload.core.units import NS_PER_SECOND
from proofload.drive.user import User
from proofload.judge.evidence import Evidence
from proofload.judge.rate_limit import RateLimitContext, judge_admission, judge_store_down
from proofload.judge.verdict import Finding, Outcome, held
from proofload.plan.policies import LockPolicy
from proofload.plan.target import Target
from proofload.record.fault_edge import spans

STORE = "redis"
_FAULT_NS = 20 * NS_PER_SECOND
_DURING = 25
_OVER = 5
LOCKS = "int.lock_not_restored"


def missing(target: Target) -> str:
    """Return why the limiter's store can't be taken away, or nothing."""
    policy = gateway_limit(target)
    if policy is None or policy.when_store_is_down is None:
        return "no limit says what holds while its store is down (policies.rate_limit[].when_store_is_down)"
    service = target.services.get(STORE)
    if STORE not in target.faults or service is None or service.health is None:
        return f"the target declares no way to stop the store (faults.{STORE}, services.{STORE}.health)"
    return ""


def _lock(target: Target) -> LockPolicy | None:
    return next((one for one in target.policies.locks if one.kind == "deposit"), None)


def _open_to_all(target: Target) -> list[str]:
    """Return the probe, and beside it what needs no token: where tokens rest on the store, too, those are refused."""
    policy = gateway_limit(target)
    assert policy is not None
    free = [
        name
        for name, one in sorted(target.operations.items())
        if one.auth != "bearer" and one.effect == "none" and policy.covers(one.path)
    ]
    return list(dict.fromkeys([policy.probe, *free]))


async def drive_store(lab: Lab) -> None:
    """Stop the store, call on, let it come back, and try each control that rests on it."""
    policy = gateway_limit(lab.target)
    assert policy is not None
    (account,) = await lab.accounts(1)
    names = _open_to_all(lab.target)

    async def call_on(user: User) -> None:
        for i in range(_DURING):
            await user.request(names[i % len(names)])

    await lab.run(lab.steps("before", policy.probe, 3, account=account, source=lab.source()))
    async with lab.fault(STORE, "stop", _FAULT_NS):
        lab.doing("calling on without the store")
        await lab.run(lab.steps("during", call_on, account=account, source=lab.source()))
    lab.doing("trying the limit again")
    again = lab.steps("after", policy.probe, allowance(policy) + _OVER, account=account, source=lab.source())
    await lab.run(again)
    lock = _lock(lab.target)
    if lock is not None:
        lab.doing("trying the locks again")
        crowd = once(lock.operation)
        await lab.run(lab.burst("lock", crowd, lock.concurrency, account=account, source=lab.source()))


def judge_store(evidence: Evidence) -> list[Finding]:
    """TC-INT-006: without its store the limiter does as promised; with it, limits and locks hold again."""
    policy = gateway_limit(evidence.target)
    assert policy is not None
    down = [span for span in spans(evidence.edges) if span.service == STORE]
    scene = RateLimitContext(policy, evidence.history, evidence.anchor)
    found = judge_store_down(scene, rows_of(evidence, "during"), down)
    if not all(span.mended for span in down):
        return delivered(evidence, found)
    after = judge_admission(scene, rows_of(evidence, "after"))
    return delivered(evidence, [*found, *after, *_locks(evidence)])


def _locks(evidence: Evidence) -> list[Finding]:
    """Return whether locks work again: of several operations at once one got through, and others were turned away."""
    lock = _lock(evidence.target)
    if lock is None or "lock" not in steps_of(evidence):
        return []
    rows = rows_of(evidence, "lock")
    status = evidence.history.numbers("status")[rows]
    served = int(np.count_nonzero((status >= 200) & (status < 300)))
    if len(rows) and not served and (status > 0).all():
        says = f"once the store was back, none of {len(rows)} operations under a lock got through"
        shown = (f"answers: {', '.join(str(one) for one in sorted({int(one) for one in status}))}",)
        look = "whether the connection to the store is made anew, and what a lock waits for without it"
        return [Finding(LOCKS, Outcome.FAIL, says, len(rows), 1, (int(rows[0]),), shown, look)]
    return [held(LOCKS, f"{served} operations got through under a lock once the store was back", examined=served)]

"""TC-INT-006: the store of the limits goes away and comes back; the promise for that time is kept, then all others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from proofload.cases.case import Category, Priority, case
from proofload.cases.context import CaseContext
from proofload.cases.declared_limits import allowance, gateway_limit, limit_context
from proofload.cases.evidence_rows import delivered, rows_of, steps_of
from proofload.cases.fault_control import can_break
from proofload.cases.isolation import store_services
from proofload.cases.requirement import Missing, Requirement
from proofload.cases.workloads import once
from proofload.core.units import NS_PER_SECOND
from proofload.drive.user import User
from proofload.judge.evidence import Evidence
from proofload.judge.rate_limit import judge_admission, judge_store_down
from proofload.judge.verdict import Finding, Outcome, held
from proofload.plan.policies import LockPolicy, RateLimitPolicy
from proofload.plan.target import Target
from proofload.record.fault_edge import spans

_FAULT_NS = 20 * NS_PER_SECOND
_DURING = 25
_OVER = 5
LOCKS = "int.lock_not_restored"


@dataclass(frozen=True, slots=True)
class LimitWithStore:
    """A limit that says what holds without its store, and the store's service, which can be stopped."""

    limit: RateLimitPolicy
    store: str


def _stoppable_store(target: Target) -> LimitWithStore | Missing:
    limit = gateway_limit(target)
    if limit is None or limit.when_store_is_down is None:
        return Missing("no limit says what holds while its store is down (policies.rate_limit[].when_store_is_down)")
    for name in store_services(target):
        if can_break(target, name, "stop"):
            return LimitWithStore(limit, name)
    return Missing(
        "the target declares no way to stop the limiter's store (faults.NAME and services.NAME.health of a service "
        "that no operation calls)"
    )


STORE = Requirement(
    "rate limit that says what holds without its store, and a store that can be stopped",
    "policies.rate_limit[].when_store_is_down, faults.<store>, services.<store>.health",
    _stoppable_store,
)


def _lock(target: Target) -> LockPolicy | None:
    return next((one for one in target.policies.locks if one.kind == "deposit"), None)


def _open_to_all(target: Target, limit: RateLimitPolicy) -> list[str]:
    """Return the probe, and beside it what needs no token: where tokens rest on the store, too, those are refused."""
    free = [
        name
        for name, one in sorted(target.operations.items())
        if one.auth != "bearer" and one.effect == "none" and limit.covers(one.path)
    ]
    return list(dict.fromkeys([limit.probe, *free]))


@case(
    "TC-INT-006",
    "Rate-limit store outage and recovery",
    Category.INTERACTION,
    Priority.HIGH,
    phase=6,
    requires=STORE,
    breaks=lambda found: (found.store,),
    takes=8 * NS_PER_SECOND,
    spends=True,
)
async def store(run: CaseContext, found: LimitWithStore) -> None:
    """Without its store the limiter does as promised; once it is back, limits and locks hold again.

    Sends: a few calls, the store is stopped on a lease and proven by a probe, calls meanwhile; then a whole
        allowance and a burst against a lock
    Passes when: nothing was admitted uncounted where the policy says closed, and all works again afterwards
    Reading FAIL: the finding shows the call that was admitted without the store, or what stayed broken
        afterwards
    Least evidence: a fault that was seen to hold and to be mended, and calls surely inside it
    """
    policy = found.limit
    (account,) = await run.accounts(1)
    names = _open_to_all(run.target, policy)

    async def call_on(user: User) -> None:
        for i in range(_DURING):
            await user.request(names[i % len(names)])

    await run.run(run.steps("before", policy.probe, 3, account=account, source=run.source()))
    async with run.fault(found.store, "stop", _FAULT_NS):
        run.doing("calling on without the store")
        await run.run(run.steps("during", call_on, account=account, source=run.source()))
    run.doing("trying the limit again")
    again = run.steps("after", policy.probe, allowance(policy) + _OVER, account=account, source=run.source())
    await run.run(again)
    lock = _lock(run.target)
    if lock is not None:
        run.doing("trying the locks again")
        crowd = once(lock.operation)
        await run.run(run.burst("lock", crowd, lock.concurrency, account=account, source=run.source()))


@store.judge
def judge_store(evidence: Evidence, found: LimitWithStore) -> list[Finding]:
    """TC-INT-006: without its store the limiter does as promised; with it, limits and locks hold again."""
    policy = found.limit
    down = [span for span in spans(evidence.edges) if span.service == found.store]
    context = limit_context(evidence, policy)
    findings = judge_store_down(context, rows_of(evidence, "during"), down)
    if not all(span.mended for span in down):
        return delivered(evidence, findings)
    after = judge_admission(context, rows_of(evidence, "after"))
    return delivered(evidence, [*findings, *after, *_locks(evidence)])


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

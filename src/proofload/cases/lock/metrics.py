"""TC-LOCK-005: what happens to a lock shows in the target's metrics, each taking and each refusal once."""

from __future__ import annotations

from dataclasses import dataclass

from proofload.cases.case import Category, Priority, case
from proofload.cases.context import CaseContext
from proofload.cases.evidence_rows import delivered, rows_of, steps_of
from proofload.cases.isolation import service_of
from proofload.cases.metrics_and_audit import settle_metrics_and_audit
from proofload.cases.requirement import Missing, Requirement
from proofload.cases.workloads import once
from proofload.core.units import NS_PER_SECOND
from proofload.judge.evidence import Evidence
from proofload.judge.lock import judge_counts
from proofload.judge.verdict import Finding
from proofload.plan.policies import LockPolicy
from proofload.plan.target import Target

_BURSTS = 4
_FUNDS = 10
_BEFORE, _AFTER = "before", "after"


@dataclass(frozen=True, slots=True)
class CountedLock:
    """A lock whose counters are declared, and the service on whose metrics page they are."""

    lock: LockPolicy
    page: str


def _counted(target: Target) -> list[CountedLock] | Missing:
    if not target.policies.locks:
        return Missing("the target declares no user lock (policies.locks)")
    found = [CountedLock(one, page) for one in target.policies.locks if one.metrics and (page := _page(target, one))]
    return found or Missing(
        "no declared lock names its counters and has a service with a metrics page (policies.locks.metrics)"
    )


COUNTED_LOCKS = Requirement("lock with counters", "policies.locks.metrics, services.<name>.metrics", _counted)


@case(
    "TC-LOCK-005",
    "Lock metrics",
    Category.LOCK,
    Priority.MEDIUM,
    phase=7,
    requires=COUNTED_LOCKS,
    uses=lambda _: (),
    takes=lambda locks: (2 + 4 * len(locks)) * NS_PER_SECOND,
)
async def counted(run: CaseContext, locks: list[CountedLock]) -> None:
    """Who looks at the metrics sees how often users met a held lock, and how often it was taken.

    Sends: for each lock whose counters are declared, 4 bursts of one user, between two readings of its
        service's metrics page, while no other case sends
    Passes when: the counters grew by exactly the refusals and the successes that the answers told
    Reading FAIL: the finding names the counter, by how much it grew, and what the answers told
    Least evidence: 4 refusals and 4 successes
    """
    deposit = next((one for one in run.target.policies.locks if one.kind == "deposit"), None)
    for policy in (one.lock for one in locks):
        (account,) = await run.accounts(1)
        source = run.source()
        names = [policy.operation, *([deposit.operation] if deposit else [])]
        async with run.undisturbed(*names), run.exclusive():
            if policy.kind != "deposit" and deposit is not None:
                funds = run.steps(
                    f"{policy.name} funds", once(deposit.operation), _FUNDS, account=account, source=source
                )
                await run.run(funds)
            await run.readings.services(f"{policy.name} {_BEFORE}")
            run.doing(f"{policy.name}: {policy.concurrency} at once for one user, {_BURSTS} times")
            for i in range(1, _BURSTS + 1):
                step = f"{policy.name} burst {i}"
                await run.run(
                    run.burst(step, once(policy.operation), policy.concurrency, account=account, source=source)
                )
            await settle_metrics_and_audit(run)
            await run.readings.services(f"{policy.name} {_AFTER}")


@counted.judge
def judge_counted(evidence: Evidence, locks: list[CountedLock]) -> list[Finding]:
    """TC-LOCK-005: the counters grew by what the answers told."""
    metrics = evidence.target.policies.metrics
    findings: list[Finding] = []
    for counted_lock in locks:
        policy, page = counted_lock.lock, counted_lock.page
        rows = rows_of(evidence, *steps_of(evidence, f"{policy.name} burst "))
        before, after = (evidence.ledgers.reading(f"{policy.name} {label}", page) for label in (_BEFORE, _AFTER))
        findings += judge_counts(
            policy,
            evidence.history.exchanges(rows.tolist()),
            before,
            after,
            exclusive=bool(metrics and metrics.exclusive),
            needed=_BURSTS,
            answers=evidence.answers,
        )
    return delivered(evidence, findings)


def _page(target: Target, policy: LockPolicy) -> str:
    """Return the service whose metrics page holds the counters of a lock, or nothing."""
    service = service_of(target, policy.operation)
    declared = target.services.get(service) if service else None
    return str(service) if declared is not None and declared.metrics else ""

"""TC-LOCK-005: what happens to a lock shows in the target's metrics, each taking and each refusal once."""

from __future__ import annotations

from proofload.cases import metrics_and_audit as books
from proofload.cases.case import Case, Category, Priority
from proofload.cases.context import Lab
from proofload.cases.evidence_rows import delivered, rows_of, steps_of
from proofload.cases.lock.contention import once
from proofload.core.units import NS_PER_SECOND
from proofload.judge.evidence import Evidence
from proofload.judge.lock import judge_counts
from proofload.judge.verdict import Finding
from proofload.plan.policies import LockPolicy
from proofload.plan.target import Target

_BURSTS = 4
_FUNDS = 10
_BEFORE, _AFTER = "before", "after"


def counted_locks(target: Target) -> list[LockPolicy]:
    """Return the locks whose counters are declared, and stand on a page that can be read."""
    return [one for one in target.policies.locks if one.metrics is not None and _page(target, one)]


def missing(target: Target) -> str:
    """Return why no lock's counters can be compared, or nothing."""
    if not target.policies.locks:
        return "the target declares no user lock (policies.locks)"
    if not counted_locks(target):
        return "no declared lock names its counters and has a service with a metrics page (policies.locks.metrics)"
    return ""


async def drive_counted(lab: Lab) -> None:
    """For each lock: read its counters, let one user contend with itself, and read them again."""
    policies = counted_locks(lab.target)
    deposit = next((one for one in lab.target.policies.locks if one.kind == "deposit"), None)
    for policy in policies:
        (account,) = await lab.accounts(1)
        source = lab.source()
        names = [policy.operation, *([deposit.operation] if deposit else [])]
        async with lab.using(*names), lab.silence():
            if policy.kind != "deposit" and deposit is not None:
                funds = lab.steps(
                    f"{policy.name} funds", once(deposit.operation), _FUNDS, account=account, source=source
                )
                await lab.run(funds)
            await lab.read_services(f"{policy.name} {_BEFORE}")
            lab.doing(f"{policy.name}: {policy.concurrency} at once for one user, {_BURSTS} times")
            for i in range(1, _BURSTS + 1):
                step = f"{policy.name} burst {i}"
                await lab.run(
                    lab.burst(step, once(policy.operation), policy.concurrency, account=account, source=source)
                )
            await books.settle_books(lab)
            await lab.read_services(f"{policy.name} {_AFTER}")


def judge_counted(evidence: Evidence) -> list[Finding]:
    """TC-LOCK-005: the counters grew by what the answers told."""
    metrics = evidence.target.policies.metrics
    found: list[Finding] = []
    for policy in counted_locks(evidence.target):
        rows = rows_of(evidence, *steps_of(evidence, f"{policy.name} burst "))
        page = _page(evidence.target, policy)
        before, after = (evidence.ledgers.reading(f"{policy.name} {label}", page) for label in (_BEFORE, _AFTER))
        found += judge_counts(
            policy,
            evidence.history.exchanges(rows.tolist()),
            before,
            after,
            exclusive=bool(metrics and metrics.exclusive),
            needed=_BURSTS,
        )
    return delivered(evidence, found)


def _page(target: Target, policy: LockPolicy) -> str:
    """Return the service whose metrics page holds the counters of a lock, or nothing."""
    service = target.operations[policy.operation].service
    declared = target.services.get(service) if service else None
    return str(service) if declared is not None and declared.metrics else ""


CASES = (
    Case(
        id="TC-LOCK-005",
        title="Lock metrics",
        category=Category.LOCK,
        priority=Priority.MEDIUM,
        phase=7,
        purpose="Who looks at the metrics sees how often users met a held lock, and how often it was taken.",
        sends=f"for each lock whose counters are declared, {_BURSTS} bursts of one user, between two readings of its "
        "service's metrics page, in silence",
        passes_when="the counters grew by exactly the refusals and the successes that the answers told",
        read_fail="the finding names the counter, by how much it grew, and what the answers told",
        least_evidence=f"{_BURSTS} refusals and {_BURSTS} successes",
        needs=("policies.locks.metrics", "services.<name>.metrics"),
        missing=missing,
        expected_ns=lambda target: (2 + 4 * len(counted_locks(target))) * NS_PER_SECOND,
        drive=drive_counted,
        judge=judge_counted,
    ),
)

"""TC-INT-008: what is refused in a rush stands in the audit log like what is refused at leisure."""

from __future__ import annotations

import polars as pl

from proofload.cases import metrics_and_audit as books
from proofload.cases.case import Case, Category, Priority
from proofload.cases.context import Lab
from proofload.cases.declared_limits import allowance, gateway_limit
from proofload.cases.evidence_rows import delivered, steps_of
from proofload.core.units import NS_PER_SECOND
from proofload.judge.audit import AuditEvidence, expect, judge_audit
from proofload.judge.evidence import Evidence
from proofload.judge.verdict import Finding
from proofload.plan.target import Target

_CLIENTS = 3
_OVER = 50
_EVENT = "rate_limited"
_NEEDED = 100


def missing(target: Target) -> str:
    """Return why refusals in a rush can't be looked for in the log, or nothing."""
    if gateway_limit(target) is None:
        return "the target declares no rate limit of the gateway (policies.rate_limit)"
    if reason := books.missing_log(target):
        return reason
    policy = target.policies.audit
    assert policy is not None
    return "" if _EVENT in policy.events else f"its audit log promises no such event (policies.audit.events.{_EVENT})"


async def drive(lab: Lab) -> None:
    """Let several clients at once ask for more than they may, each at one instant over many connections."""
    limit, policy = gateway_limit(lab.target), lab.target.policies.audit
    assert limit is not None
    assert policy is not None
    accounts = await lab.accounts(_CLIENTS)
    lab.begin_audit()
    lab.doing("asking for more than is allowed, all at once")
    wanted = allowance(limit) + _OVER
    await lab.run(
        *(
            lab.burst(f"rush {number}", limit.probe, wanted, account=account, source=lab.source())
            for number, account in enumerate(accounts, 1)
        )
    )
    await lab.wait_until_ns(lab.clock.now_ns() + policy.arrives_within, "the last events to arrive in the audit log")
    lab.note("read_ns", lab.clock.now_ns())
    await lab.read_log()


def judge(evidence: Evidence) -> list[Finding]:
    """TC-INT-008: every request refused in the rush has its entry, once and with its address."""
    limit, policy = gateway_limit(evidence.target), evidence.target.policies.audit
    assert limit is not None
    assert policy is not None
    here = pl.col("workload").cast(pl.String).is_in([f"{evidence.case}/{step}" for step in steps_of(evidence, "rush")])
    rows = evidence.history.rows_where(here, pl.col("status").is_in([limit.status, 0]))
    expected = expect(evidence.history, (int(row) for row in rows), _EVENT, ip=evidence.target.users is not None)
    # Not the time of the last entry: where all are missing there is none.
    known = AuditEvidence(int(evidence.facts.get("read_ns", evidence.anchor.monotonic_ns)), evidence.anchor)
    findings = judge_audit(policy, evidence.ledgers, expected, known, needed=_NEEDED)
    # What the log says of other things has cases of its own; here it matters that nothing of the rush is lost.
    ours = [one for one in findings if one.rule in ("audit.missing", "audit.duplicated", "audit.broken_line")]
    return delivered(evidence, ours)


CASES = (
    Case(
        id="TC-INT-008",
        title="Overload loses no audit event",
        category=Category.INTERACTION,
        priority=Priority.HIGH,
        phase=6,
        purpose="What is refused in a rush stands in the audit log like what is refused at leisure.",
        sends=f"the allowance and {_OVER} requests more by each of {_CLIENTS} clients, all at one instant over "
        "connections of their own",
        passes_when="each refused request has exactly one entry in the log, whole",
        read_fail="the finding names the refused request that has no entry",
        least_evidence=f"{_NEEDED} requests that surely were refused",
        needs=("policies.rate_limit", "policies.audit", f"policies.audit.events.{_EVENT}"),
        missing=missing,
        expected_ns=lambda target: (
            (target.policies.audit.arrives_within if target.policies.audit else 0) + 4 * NS_PER_SECOND
        ),
        drive=drive,
        judge=judge,
        uses=frozenset({"service:auth"}),
    ),
)

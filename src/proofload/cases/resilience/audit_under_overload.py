"""TC-INT-008: what is refused in a rush stands in the audit log like what is refused at leisure."""

from __future__ import annotations

import polars as pl

from proofload.cases.case import Category, Priority, case
from proofload.cases.context import CaseContext
from proofload.cases.declared_limits import GATEWAY_LIMIT, allowance, its_probe
from proofload.cases.evidence_rows import delivered, steps_of
from proofload.cases.metrics_and_audit import EVERYWHERE, audited_event, log_evidence, note_secrets, read_log
from proofload.core.units import NS_PER_SECOND
from proofload.judge.audit import expect, judge_audit
from proofload.judge.evidence import Evidence
from proofload.judge.verdict import Finding
from proofload.plan.policies import AuditPolicy, RateLimitPolicy

_CLIENTS = 3
_OVER = 50
_EVENT = "rate_limited"
_NEEDED = 100
_OURS = ("audit.missing", "audit.duplicated", "audit.broken_line", *EVERYWHERE)


LOGGED_LIMIT = GATEWAY_LIMIT & audited_event(_EVENT)


@case(
    "TC-INT-008",
    "Overload loses no audit event",
    Category.INTERACTION,
    Priority.HIGH,
    phase=6,
    requires=LOGGED_LIMIT,
    uses=lambda found: its_probe(found[0]),
    takes=lambda found: found[1].arrives_within + 4 * NS_PER_SECOND,
    spends=True,
)
async def audited_rush(run: CaseContext, found: tuple[RateLimitPolicy, AuditPolicy]) -> None:
    """What is refused in a rush stands in the audit log like what is refused at leisure.

    Sends: the allowance and 50 requests more by each of 3 clients, all at one instant over connections of their
        own
    Passes when: each refused request has exactly one entry in the log, whole
    Reading FAIL: the finding names the refused request that has no entry
    Least evidence: 100 requests that surely were refused
    """
    limit, policy = found
    accounts = await run.accounts(_CLIENTS)
    note_secrets(run, accounts)
    await run.readings.begin_audit()
    run.doing("asking for more than is allowed, all at once")
    wanted = allowance(limit) + _OVER
    await run.run(
        *(
            run.burst(f"rush {number}", limit.probe, wanted, account=account, source=run.source())
            for number, account in enumerate(accounts, 1)
        )
    )
    await run.wait_until_ns(run.clock.now_ns() + policy.arrives_within, "the last events to arrive in the audit log")
    await read_log(run)


@audited_rush.judge
def judge_rush(evidence: Evidence, found: tuple[RateLimitPolicy, AuditPolicy]) -> list[Finding]:
    """TC-INT-008: every request refused in the rush has its entry, once and with its address."""
    limit, policy = found
    here = pl.col("workload").cast(pl.String).is_in([f"{evidence.case}/{step}" for step in steps_of(evidence, "rush")])
    rows = evidence.history.rows_where(here, pl.col("status").is_in([limit.status, 0]))
    expected = expect(evidence.history, (int(row) for row in rows), _EVENT, ip=evidence.target.users is not None)
    findings = judge_audit(policy, evidence.ledgers, expected, log_evidence(evidence), needed=_NEEDED)
    # What the log says of other things has cases of its own; here it matters that nothing of the rush is lost.
    return delivered(evidence, [one for one in findings if one.rule in _OURS])

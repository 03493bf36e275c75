"""What the gateway's counters and the audit log say of the answers of one case: shared by cases that look into them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from proofload.cases.context import Lab
from proofload.core.units import NS_PER_SECOND
from proofload.judge.audit import AuditEvidence, expect, judge_audit
from proofload.judge.evidence import Evidence
from proofload.judge.reconcile import Foreign, Route, judge_metrics
from proofload.judge.verdict import Finding, Outcome
from proofload.plan.target import Target

_SETTLES_NS = NS_PER_SECOND + NS_PER_SECOND // 10
AT_SERVER = "at the Prometheus server: "
"""How a finding begins that rests on what the Prometheus server holds, not on the target's own page."""
READ_AT = "audit_read_ns"
"""The fact that tells when the audit log was read to its end."""
_COUNTED = ("mon.missing", "mon.altered")
_ON_RECORD = ("audit.missing", "audit.wrong_ip")


def missing_metrics(target: Target) -> str:
    """Return why what was answered can't be compared with what was counted, or nothing."""
    policy = target.policies.metrics
    return "" if policy and policy.url else "the target declares no metrics page (policies.metrics.url)"


def missing_log(target: Target) -> str:
    """Return why the audit log can't be read, or nothing."""
    policy = target.policies.audit
    if policy is None or not policy.is_readable:
        return "the target declares no audit log (policies.audit.files, or loki with loki_query)"
    return ""


def missing_event(target: Target, event: str) -> str:
    """Return why an event can't be looked for, or nothing."""
    audit = target.policies.audit
    if audit is None or not audit.is_readable or event not in audit.events:
        return f"the target declares no audit log with the event {event} (policies.audit)"
    return ""


async def settle_books(lab: Lab) -> None:
    """Wait until the last counts and events must have been written."""
    audit = lab.target.policies.audit
    later_ns = max(_SETTLES_NS, audit.arrives_within if audit else 0)
    await lab.wait_until_ns(lab.clock.now_ns() + later_ns, "the last counts and events to be written")


async def read_log(lab: Lab) -> None:
    """Read the audit log, and note when."""
    await lab.read_log()
    lab.note(READ_AT, lab.clock.now_ns())


def routes_of(target: Target) -> dict[str, Route]:
    """Return what the metrics call each operation, by its name."""
    return {name: Route(one.counted_as, one.method) for name, one in target.operations.items()}


def counted(evidence: Evidence) -> list[Finding]:
    """Return whether each answer of the case was counted; counts beyond ours are the matter of TC-MON-001."""
    policy = evidence.target.policies.metrics
    assert policy is not None
    readings = [one for label in ("before", "after") if (one := evidence.ledgers.reading(label, "gateway")) is not None]
    used = {str(name) for name in evidence.history.frame["operation"].unique()}
    operations = {name: route for name, route in routes_of(evidence.target).items() if name in used}
    foreign = Foreign(exclusive=policy.exclusive)
    found = judge_metrics(policy, evidence.history, readings, operations=operations, where=policy.only, foreign=foreign)
    return [one for one in found if one.rule in _COUNTED]


def on_record(evidence: Evidence, rows: NDArray[np.int64], event: str, *, needed: int) -> list[Finding]:
    """Return whether each of these exchanges left its event in the audit log."""
    audit = evidence.target.policies.audit
    assert audit is not None
    if error := evidence.ledgers.facts.get("audit.error"):
        return [Finding("audit.missing", Outcome.INCONCLUSIVE, f"the audit log could not be read: {error}")]
    expected = expect(evidence.history, rows.tolist(), event, ip=True)
    # An empty log does not say when it was read; the case does.
    read_ns = int(evidence.facts.get(READ_AT, evidence.anchor.monotonic_ns))
    known = AuditEvidence(read_ns, evidence.anchor)
    found = judge_audit(audit, evidence.ledgers, expected, known, needed=needed)
    return [one for one in found if one.rule in _ON_RECORD]

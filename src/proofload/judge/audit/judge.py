"""Puts the findings on one audit log together, or says why the log can't be judged."""

from __future__ import annotations

from collections.abc import Sequence

from proofload.judge.audit.expected import AuditEvidence, ExpectedEvent
from proofload.judge.audit.lines import judge_broken, judge_forged, judge_secrets
from proofload.judge.audit.matching import (
    Match,
    judge_duplicated,
    judge_fields,
    judge_forbidden,
    judge_missing,
    judge_reused_ids,
    judge_wrong,
    match,
)
from proofload.judge.audit.times import judge_late, judge_order, judge_times
from proofload.judge.verdict import Finding, Outcome
from proofload.plan.policies import AuditPolicy
from proofload.record.ledger import Ledgers

ERROR_FACT = "audit.error"


def judge_audit(
    policy: AuditPolicy,
    ledgers: Ledgers,
    expected: Sequence[ExpectedEvent],
    evidence: AuditEvidence,
    *,
    forbidden: Sequence[ExpectedEvent] = (),
    needed: int = 1,
) -> list[Finding]:
    """Return what an audit log says of `expected` events, of which at least `needed` must be certain.

    `forbidden` are events that must not stand in the log for a request, such as a success for an answer of 500. The
    rules are `audit.missing`, `.duplicated`, `.phantom`, `.field_missing`, `.wrong_user`, `.wrong_ip`,
    `.request_id_reused`, `.broken_line`, `.forged`, `.secret`, `.late`, `.order` and `.wrong_time`.
    """
    if ERROR_FACT in ledgers.facts:
        says = f"the audit log could not be read: {ledgers.facts[ERROR_FACT]}"
        return [Finding("audit.missing", Outcome.INCONCLUSIVE, says)]
    entries = ledgers.audit
    matched: Match = match(policy, entries, expected)
    return [
        judge_missing(policy, matched, evidence, needed),
        judge_duplicated(matched, needed),
        judge_forbidden(policy, matched, forbidden),
        judge_fields(policy, matched),
        judge_wrong("user", policy, matched),
        judge_wrong("ip", policy, matched),
        judge_reused_ids(expected),
        judge_broken(entries),
        judge_forged(entries, evidence.forgeries),
        judge_secrets(entries, evidence.secrets),
        judge_late(policy, matched),
        judge_order(policy, matched),
        judge_times(policy, matched, evidence),
    ]

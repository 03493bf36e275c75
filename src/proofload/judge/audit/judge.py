"""Puts the findings on one audit log together, or says why the log can't be judged."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from proofload.judge.audit.clocks import judge_clocks
from proofload.judge.audit.entries import (
    judge_duplicated,
    judge_fields,
    judge_forbidden,
    judge_missing,
    judge_request_id,
    judge_reused_ids,
    judge_tried,
)
from proofload.judge.audit.envelopes import decode
from proofload.judge.audit.expected import AuditEvidence, ExpectedEvent
from proofload.judge.audit.legible import illegible, judge_broken
from proofload.judge.audit.lines import judge_forged, judge_secrets
from proofload.judge.audit.matching import Match, match
from proofload.judge.audit.times import judge_late, judge_order, judge_times
from proofload.judge.audit.users import judge_address, judge_user
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
    each: int = 0,
    elsewhere: Collection[str] = (),
    why: Mapping[str, str] | None = None,
) -> list[Finding]:
    """Return what an audit log says of `expected` events, of which at least `needed` must be certain.

    `forbidden` are events that must not stand in the log for a request, such as a success for an answer of 500. The
    rules are `audit.missing`, `.duplicated`, `.phantom`, `.field_missing`, `.wrong_user`, `.wrong_ip`, `.request_id`,
    `.request_id_reused`, `.broken_line`, `.forged`, `.secret`, `.late`, `.order`, `.wrong_time`, `.times_reversed` and
    `.time_of_flush`; with `each`, the least number of each declared event but those `elsewhere`, also `.untried`, which
    says `why` an event could not be brought about. Where the log can't be read
    as it is declared, it is `audit.missing` that says so, beside what lines show as text.
    """
    if ERROR_FACT in ledgers.facts:
        says = f"the audit log could not be read: {ledgers.facts[ERROR_FACT]}"
        return [Finding("audit.missing", Outcome.INCONCLUSIVE, says)]
    entries = decode(policy, ledgers.audit)
    as_text = [judge_forged(entries, evidence.forgeries), judge_secrets(entries, evidence.secrets, evidence.digests)]
    if problem := illegible(policy, entries, sum(one.certain for one in expected)):
        return [Finding("audit.missing", Outcome.INCONCLUSIVE, problem, 0, needed), *as_text]
    matched: Match = match(policy, entries, expected, evidence)
    times = judge_times(policy, matched, evidence)
    return [
        judge_missing(policy, matched, evidence, needed),
        judge_duplicated(matched, needed),
        judge_forbidden(policy, matched, forbidden),
        judge_fields(policy, matched),
        judge_user(policy, matched.named(policy)),
        judge_address(policy, matched.named(policy, rightly=True)),
        judge_request_id(policy, matched),
        judge_reused_ids(expected),
        judge_broken(policy, entries),
        *as_text,
        judge_late(policy, matched),
        judge_order(policy, matched),
        times,
        # A time that is wrong by our clock is out of order as well: that is the same fault once more.
        *(judge_clocks(policy, matched) if times.outcome is not Outcome.FAIL else ()),
        *([judge_tried(policy, expected, each, elsewhere=elsewhere, why=why)] if each else []),
    ]

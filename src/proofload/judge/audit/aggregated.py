"""Judges the copy of an audit log that a log server holds, against the events that surely happened and the file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence, Set

from proofload.judge.audit.envelopes import decode
from proofload.judge.audit.expected import ExpectedEvent
from proofload.judge.audit.fields import text_of
from proofload.judge.verdict import Finding, Outcome, held
from proofload.plan.policies import AuditPolicy
from proofload.record.ledger import AuditEntry

_LOOK = "the agent between the log and the server: its queue when it is flooded, what it does on 429, and its labels"
_SHOWN = 5


def judge_aggregated(
    policy: AuditPolicy,
    entries: Sequence[AuditEntry],
    file: Sequence[AuditEntry],
    expected: Sequence[ExpectedEvent],
    *,
    error: str = "",
    needed: int = 1,
) -> list[Finding]:
    """Return `audit.loki_missing` for the expected events, and `audit.loki_differs` for the file, where there is one.

    Only entries of our own requests are compared: those of others may have come between the two readings. They are
    matched by event and request id: a server may have taken each line at another instant, and lines alike in stream,
    time and text are one to Loki, so that a copy too many can't be seen there.
    """
    if error:
        return [Finding("audit.loki_missing", Outcome.INCONCLUSIVE, f"Loki could not be read: {error}", 0, needed)]
    there = _keys(policy, entries)
    certain = [one for one in expected if one.certain and one.request_id]
    lost = [one for one in certain if (policy.events.get(one.event, one.event), one.request_id) not in there]
    findings = [_missing(lost, certain, needed)]
    if file:
        ours = {one.request_id for one in expected}
        findings.append(_differs(_only(_keys(policy, file), ours), _only(there, ours)))
    return findings


def _missing(lost: Sequence[ExpectedEvent], certain: Sequence[ExpectedEvent], needed: int) -> Finding:
    rule = "audit.loki_missing"
    if not lost:
        return held(rule, f"all {len(certain)} events are found in Loki", examined=len(certain), needed=needed)
    return Finding(
        rule,
        Outcome.FAIL,
        f"{len(lost)} of {len(certain)} events that happened are not found in Loki",
        len(certain),
        needed,
        rows=tuple(one.row for one in lost[:10]),
        shown=tuple(f"{one.event} {one.request_id}" for one in lost[:_SHOWN]),
        look_at=_LOOK,
        figures={"count": len(lost)},
    )


def _differs(file: Counter[tuple[str, str]], there: Counter[tuple[str, str]]) -> Finding:
    rule = "audit.loki_differs"
    absent, alone = sorted(file.keys() - there.keys()), sorted(there.keys() - file.keys())
    if not absent and not alone:
        return held(rule, "the file and Loki hold the same events", examined=len(file))
    says = f"{len(absent)} events stand in the file and not in Loki, {len(alone)} in Loki and not in the file"
    shown = [f"only in the file: {' '.join(one)}" for one in absent[:_SHOWN]]
    shown += [f"only in Loki: {' '.join(one)}" for one in alone[:_SHOWN]]
    return Finding(rule, Outcome.FAIL, says, len(file), shown=tuple(shown), look_at=_LOOK)


def _only(keys: Counter[tuple[str, str]], ids: Set[str]) -> Counter[tuple[str, str]]:
    return Counter({key: count for key, count in keys.items() if key[1] in ids})


def _keys(policy: AuditPolicy, entries: Sequence[AuditEntry]) -> Counter[tuple[str, str]]:
    return Counter(
        (text_of(policy, entry, "event"), text_of(policy, entry, "request_id"))
        for entry in decode(policy, entries)
        if entry.fields is not None
    )

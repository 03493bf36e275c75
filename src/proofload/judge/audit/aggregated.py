"""Judges the copy of an audit log that a log server holds, against the events that surely happened and the file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence, Set

from proofload.judge.audit.envelopes import decode
from proofload.judge.audit.expected import ExpectedEvent
from proofload.judge.audit.fields import text_of
from proofload.judge.audit.legible import illegible
from proofload.judge.audit.matching import match
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
    held_there, in_file = decode(policy, entries), decode(policy, file)
    certain = [one for one in expected if one.certain and one.request_id]
    if problem := illegible(policy, held_there, len(certain)):
        return [Finding("audit.loki_missing", Outcome.INCONCLUSIVE, f"in Loki: {problem}", 0, needed)]
    matched = match(policy, held_there, certain)
    lost = [one for one, found in matched.pairs if not found]
    findings = [_missing(lost, {one.row for one, _ in matched.doubtful}, certain, needed)]
    if file:
        ours = {name for one in expected for name in one.ids}
        for _, found in (*matched.other_id, *match(policy, in_file, certain).other_id):
            ours |= {text_of(policy, entry, "request_id") for entry in found}
        findings.append(_differs(_only(_keys(policy, in_file), ours), _only(_keys(policy, held_there), ours)))
    return findings


def _missing(
    lost: Sequence[ExpectedEvent], doubtful: Set[int], certain: Sequence[ExpectedEvent], needed: int
) -> Finding:
    rule = "audit.loki_missing"
    if not lost:
        return held(rule, f"all {len(certain)} events are found in Loki", examined=len(certain), needed=needed)
    sure = [one for one in lost if one.row not in doubtful]
    if not sure:
        says = f"{len(lost)} events are not in Loki under their ids, and may be there under ids that are not ours"
        return Finding(rule, Outcome.INCONCLUSIVE, says, len(certain), needed)
    lost = sure
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
        for entry in entries
        if entry.fields is not None
    )

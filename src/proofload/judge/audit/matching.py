"""Matches expected events with entries by request id and event, and judges what does not match."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from proofload.core.units import format_duration
from proofload.judge.audit.expected import AuditEvidence, ExpectedEvent
from proofload.judge.audit.lines import told
from proofload.judge.verdict import Finding, Outcome, held
from proofload.plan.policies import AuditPolicy
from proofload.record.ledger import AuditEntry

_NAMED = 5
_LOOK = "the code path of this event: is it written on every way out, awaited, and flushed before the answer leaves?"


@dataclass(slots=True)
class Match:
    """Expected events with the entries that tell of them, and the entries of our requests."""

    pairs: list[tuple[ExpectedEvent, list[AuditEntry]]] = field(default_factory=list)
    by_request: dict[str, list[AuditEntry]] = field(default_factory=dict)
    entries: int = 0
    without_id: int = 0
    """Expected events that were only found by event and user, since the entry has no request id."""


def match(policy: AuditPolicy, entries: Sequence[AuditEntry], expected: Sequence[ExpectedEvent]) -> Match:
    """Return the match; an entry without a request id stands for one event of its kind and user at the most."""
    id_field, event_field, user_field = (named(policy, name) for name in ("request_id", "event", "user"))
    by_key: dict[tuple[str, str], list[AuditEntry]] = defaultdict(list)
    by_request: dict[str, list[AuditEntry]] = defaultdict(list)
    loose: dict[tuple[str, str], list[AuditEntry]] = defaultdict(list)
    for entry in entries:
        if entry.fields is None:
            continue
        event, request = str(entry.fields.get(event_field) or ""), str(entry.fields.get(id_field) or "")
        if request:
            by_key[request, event].append(entry)
            by_request[request].append(entry)
        else:
            loose[event, str(entry.fields.get(user_field) or "")].append(entry)
    found = Match(by_request=by_request, entries=len(entries))
    for one in expected:
        event = policy.events.get(one.event, one.event)
        held_by = by_key.get((one.request_id, event), []) if one.request_id else []
        if not held_by:
            spare = loose.get((event, one.user or "")) or (loose.get((event, "")) if one.user else None)
            if spare:
                held_by = [spare.pop(0)]
                found.without_id += 1
        found.pairs.append((one, held_by))
    return found


def named(policy: AuditPolicy, field_name: str) -> str:
    """Return what the target calls a field."""
    return policy.fields.get(field_name, field_name)


def judge_missing(policy: AuditPolicy, matched: Match, evidence: AuditEvidence, needed: int) -> Finding:
    """Return `audit.missing`: an event that surely happened, and that had its time to arrive, is not in the log."""
    rule = "audit.missing"
    certain = [(one, found) for one, found in matched.pairs if one.certain]
    absent = [one for one, found in certain if not found]
    due = [one for one in absent if one.done_ns + policy.arrives_within <= evidence.read_ns]
    figures: dict[str, int | float | str] = {"expected": len(certain), "missing": len(absent)}
    if due:
        kinds: dict[str, int] = defaultdict(int)
        for one in due:
            kinds[one.event] += 1
        counts = ", ".join(f"{count} {event}" for event, count in sorted(kinds.items()))
        return Finding(
            rule,
            Outcome.FAIL,
            f"{len(due)} of {len(certain)} events are not in the audit log: {counts}",
            len(certain),
            needed,
            rows=tuple(one.row for one in due[:10]),
            shown=tuple(f"row {one.row}: {one.event}, request {one.request_id or '?'}" for one in due[:_NAMED]),
            look_at=_LOOK,
            figures=figures,
        )
    if absent:
        says = (
            f"{len(absent)} events are not in the log, but it was read within {format_duration(policy.arrives_within)}"
        )
        return Finding(rule, Outcome.INCONCLUSIVE, says, len(certain), needed, figures=figures)
    says = f"all {len(certain)} events are in the audit log"
    return held(rule, says, examined=len(certain), needed=needed, **figures)


def judge_duplicated(matched: Match, needed: int) -> Finding:
    """Return `audit.duplicated`: one service tells of one event of one request more than once."""
    rule = "audit.duplicated"
    twice: list[tuple[ExpectedEvent, AuditEntry, AuditEntry]] = []
    for one, found in matched.pairs:
        seen: dict[str, AuditEntry] = {}
        for entry in found:
            writer = str((entry.fields or {}).get("service") or entry.source)
            if writer in seen:
                twice.append((one, seen[writer], entry))
                break
            seen[writer] = entry
    if twice:
        return Finding(
            rule,
            Outcome.FAIL,
            f"{len(twice)} events stand more than once in the audit log",
            len(matched.pairs),
            needed,
            rows=tuple(one.row for one, _, _ in twice[:10]),
            shown=tuple(
                f"row {one.row}: {one.event} at {first.source}:{first.line} and {second.source}:{second.line}"
                for one, first, second in twice[:_NAMED]
            ),
            look_at="two handlers or middlewares that write the same event, or a retry of the writer",
            figures={"count": len(twice)},
        )
    examined = sum(bool(found) for _, found in matched.pairs)
    return held(rule, "no event stands twice in the audit log", examined=examined, needed=needed)


def judge_forbidden(policy: AuditPolicy, matched: Match, forbidden: Sequence[ExpectedEvent]) -> Finding:
    """Return `audit.phantom`: the log tells of an event that the answer to the same request contradicts."""
    rule = "audit.phantom"
    event_field = named(policy, "event")
    wrong = [
        (one, entry)
        for one in forbidden
        for entry in matched.by_request.get(one.request_id, ())
        if one.request_id and (entry.fields or {}).get(event_field) == policy.events.get(one.event, one.event)
    ]
    if wrong:
        return Finding(
            rule,
            Outcome.FAIL,
            f"{len(wrong)} entries tell of what did not happen",
            len(forbidden),
            rows=tuple(one.row for one, _ in wrong[:10]),
            shown=tuple(f"row {one.row}: {one.event} at {entry.source}:{entry.line}" for one, entry in wrong[:_NAMED]),
            look_at="an entry that is written before the outcome is known",
            figures={"count": len(wrong)},
        )
    if not forbidden:
        return Finding(rule, Outcome.SKIPPED, "no event was forbidden for any request")
    return held(rule, "no entry tells of what did not happen", examined=len(forbidden))


def judge_fields(policy: AuditPolicy, matched: Match) -> Finding:
    """Return `audit.field_missing`: an entry on one of our requests lacks a required field, or holds nothing in it."""
    rule = "audit.field_missing"
    wanted = [(name, named(policy, name)) for name in policy.required_fields]
    lacking: dict[str, list[tuple[ExpectedEvent, AuditEntry]]] = defaultdict(list)
    examined = 0
    for one, found in matched.pairs:
        for entry in found:
            examined += 1
            for name, theirs in wanted:
                if _empty(entry.fields or {}, theirs):
                    lacking[name].append((one, entry))
    if lacking:
        counts = ", ".join(f"{name} in {len(found)}" for name, found in sorted(lacking.items()))
        some = [pair for found in lacking.values() for pair in found][:_NAMED]
        return Finding(
            rule,
            Outcome.FAIL,
            f"required fields are missing: {counts} of {examined} entries",
            examined,
            rows=tuple(one.row for one, _ in some),
            shown=tuple(told(entry) for _, entry in some),
            look_at="how the request's context reaches the code that writes the entry",
        )
    return held(rule, f"every entry has {', '.join(policy.required_fields)}", examined=examined)


def judge_wrong(what: str, policy: AuditPolicy, matched: Match) -> Finding:
    """Return `audit.wrong_user` or `audit.wrong_ip`: the entry on a request names another than the one who sent it."""
    rule, theirs = f"audit.wrong_{what}", named(policy, what)
    examined, wrong = 0, []
    for one, found in matched.pairs:
        meant = one.user if what == "user" else one.ip
        for entry in found:
            given = (entry.fields or {}).get(theirs)
            if meant is None or given in (None, ""):
                continue
            examined += 1
            if str(given) != meant:
                wrong.append((one, entry, meant, str(given)))
    if wrong:
        return Finding(
            rule,
            Outcome.FAIL,
            f"{len(wrong)} of {examined} entries name the wrong {what}",
            examined,
            rows=tuple(one.row for one, *_ in wrong[:10]),
            shown=tuple(
                f"row {one.row}: sent by {meant}, told of {given} at {entry.source}:{entry.line}"
                for one, entry, meant, given in wrong[:_NAMED]
            ),
            look_at="context kept in a global or reused between requests"
            if what == "user"
            else "the proxy's address taken",
            figures={"count": len(wrong)},
        )
    if not any((one.user if what == "user" else one.ip) is not None for one, _ in matched.pairs):
        return Finding(rule, Outcome.SKIPPED, f"no {what} was expected in any entry")
    return held(rule, f"every entry names the right {what}", examined=examined)


def judge_reused_ids(expected: Sequence[ExpectedEvent]) -> Finding:
    """Return `audit.request_id_reused`: two requests bear one id, so that their entries can't be told apart."""
    rule = "audit.request_id_reused"
    rows: dict[str, set[int]] = defaultdict(set)
    for one in expected:
        if one.request_id and one.certain:
            rows[one.request_id].add(one.row)
    shared = {request: sorted(found) for request, found in rows.items() if len(found) > 1}
    if shared:
        return Finding(
            rule,
            Outcome.FAIL,
            f"{len(shared)} request ids stand for more than one request",
            len(rows),
            rows=tuple(row for found in list(shared.values())[:_NAMED] for row in found[:2]),
            shown=tuple(f"{request}: rows {found}" for request, found in list(shared.items())[:_NAMED]),
            look_at="a request id that is taken from the client without making it unique",
        )
    return held(rule, "no request id stands for two requests", examined=len(rows))


def _empty(fields: Mapping[str, object], path: str) -> bool:
    value: object = fields
    if path in fields:
        value = fields[path]
    else:
        for part in path.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
    return value is None or value == ""

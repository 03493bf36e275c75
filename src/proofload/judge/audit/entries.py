"""Judges what does not match: events without an entry, with several, without a field, or under a wrong id."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from proofload.core.units import format_duration
from proofload.judge.audit.expected import AuditEvidence, ExpectedEvent
from proofload.judge.audit.fields import text_of
from proofload.judge.audit.lines import told
from proofload.judge.audit.matching import Match, writer
from proofload.judge.verdict import Finding, Outcome, held
from proofload.plan.policies import AuditPolicy
from proofload.record.ledger import AuditEntry

_NAMED = 5
_LOOK = "the code path of this event: is it written on every way out, awaited, and flushed before the answer leaves?"

_TRY = "policies.audit.events and `tells`, users.login, operations with auth: bearer, policies.rate_limit"


def judge_missing(policy: AuditPolicy, matched: Match, evidence: AuditEvidence, needed: int) -> Finding:
    """Return `audit.missing`: an event that surely happened, and that had its time to arrive, is not in the log."""
    rule = "audit.missing"
    certain = [(one, found) for one, found in matched.pairs if one.certain]
    absent = [one for one, found in certain if not found]
    doubtful = {one.row for one, _ in matched.doubtful}
    due = [one for one in absent if one.done_ns + policy.arrives_within <= evidence.read_ns and one.row not in doubtful]
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
    if absent and doubtful:
        says = f"{len(absent)} events are not in the log under their ids, and may be there under ids that are not ours"
        shown = tuple(f"row {one.row}: {told(some[0])}" for one, some in matched.doubtful[:_NAMED])
        return Finding(rule, Outcome.INCONCLUSIVE, says, len(certain), needed, shown=shown, figures=figures)
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
            by = writer(entry)
            if by in seen:
                twice.append((one, seen[by], entry))
                break
            seen[by] = entry
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
    wrong = [
        (one, entry)
        for one in forbidden
        for name in one.ids
        for entry in matched.by_request.get(name, ())
        if text_of(policy, entry, "event") == policy.events.get(one.event, one.event)
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
    if matched.other_id and not matched.exact:
        says = "entries bear other request ids than ours, so what is told of one request can't be found"
        return Finding(rule, Outcome.INCONCLUSIVE, says, 0, len(forbidden))
    return held(rule, "no entry tells of what did not happen", examined=len(forbidden))


def judge_fields(policy: AuditPolicy, matched: Match) -> Finding:
    """Return `audit.field_missing`: an entry on one of our requests lacks a required field, or holds nothing in it."""
    rule = "audit.field_missing"
    lacking: dict[str, list[tuple[ExpectedEvent, AuditEntry]]] = defaultdict(list)
    examined = 0
    for one, found in matched.pairs:
        for entry in found:
            examined += 1
            for name in policy.required_fields:
                if not text_of(policy, entry, name):
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


def judge_request_id(policy: AuditPolicy, matched: Match) -> Finding:
    """Return `audit.request_id`: entries bear other ids than the client's; FAIL only where ours are promised."""
    rule = "audit.request_id"
    found = sum(bool(entries) for _, entries in matched.pairs)
    if not matched.other_id or policy.request_ids == "theirs":
        says = "entries bear the ids of their requests, or ids of the target where these are promised"
        return held(rule, says, examined=found)
    says = (
        f"{len(matched.other_id)} of {found} events are only found by user, address and order: their entries bear "
        "other request ids than the client sent or was told"
    )
    if policy.request_ids is None:
        says += "; keep X-Request-ID of the answers, or declare policies.audit.request_ids (theirs, or ours)"
    return Finding(
        rule,
        Outcome.FAIL if policy.request_ids == "ours" else Outcome.INCONCLUSIVE,
        says,
        found,
        rows=tuple(one.row for one, _ in matched.other_id[:10]),
        shown=tuple(f"row {one.row}: request {one.request_id}, {told(some[0])}" for one, some in matched.other_id[:5]),
        look_at="where the gateway makes a request id: it should keep the client's, or tell its own in the answer",
        figures={"count": len(matched.other_id)},
    )


def judge_tried(
    policy: AuditPolicy,
    expected: Sequence[ExpectedEvent],
    each: int,
    *,
    elsewhere: Collection[str] = (),
    why: Mapping[str, str] | None = None,
) -> Finding:
    """Return `audit.untried`: INCONCLUSIVE where a declared event was brought about less than `each` times.

    Events `elsewhere` are the matter of other cases. `why` tells of an event what kept it from happening.
    """
    rule = "audit.untried"
    counts = {event: 0 for event in policy.events if event not in elsewhere}
    for one in expected:
        if one.certain and one.event in counts:
            counts[one.event] += 1
    few = {event: count for event, count in sorted(counts.items()) if count < each}
    if few:
        told = ", ".join(f"{event} {count} times" for event, count in few.items())
        says = f"declared events were brought about too seldom: {told}, needed {each} of each"
        shown = tuple(f"{event}: {why[event]}" for event in few if why and event in why)
        if shown:
            says += f"; {'; '.join(shown)}"
        return Finding(rule, Outcome.INCONCLUSIVE, says, min(few.values()), each, look_at=_TRY)
    return held(rule, f"each declared event was brought about {each} times or more", examined=len(counts))


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

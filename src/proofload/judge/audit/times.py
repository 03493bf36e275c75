"""Judges when entries arrived, in which order they stand, and whether the times in them are true."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence

from proofload.core.units import NS_PER_SECOND, format_duration
from proofload.judge.audit.expected import AuditEvidence, ExpectedEvent
from proofload.judge.audit.fields import named, parse_time_ns
from proofload.judge.audit.matching import UNTOLD, Match
from proofload.judge.verdict import Finding, Outcome, held
from proofload.plan.policies import AuditPolicy
from proofload.record.ledger import AuditEntry

_NAMED = 5
_SKEW_NS = 2 * NS_PER_SECOND
"""How far two clocks that are kept by NTP may differ without it being a finding."""
_WRONG_NS = 10 * 60 * NS_PER_SECOND
"""From here on it is no skew: a zone left out, or a unit mistaken."""


def judge_late(policy: AuditPolicy, matched: Match) -> Finding:
    """Return `audit.late`: an entry was not there yet when its source was read after the promised time.

    An entry read at one instant was not there at the reading before; that is all that is known of its arrival.
    """
    rule = "audit.late"
    read: dict[str, list[int]] = defaultdict(list)
    for _, found in matched.exact:
        for entry in found:
            read[entry.source].append(entry.read_ns)
    earlier: dict[tuple[str, int], int] = {}
    for source, instants in read.items():
        ordered = sorted(set(instants))
        earlier.update({(source, later): sooner for sooner, later in itertools.pairwise(ordered)})
    late, told = [], 0
    for one, found in matched.exact:
        if not found or not one.certain:
            continue
        entry = found[0]
        limit = one.done_ns + policy.arrives_within
        not_yet = earlier.get((entry.source, entry.read_ns))
        if not_yet is not None and not_yet > limit:
            late.append((one, entry, not_yet - one.done_ns))
        told += entry.read_ns <= limit or (not_yet is not None and not_yet > limit)
    if late:
        worst = max(delay for _, _, delay in late)
        return Finding(
            rule,
            Outcome.FAIL,
            f"{len(late)} entries came later than {format_duration(policy.arrives_within)}, one after more than "
            f"{format_duration(worst)}",
            told,
            rows=tuple(one.row for one, *_ in late[:10]),
            shown=tuple(
                f"row {one.row}: {entry.source}:{entry.line} was not there after {format_duration(delay)}"
                for one, entry, delay in late[:_NAMED]
            ),
            look_at="a buffer that is flushed by size or at exit",
            figures={"count": len(late)},
        )
    if not told:
        return Finding(rule, Outcome.SKIPPED, "the log was read too late to say when its entries arrived")
    return held(rule, f"{told} entries were seen within {format_duration(policy.arrives_within)}", examined=told)


def judge_order(policy: AuditPolicy, matched: Match) -> Finding:
    """Return `audit.order`: of two events, the later stands before the earlier in one source.

    Only where the earlier must have been written before the later was even asked for: its answer was done, and the time
    in which entries arrive had passed.
    """
    rule = "audit.order"
    if matched.found and not matched.exact:
        return Finding(rule, Outcome.SKIPPED, UNTOLD)
    by_source: dict[str, list[tuple[ExpectedEvent, AuditEntry]]] = defaultdict(list)
    for one, found in matched.exact:
        if one.certain and found:
            by_source[found[0].source].append((one, found[0]))
    examined, wrong = 0, []
    for pairs in by_source.values():
        # In the order of the lines, each must not have been due before the latest request seen so far was sent.
        pairs.sort(key=lambda pair: pair[1].line)
        latest: tuple[ExpectedEvent, AuditEntry] | None = None
        for one, entry in pairs:
            examined += 1
            if latest and one.done_ns + policy.arrives_within < latest[0].sent_ns:
                wrong.append((latest, (one, entry)))
            if latest is None or one.sent_ns > latest[0].sent_ns:
                latest = (one, entry)
    if wrong:
        return Finding(
            rule,
            Outcome.FAIL,
            f"{len(wrong)} entries stand after entries of requests that came later",
            examined,
            rows=tuple(one.row for pair in wrong[:_NAMED] for one, _ in pair),
            shown=tuple(
                f"line {first[1].line} tells of row {first[0].row}, line {then[1].line} of row {then[0].row}, "
                f"which was done {format_duration(first[0].sent_ns - then[0].done_ns)} before"
                for first, then in wrong[:_NAMED]
            ),
            look_at="several buffers that are flushed by themselves",
        )
    return held(rule, "entries stand in the order of their requests", examined=examined, needed=2)


def judge_times(policy: AuditPolicy, matched: Match, evidence: AuditEvidence) -> Finding:
    """Return `audit.wrong_time`: the time in an entry is not the time of its request, by more than clocks differ."""
    rule, theirs = "audit.wrong_time", named(policy, "time")
    if evidence.anchor is None:
        return Finding(rule, Outcome.SKIPPED, "no anchor between the clocks, so times are not compared")
    off: list[tuple[ExpectedEvent, AuditEntry, int]] = []
    examined = 0
    for one, found in matched.pairs:
        for entry in found if one.certain else ():
            told = parse_time_ns(entry.value(theirs))
            if told is None:
                continue
            examined += 1
            low = evidence.anchor.to_wall_ns(one.sent_ns) - _SKEW_NS
            high = evidence.anchor.to_wall_ns(one.done_ns) + policy.arrives_within + _SKEW_NS
            if not low <= told <= high:
                off.append((one, entry, told - (low + _SKEW_NS) if told < low else told - (high - _SKEW_NS)))
    if not off:
        return held(rule, "entries bear the time of their requests", examined=examined)
    return _wrong_times(rule, off, examined)


def _wrong_times(rule: str, off: Sequence[tuple[ExpectedEvent, AuditEntry, int]], examined: int) -> Finding:
    least = min(off, key=lambda one: abs(one[2]))
    says = f"{len(off)} of {examined} entries bear a time that is off by {format_duration(least[2])} or more"
    sure = [one for one in off if abs(one[2]) >= _WRONG_NS]
    shown = tuple(
        f"row {one.row}: {entry.source}:{entry.line} is off by {format_duration(by)}" for one, entry, by in off[:_NAMED]
    )
    if not sure:
        return Finding(rule, Outcome.INCONCLUSIVE, f"{says}: it may be the clocks", examined, shown=shown)
    return Finding(
        rule,
        Outcome.FAIL,
        says,
        examined,
        rows=tuple(one.row for one, *_ in sure[:10]),
        shown=shown,
        look_at="local time written without its zone, or a unit mistaken",
        figures={"count": len(sure)},
    )

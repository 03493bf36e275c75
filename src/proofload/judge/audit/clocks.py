"""Judges the times in entries against one another: one clock wrote them, so no clock of ours need agree with it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from proofload.core.units import NS_PER_SECOND, format_duration
from proofload.judge.audit.expected import ExpectedEvent
from proofload.judge.audit.fields import named, parse_time_ns
from proofload.judge.audit.matching import UNTOLD, Match
from proofload.judge.verdict import Finding, Outcome, held
from proofload.plan.policies import AuditPolicy
from proofload.record.ledger import AuditEntry

_NAMED = 5
_REVERSED, _FLUSH = "audit.times_reversed", "audit.time_of_flush"
_APART_NS = NS_PER_SECOND // 10
"""How far two requests must lie apart before the order of their times is a proof."""
_BEHIND_NS = 2 * NS_PER_SECOND
_LATE_NS = NS_PER_SECOND
_LEAST_LATE, _LEAST_SHARE = 3, 10
_HOSTS = tuple((name, f"{name}.name") for name in ("service", "host", "hostname", "instance", "pod", "container_id"))
_ROTATED = re.compile(r"\.\d+$")


@dataclass(frozen=True, slots=True)
class _Told:
    """An entry with the time that it bears."""

    one: ExpectedEvent
    entry: AuditEntry
    time_ns: int

    def __str__(self) -> str:
        return f"row {self.one.row} at {self.entry.source}:{self.entry.line}"


def judge_clocks(policy: AuditPolicy, matched: Match) -> list[Finding]:
    """Return `audit.times_reversed` and `audit.time_of_flush` for entries of one writer that bear a readable time."""
    if not matched.exact:
        return [Finding(rule, Outcome.SKIPPED, UNTOLD) for rule in (_REVERSED, _FLUSH)] if matched.found else []
    clocks = _by_clock(policy, matched)
    return [_reversed(clocks), _of_flush(clocks)]


def _by_clock(policy: AuditPolicy, matched: Match) -> list[list[_Told]]:
    clocks: dict[tuple[str, ...], list[_Told]] = defaultdict(list)
    time, hosts = named(policy, "time"), _hosts_in(matched)
    for one, found in matched.exact:
        for entry in found if one.certain else ():
            if (time_ns := parse_time_ns(entry.value(time))) is not None:
                host = tuple(str(entry.value(name) or entry.value(inner)) for name, inner in hosts)
                clocks[_ROTATED.sub("", entry.source), *host].append(_Told(one, entry, time_ns))
    return list(clocks.values())


def _hosts_in(matched: Match) -> list[tuple[str, str]]:
    """Return under which names entries of the match may tell who wrote them: looked for once, not in every entry."""
    keys = {key for _, found in matched.exact for entry in found for key in entry.fields or ()}
    return [(name, inner) for name, inner in _HOSTS if name in keys or inner in keys]


def _reversed(clocks: Sequence[Sequence[_Told]]) -> Finding:
    rule = _REVERSED
    pairs = [pair for told in clocks for pair in _one_after_another(told)]
    wrong = [(first, then) for first, then in pairs if first.time_ns > then.time_ns]
    if not wrong:
        return held(rule, "entries bear times in the order of their requests", examined=len(pairs))
    first, then = max(wrong, key=lambda pair: pair[0].time_ns - pair[1].time_ns)
    by, apart = format_duration(first.time_ns - then.time_ns), format_duration(then.one.sent_ns - first.one.done_ns)
    return Finding(
        rule,
        Outcome.FAIL,
        f"{len(wrong)} entries bear times before those of earlier requests; one by {by}, though sent {apart} later",
        len(pairs),
        rows=tuple(dict.fromkeys(row for pair in wrong for row in (pair[0].one.row, pair[1].one.row)))[:10],
        shown=tuple(
            f"{pair[1]} was sent after {pair[0]} was answered, and bears an earlier time" for pair in wrong[:_NAMED]
        ),
        look_at="where the time of an entry is taken: at the event, or when a buffer is written",
        figures={"count": len(wrong)},
    )


def _one_after_another(told: Sequence[_Told]) -> Iterator[tuple[_Told, _Told]]:
    """Yield each entry with that of the latest time among the requests that were over well before its own."""
    by_end = sorted(told, key=lambda one: one.one.done_ns)
    latest: _Told | None = None
    ended = 0
    for then in sorted(told, key=lambda one: one.one.sent_ns):
        while ended < len(by_end) and by_end[ended].one.done_ns + _APART_NS <= then.one.sent_ns:
            if latest is None or by_end[ended].time_ns > latest.time_ns:
                latest = by_end[ended]
            ended += 1
        if latest is not None:
            yield latest, then


def _of_flush(clocks: Sequence[Sequence[_Told]]) -> Finding:
    """Compare how far each time lies behind its answer: by the offset of the clocks, which is the same for all."""
    rule = _FLUSH
    examined, worst_ns = 0, 0
    late: list[_Told] = []
    for told in clocks:
        # The offset is at most this, for no event is before its request.
        offset_ns = min(one.time_ns - one.one.sent_ns for one in told)
        behind = [(one.time_ns - one.one.done_ns - offset_ns, one) for one in told]
        some = [one for by_ns, one in behind if by_ns > _LATE_NS]
        examined += len(told) if len(told) > 1 else 0
        most_ns = max(by_ns for by_ns, _ in behind)
        if most_ns > _BEHIND_NS and len(some) >= max(_LEAST_LATE, len(told) // _LEAST_SHARE):
            late += some
            worst_ns = max(worst_ns, most_ns)
    if not late:
        return held(rule, "entries bear the times of their events", examined=examined, needed=2)
    return Finding(
        rule,
        Outcome.FAIL,
        f"{len(late)} of {examined} entries bear a time after their event, one by {format_duration(worst_ns)}, while "
        "others bear the right one",
        examined,
        2,
        rows=tuple(one.one.row for one in late[:10]),
        shown=tuple(str(one) for one in late[:_NAMED]),
        look_at="a time that is taken when a buffer is flushed, not when the event happens",
        figures={"count": len(late), "most_ns": worst_ns},
    )

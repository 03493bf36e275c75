"""Judges the target's request counters against the client's own record: missing, duplicated, phantom, altered."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from proofload.core.units import NS_PER_SECOND
from proofload.judge.reconcile.counters import (
    CounterDiff,
    Foreign,
    Key,
    Route,
    Span,
    counted_by_client,
    difference,
)
from proofload.judge.verdict import Finding, Outcome, held
from proofload.plan.policies import MetricsPolicy
from proofload.record.fault_edge import FaultSpan
from proofload.record.history import History
from proofload.record.ledger import Reading

_SETTLES_NS = NS_PER_SECOND
_LEAST_DOUBLED = 50
_ID_SEGMENT = re.compile(r"\d+|[0-9a-f]{8}-[0-9a-f-]{27}|[a-z]+_[0-9a-f-]{16,}|[0-9a-f]{16,}", re.IGNORECASE)
_LOOK = "where the request counter is incremented: before every return, for errors and rejections too, once a request"


@dataclass(frozen=True, slots=True)
class _KeyCounts:
    """The three numbers of one key."""

    key: Key
    span: Span
    unanswered: int
    counted: int
    foreign: int | None

    @property
    def missing(self) -> int:
        return max(0, self.span.surely - self.counted)

    @property
    def excess(self) -> int:
        return max(0, self.counted - self.span.surely - self.span.maybe - self.unanswered - (self.foreign or 0))

    @property
    def scale(self) -> int:
        """Return what the declared bound is a share of: it must not shrink where less is sure."""
        return max(1, self.span.surely + self.span.maybe)

    @property
    def blur(self) -> int:
        """Return how many requests could be missing, or too many, without being seen."""
        return self.span.maybe + self.unanswered + (self.foreign or 0)

    def __str__(self) -> str:
        route, method, status = self.key
        sent = f"{self.span.surely}" + (f" to {self.span.surely + self.blur}" if self.blur else "")
        return f"{method} {route} {status}: answered {sent}, counted {self.counted}"


def judge_metrics(
    policy: MetricsPolicy,
    history: History,
    readings: Sequence[Reading],
    *,
    operations: Mapping[str, Route],
    where: Mapping[str, str] | None = None,
    foreign: Foreign | None = None,
    rows: NDArray[np.int64] | None = None,
    uncounted_routes: Sequence[str] = (),
    settles_ns: int = _SETTLES_NS,
    faults: Sequence[FaultSpan] = (),
    needed: int = 100,
) -> list[Finding]:
    """Return `mon.missing`, `.duplicated`, `.phantom`, `.altered`, `.not_monotonic`, `.raw_path_label` and `.foreign`.

    `readings` are in time order, the first from before the load and the last from after it; those between only serve to
    see resets, and several at the end show a page that only one worker answers. `operations` tell how each operation
    is labelled, `where` which series are the ones to compare (such as `{"service": "gateway"}`).
    """
    problem = _unreadable(readings)
    if problem:
        return [Finding("mon.missing", Outcome.INCONCLUSIVE, problem)]
    where, foreign = where or {}, foreign or Foreign()
    diff = difference(readings, policy, where)
    by_class = any(key[2].endswith("xx") for key in diff.increments)
    spans, unanswered = counted_by_client(
        history,
        operations,
        before=readings[0],
        after=readings[-1],
        settles_ns=settles_ns,
        rows=rows,
        by_class=by_class,
    )
    span_ns = readings[-1].answered_ns - readings[0].asked_ns
    places = {(route.route, route.method) for route in operations.values()}
    keys = sorted(spans.keys() | {key for key in diff.increments if key[:2] in places and diff.increments[key]})
    lines = [
        _KeyCounts(
            key,
            spans.get(key, Span()),
            unanswered.get(key[:2], 0),
            diff.increments.get(key, 0),
            foreign.at_most(key, policy, where, span_ns),
        )
        for key in keys
    ]
    return [
        _monotonic(diff, faults, readings, policy.survives_restart),
        *_compare(policy, lines, diff, needed),
        _raw_paths(diff),
        _others(diff, places, lines, policy, foreign),
        *_uncounted(diff, uncounted_routes),
    ]


def _unreadable(readings: Sequence[Reading]) -> str:
    if len(readings) < 2:
        return f"got {len(readings)} readings of the metrics, needed one before and one after the load"
    for reading in (readings[0], readings[-1]):
        if reading.error:
            return f"the metrics could not be read: {reading.error}"
    return ""


def _monotonic(
    diff: CounterDiff, faults: Sequence[FaultSpan], readings: Sequence[Reading], survives_restart: bool
) -> Finding:
    rule = "mon.not_monotonic"
    if not diff.resets:
        return held(rule, "no counter fell between readings", examined=len(readings), needed=2)
    says = f"{len(diff.resets)} counters fell between readings"
    first_ns, last_ns = readings[0].asked_ns, readings[-1].answered_ns
    during = [fault for fault in faults if fault.wide_from_ns <= last_ns and fault.wide_to_ns >= first_ns]
    if (diff.restarted or during) and not survives_restart:
        why = f"the fault {during[0].fault} on {during[0].service}" if during else "a process started anew"
        told = f"{says} since {why}: what was counted before is lost to us"
        return Finding(rule, Outcome.INCONCLUSIVE, told, len(readings), 2, shown=diff.resets[:5])
    return Finding(
        rule,
        Outcome.FAIL,
        f"{says}, though counts are promised to outlive a restart"
        if survives_restart
        else f"{says}, though no process started anew",
        len(readings),
        2,
        shown=diff.resets[:5],
        look_at="a registry for each worker behind one address, or a reload that makes new counters",
    )


def _compare(policy: MetricsPolicy, lines: Sequence[_KeyCounts], diff: CounterDiff, needed: int) -> list[Finding]:
    examined = sum(line.span.surely for line in lines)
    short = [line for line in lines if line.missing > policy.error_bound * line.scale]
    long = [line for line in lines if line.excess > policy.error_bound * line.scale]
    doubled = _exactly_doubled(lines)
    altered: list[_KeyCounts] = []
    for place in sorted({line.key[0] for line in short} & {line.key[0] for line in long}):
        # One and the same request may be missing under its own label and too many under another.
        pair = [line for line in short + long if line.key[0] == place]
        lost, gained = sum(line.missing for line in pair), sum(line.excess for line in pair)
        if abs(lost - gained) <= sum(line.blur for line in pair) + policy.error_bound * lost:
            altered += pair
    plain_short = [line for line in short if line not in altered]
    plain_long = [line for line in long if line not in altered]
    proven = [line for line in plain_long if line.foreign is not None]
    findings = [
        _verdict("mon.missing", "requests that were answered are not counted", plain_short, lines, needed, diff),
        _verdict(
            "mon.duplicated",
            "requests are counted more than once",
            doubled or [line for line in proven if line.span.surely],
            lines,
            needed,
            diff,
        ),
        _verdict(
            "mon.phantom",
            "requests are counted that nobody sent",
            [line for line in proven if not line.span.surely and line not in doubled],
            lines,
            needed,
            diff,
        ),
        _verdict("mon.altered", "requests are counted under another method or status", altered, lines, needed, diff),
    ]
    unsure = [line for line in plain_long if line.foreign is None and line not in doubled]
    if unsure and not doubled:
        total = sum(line.excess for line in unsure)
        says = f"{total} more requests are counted than we made, and nobody said that the target is ours alone"
        findings[1] = Finding(
            "mon.duplicated", Outcome.INCONCLUSIVE, says, examined, needed, shown=tuple(str(line) for line in unsure)
        )
    return [_blurred(finding, lines, policy) for finding in findings]


def _verdict(
    rule: str, what: str, broken: Sequence[_KeyCounts], lines: Sequence[_KeyCounts], needed: int, diff: CounterDiff
) -> Finding:
    examined = sum(line.span.surely for line in lines)
    if broken:
        count = sum(line.missing or line.excess for line in broken)
        outcome = Outcome.FAIL
        says = f"{count} {what}"
        if rule == "mon.missing" and diff.restarted:
            # A process that started anew took its counts with it: what is missing may have been counted before.
            outcome, says = Outcome.INCONCLUSIVE, f"{says}, or were counted by a process that is gone"
        return Finding(
            rule,
            outcome,
            says,
            examined,
            needed,
            rows=tuple(row for line in broken for row in line.span.rows)[:10],
            shown=tuple(str(line) for line in broken),
            look_at=_LOOK,
            figures={"count": count},
        )
    off = sum(line.missing if rule == "mon.missing" else 0 for line in lines)
    says = f"no {what}" if not off else f"{off} {what}, within the declared bound; 0 is expected"
    return held(rule, says, examined=examined, needed=needed, series=len(lines), off=off)


def _blurred(finding: Finding, lines: Sequence[_KeyCounts], policy: MetricsPolicy) -> Finding:
    """Take a PASS back where requests in flight, unanswered ones or other clients blur more than the declared bound."""
    if finding.outcome is not Outcome.PASS:
        return finding
    blurred = [line for line in lines if line.span.surely and line.blur > policy.error_bound * line.span.surely]
    if not blurred:
        return finding
    worst = max(blurred, key=lambda line: line.blur)
    says = (
        f"{finding.says}, but up to {worst.blur} requests of {' '.join(worst.key)} may or may not have been counted "
        "(in flight, unanswered, or of other clients), more than the bound"
    )
    return Finding(finding.rule, Outcome.INCONCLUSIVE, says, finding.examined, finding.needed, figures=finding.figures)


def _exactly_doubled(lines: Sequence[_KeyCounts]) -> list[_KeyCounts]:
    """Return the keys counted exactly n times over, n the same for all: no other client happens to do just that."""
    sure = [line for line in lines if line.span.surely and not line.span.maybe and not line.unanswered]
    total = sum(line.span.surely for line in sure)
    if total < _LEAST_DOUBLED or not sure:
        return []
    times = {divmod(line.counted, line.span.surely) for line in sure}
    return sure if len(times) == 1 and min(times)[0] >= 2 and min(times)[1] == 0 else []


def _raw_paths(diff: CounterDiff) -> Finding:
    rule = "mon.raw_path_label"
    routes = sorted({key[0] for key in diff.increments})
    templates: dict[str, list[str]] = {}
    for route in routes:
        template = "/".join("{id}" if _ID_SEGMENT.fullmatch(part) else part for part in route.split("/"))
        if template != route:
            templates.setdefault(template, []).append(route)
    raw = {template: found for template, found in templates.items() if len(found) >= 2}
    if raw:
        template, found = max(raw.items(), key=lambda item: len(item[1]))
        return Finding(
            rule,
            Outcome.FAIL,
            f"{len(found)} series stand for the one route {template}: a label holds raw paths, without bound",
            len(routes),
            shown=tuple(found[:5]),
            look_at="the middleware that labels by request path instead of by the matched route",
            figures={"series": len(found)},
        )
    return held(rule, f"{len(routes)} routes are labelled, none by a raw path", examined=len(routes))


def _others(
    diff: CounterDiff,
    places: set[tuple[str, str]],
    lines: Sequence[_KeyCounts],
    policy: MetricsPolicy,
    foreign: Foreign,
) -> Finding:
    """Say which requests were counted that are surely not ours, for their routes are none of ours."""
    rule = "mon.foreign"
    others = sorted(((n, key) for key, n in diff.increments.items() if n and key[:2] not in places), reverse=True)
    count, ours = sum(n for n, _ in others), sum(line.counted for line in lines)
    shown = tuple(f"{' '.join(key)}: {n}" for n, key in others[:5])
    says = f"{count} requests were counted on routes that are none of ours, beside {ours} on ours"
    figures: dict[str, int | float | str] = {"foreign": count, "ours": ours}
    unsure = not foreign.exclusive and foreign.quiet is None and count > max(ours, 1) * policy.error_bound
    outcome = Outcome.INCONCLUSIVE if unsure and ours else Outcome.PASS
    if outcome is Outcome.INCONCLUSIVE:
        says += ": others use the target, so a missing count may be hidden by theirs"
    return Finding(rule, outcome, says, max(1, ours), shown=shown, figures=figures)


def _uncounted(diff: CounterDiff, routes: Sequence[str]) -> list[Finding]:
    if not routes:
        return []
    seen = [(key, n) for key, n in sorted(diff.increments.items()) if key[0] in routes and n]
    if seen:
        says = f"{sum(n for _, n in seen)} requests to {seen[0][0][0]} are counted as traffic"
        shown = tuple(f"{' '.join(key)}: {n}" for key, n in seen[:5])
        return [Finding("mon.health_counted_as_traffic", Outcome.FAIL, says, len(seen), shown=shown, look_at=_LOOK)]
    return [held("mon.health_counted_as_traffic", "health checks are not counted as traffic", examined=len(routes))]

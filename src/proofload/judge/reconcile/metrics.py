"""Judges the target's request counters against the client's own record: missing, duplicated, phantom, altered."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from proofload.core.units import NS_PER_SECOND
from proofload.judge.reconcile.counters import (
    CounterDiff,
    Foreign,
    KeyCounts,
    Route,
    Span,
    counted_by_client,
    difference,
)
from proofload.judge.reconcile.labels import Labels, fit_labels
from proofload.judge.reconcile.places import (
    judge_labels,
    judge_others,
    judge_raw_paths,
    judge_succeeded,
    judge_told_apart,
    judge_uncounted,
    no_counter,
    route_values,
)
from proofload.judge.verdict import Finding, Outcome, held
from proofload.plan.policies import MetricsPolicy
from proofload.record.fault_edge import FaultSpan
from proofload.record.history import History
from proofload.record.ledger import Reading

_SETTLES_NS = NS_PER_SECOND
_LEAST_DOUBLED = 50
_LOOK = "where the request counter is incremented: before every return, for errors and rejections too, once a request"


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
    sent_ids: Mapping[str, Collection[str]] | None = None,
    tell_apart: bool = False,
) -> list[Finding]:
    """Return `mon.missing`, `.duplicated`, `.phantom`, `.altered`, `.not_monotonic` and what `places` says of routes.

    `readings` are in time order, the first from before the load and the last from after it; those between only serve to
    see resets, and several at the end show a page that only one worker answers. `operations` tell how each operation
    is labelled, `where` which series are the ones to compare (such as `{"service": "gateway"}`). A label that the
    counter does not have is summed over; what its other values mean is `mon.labels`. `sent_ids` are the ids that were
    sent in the path of each operation; with `tell_apart` it is a finding that counts can't tell two routes apart.
    """
    problem = _unreadable(readings) or no_counter(readings, policy, where or {})
    if problem:
        return [Finding("mon.missing", Outcome.INCONCLUSIVE, problem)]
    where, foreign = where or {}, foreign or Foreign()
    labels = fit_labels(readings, policy, where, (route.route for route in operations.values()))
    diff = difference(readings, policy, where, labels)
    spans, unanswered = counted_by_client(
        history,
        operations,
        before=readings[0],
        after=readings[-1],
        settles_ns=settles_ns,
        rows=rows,
        labels=labels,
    )
    span_ns = readings[-1].answered_ns - readings[0].asked_ns
    places = {labels.place(route.route, route.method) for route in operations.values()}
    keys = sorted(spans.keys() | {key for key in diff.increments if key[:2] in places and diff.increments[key]})
    lines = [
        KeyCounts(
            key,
            spans.get(key, Span()),
            unanswered.get(key[:2], 0),
            diff.increments.get(key, 0),
            _foreign(foreign, labels, len(readings), foreign.at_most(key, policy, where, span_ns, labels)),
        )
        for key in keys
    ]
    elsewhere = {key: count for key, count in diff.increments.items() if count and key[:2] not in places}
    labelled, unsure = judge_labels(policy, labels, lines, elsewhere)
    found = [
        _monotonic(diff, faults, readings, policy.survives_restart),
        *_compare(policy, labels, lines, unsure, diff, needed),
        labelled,
        judge_raw_paths(route_values(readings, policy, where, labels), operations, sent_ids or {}),
        judge_others(labels, elsewhere, lines, policy, foreign),
        *judge_uncounted(labels, diff, uncounted_routes),
        judge_succeeded(history, operations, rows),
    ]
    return [*found, judge_told_apart(labels, lines)] if tell_apart else found


def _foreign(foreign: Foreign, labels: Labels, readings: int, at_most: int | None) -> int | None:
    """Return how many foreign requests to reckon with under a key: without routes, our own readings are among them."""
    if "route" in labels.unfit:
        return None
    return at_most + readings if at_most is not None and "route" in labels.absent else at_most


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


def _compare(
    policy: MetricsPolicy,
    labels: Labels,
    lines: Sequence[KeyCounts],
    untold: Sequence[KeyCounts],
    diff: CounterDiff,
    needed: int,
) -> list[Finding]:
    """Compare line by line; of the lines `untold` it is not known under which labels they were counted."""
    examined = sum(line.span.surely for line in lines)
    short = [line for line in lines if line not in untold and line.missing > policy.error_bound * line.scale]
    long = [line for line in lines if line.excess > policy.error_bound * line.scale]
    doubled = _exactly_doubled(lines)
    altered = _altered(policy, short, long)
    plain_short = [line for line in short if line not in altered]
    plain_long = [line for line in long if line not in altered]
    proven = [line for line in plain_long if line.foreign is not None]
    findings = [
        _missing(plain_short, untold, lines, needed, diff),
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
        _verdict(
            "mon.altered",
            f"requests are counted under another {' or '.join(labels.names) or 'label'}",
            altered,
            lines,
            needed,
            diff,
        )
        if labels.names
        else Finding("mon.altered", Outcome.SKIPPED, "the counter has no labels that could be wrong"),
    ]
    unsure = [line for line in plain_long if line.foreign is None and line not in doubled]
    if unsure and not doubled:
        total = sum(line.excess for line in unsure)
        says = f"{total} more requests are counted than we made, and nobody said that the target is ours alone"
        findings[1] = Finding(
            "mon.duplicated", Outcome.INCONCLUSIVE, says, examined, needed, shown=tuple(str(line) for line in unsure)
        )
    return [_blurred(finding, lines, policy) for finding in findings]


def _altered(policy: MetricsPolicy, short: Sequence[KeyCounts], long: Sequence[KeyCounts]) -> list[KeyCounts]:
    """Return lines of requests that are missing under their own label, and too many under another of ours."""
    altered: list[KeyCounts] = []
    alike: tuple[Callable[[KeyCounts], tuple[str, ...]], ...] = (
        lambda line: line.key[:1],  # the status or the method is wrong
        lambda line: line.key[1:],  # the route is
    )
    for part in alike:
        for value in sorted({part(line) for line in short} & {part(line) for line in long}):
            pair = [line for line in (*short, *long) if part(line) == value and line not in altered]
            lost, gained = sum(line.missing for line in pair), sum(line.excess for line in pair)
            if lost and gained and abs(lost - gained) <= sum(line.blur for line in pair) + policy.error_bound * lost:
                altered += pair
    return altered


def _missing(
    short: Sequence[KeyCounts],
    untold: Sequence[KeyCounts],
    lines: Sequence[KeyCounts],
    needed: int,
    diff: CounterDiff,
) -> Finding:
    rule, what = "mon.missing", "requests that were answered are not counted"
    if short or not untold:
        return _verdict(rule, what, short, lines, needed, diff)
    count = sum(line.missing for line in untold)
    return Finding(
        rule,
        Outcome.INCONCLUSIVE,
        f"can't tell whether {count} requests are counted: the counter's labels don't fit ours, see mon.labels",
        sum(line.span.surely for line in lines),
        needed,
        shown=tuple(str(line) for line in untold[:5]),
        look_at="policies.metrics.labels, and `route` of the operations",
        figures={"count": count},
    )


def _verdict(
    rule: str, what: str, broken: Sequence[KeyCounts], lines: Sequence[KeyCounts], needed: int, diff: CounterDiff
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


def _blurred(finding: Finding, lines: Sequence[KeyCounts], policy: MetricsPolicy) -> Finding:
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


def _exactly_doubled(lines: Sequence[KeyCounts]) -> list[KeyCounts]:
    """Return the keys counted exactly n times over, n the same for all: no other client happens to do just that."""
    sure = [line for line in lines if line.span.surely and not line.span.maybe and not line.unanswered]
    total = sum(line.span.surely for line in sure)
    if total < _LEAST_DOUBLED or not sure:
        return []
    times = {divmod(line.counted, line.span.surely) for line in sure}
    return sure if len(times) == 1 and min(times)[0] >= 2 and min(times)[1] == 0 else []

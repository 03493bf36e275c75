"""Judges what stands around the counts: whether labels fit, raw paths in them, other routes, and what was answered."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from proofload.judge.reconcile.counters import CounterDiff, Foreign, KeyCounts, Route, key_text
from proofload.judge.reconcile.labels import ID_SEGMENT, Key, Labels, canonical, counters, is_raw
from proofload.judge.verdict import Finding, Outcome, held
from proofload.plan.policies import MetricsPolicy
from proofload.record.exchange import Ending
from proofload.record.history import History
from proofload.record.ledger import Reading

_LOOK = "where the request counter is incremented: which paths its middleware covers"
_SHOWN = 5
_LEAST_ANSWERS = 10
_KEYS = "policies.metrics.labels (and `route` of the operations, where the metrics call a path otherwise)"


def no_counter(readings: Sequence[Reading], policy: MetricsPolicy, where: Mapping[str, str]) -> str:
    """Return why no series of the request counter is on any page, with what is there instead; nothing where one is."""
    if any(counters(reading.samples, policy, where) for reading in readings):
        return ""
    if where and any(counters(reading.samples, policy, {}) for reading in readings):
        labels = ", ".join(f"{name}={value}" for name, value in sorted(where.items()))
        return f"no series of {policy.requests_total} bears the labels {labels}: check policies.metrics.only"
    grown: dict[str, float] = {}
    for sign, reading in ((-1, readings[0]), (1, readings[-1])):
        for sample in reading.samples:
            if sample.name.endswith(("_total", "_count")):
                grown[sample.name] = grown.get(sample.name, 0) + sign * sample.value
    others = sorted((name for name, by in grown.items() if by > 0), key=lambda name: -grown[name])
    rose = ", ".join(f"{name} (by {grown[name]:g})" for name in others[:_SHOWN]) or "none"
    return (
        f"there is no counter {policy.requests_total} on the metrics page: check policies.metrics.requests_total; "
        f"counters that rose meanwhile: {rose}"
    )


def judge_labels(
    policy: MetricsPolicy, labels: Labels, lines: Sequence[KeyCounts], elsewhere: Mapping[Key, int]
) -> tuple[Finding, list[KeyCounts]]:
    """Return `mon.labels`, and the lines of which it can't be told under which labels they were counted.

    A route of which nothing is counted, while as much is counted on a route that is none of ours, was counted under
    another name: by a target that is wrong, or by one that was declared wrongly. Neither is proven.
    """
    rule = "mon.labels"
    examined = sum(line.span.surely for line in lines)
    untold = _untold(policy, labels, lines, elsewhere)
    problems = [_unfit(policy, part, values) for part, values in labels.unfit.items()]
    problems += [_not_there(policy, part, labels) for part in labels.absent if _is_declared(policy, part)]
    if untold and "route" not in labels.unfit:
        kinds = {line.key[1:] for line in untold}
        names = sorted({key_text(key) for key in elsewhere if key[1:] in kinds})
        problems.append(
            f"nothing is counted for {', '.join(key_text(line.key) for line in untold[:_SHOWN])}, but as many "
            f"requests for {', '.join(names[:_SHOWN])}"
        )
    if problems:
        says = f"{'; '.join(problems)}: declare {_KEYS}"
        return Finding(rule, Outcome.INCONCLUSIVE, says, examined, look_at=_KEYS), untold
    if labels.absent:
        told = " and ".join(labels.names) or "the total"
        says = f"{policy.requests_total} has no label for the {' and '.join(labels.absent)}: judged by {told} alone"
        return held(rule, says, examined=examined), untold
    return held(rule, f"the labels of {policy.requests_total} fit our routes, methods and statuses", examined=1), untold


def _untold(
    policy: MetricsPolicy, labels: Labels, lines: Sequence[KeyCounts], elsewhere: Mapping[Key, int]
) -> list[KeyCounts]:
    short = [line for line in lines if line.missing > policy.error_bound * line.scale]
    if "route" in labels.unfit:
        return short
    spare: dict[tuple[str, ...], int] = {}
    for key, count in elsewhere.items():
        spare[key[1:]] = spare.get(key[1:], 0) + count
    # A status that one handler gives (429, 503) may be counted on a route of its own, by method and status.
    gone = [line for line in short if line.counted <= policy.error_bound * line.scale]
    return [
        line
        for line in gone
        if spare.get(line.key[1:], 0)
        >= (1 - policy.error_bound) * sum(one.missing for one in gone if one.key[1:] == line.key[1:])
    ]


def _is_declared(policy: MetricsPolicy, part: str) -> bool:
    return "labels" in policy.model_fields_set and part in policy.labels


def _unfit(policy: MetricsPolicy, part: str, values: Sequence[str]) -> str:
    wanted = {"route": "our paths", "method": "methods", "status": "statuses"}[part]
    shown = ", ".join(repr(value) for value in values[:_SHOWN])
    return f"the label {policy.labels.get(part, part)} holds {shown}, expected {wanted}"


def _not_there(policy: MetricsPolicy, part: str, labels: Labels) -> str:
    there = ", ".join(labels.found) or "none"
    return f"the counter has no label {policy.labels[part]}; its labels: {there}"


def route_values(
    readings: Sequence[Reading], policy: MetricsPolicy, where: Mapping[str, str], labels: Labels
) -> list[str] | None:
    """Return every value of the route label, as it stands on the pages; None where there is no such label."""
    name = labels.names.get("route") or policy.labels.get("route", "route")
    if name not in labels.found:
        return None
    found = {one.labels.get(name, "") for page in readings for one in counters(page.samples, policy, where)}
    return sorted(found)


def judge_raw_paths(
    values: Sequence[str] | None, operations: Mapping[str, Route], sent_ids: Mapping[str, Collection[str]]
) -> Finding:
    """Return `mon.raw_path_label`: FAIL where two ids of one route make two series. One id alone proves nothing."""
    rule = "mon.raw_path_label"
    if values is None:
        return Finding(rule, Outcome.SKIPPED, "the counter has no route label")
    by_template: dict[str, list[str]] = {}
    for value in values:
        if template := _template(value, operations, sent_ids):
            by_template.setdefault(template, []).append(value)
    raw = max(by_template.items(), key=lambda item: len(item[1]), default=("", []))
    if len(raw[1]) >= 2:
        return Finding(
            rule,
            Outcome.FAIL,
            f"{len(raw[1])} series are there for the one route {raw[0]}: a label holds raw paths, without bound",
            len(values),
            shown=tuple(raw[1][:_SHOWN]),
            look_at="the middleware that labels by request path instead of by the matched route",
            figures={"series": len(raw[1])},
        )
    if raw[1]:
        says = f"{raw[1][0]!r} may be a raw path of {raw[0]}: only one id was seen, two are needed to tell"
        return Finding(rule, Outcome.INCONCLUSIVE, says, 1, 2, shown=tuple(raw[1]))
    most = max((len(set(ids)) for ids in sent_ids.values()), default=2)
    if most < 2:
        says = f"{most} ids were sent in paths of one route, so that raw paths in labels would not be seen"
        return Finding(rule, Outcome.INCONCLUSIVE, says, most, 2)
    return held(rule, f"{len(values)} routes are labelled, none by a raw path", examined=len(values))


def _template(value: str, operations: Mapping[str, Route], sent_ids: Mapping[str, Collection[str]]) -> str:
    """Return the route of which a label value is a raw path, or nothing."""
    for name, route in operations.items():
        if is_raw(value, route.route, frozenset(sent_ids.get(name, ()))):
            return route.route
    template = "/".join("{id}" if ID_SEGMENT.fullmatch(part) else part for part in value.split("/"))
    return template if template != value else ""


def judge_others(
    labels: Labels,
    elsewhere: Mapping[Key, int],
    lines: Sequence[KeyCounts],
    policy: MetricsPolicy,
    foreign: Foreign,
) -> Finding:
    """Return `mon.foreign`: which requests were counted that are certainly not ours, for their routes are not ours."""
    rule = "mon.foreign"
    if "route" not in labels.names:
        return Finding(rule, Outcome.SKIPPED, "without a route label, requests of others can't be told from ours")
    others = sorted(((count, key) for key, count in elsewhere.items()), reverse=True)
    count, ours = sum(n for n, _ in others), sum(line.counted for line in lines)
    shown = tuple(f"{' '.join(key)}: {n}" for n, key in others[:_SHOWN])
    says = f"{count} requests were counted on routes that are none of ours, beside {ours} on ours"
    figures: dict[str, int | float | str] = {"foreign": count, "ours": ours}
    unsure = not foreign.exclusive and foreign.quiet is None and count > max(ours, 1) * policy.error_bound
    outcome = Outcome.INCONCLUSIVE if unsure and ours else Outcome.PASS
    if outcome is Outcome.INCONCLUSIVE:
        says += ": others use the target, so a missing count may be hidden by theirs"
    return Finding(rule, outcome, says, max(1, ours), shown=shown, figures=figures)


def judge_uncounted(labels: Labels, diff: CounterDiff, routes: Sequence[str]) -> list[Finding]:
    """Return `mon.health_counted_as_traffic` for routes that must not be counted; nothing where there are none."""
    rule = "mon.health_counted_as_traffic"
    if not routes:
        return []
    if not {"route"} & (labels.names.keys() | labels.unfit.keys()):
        says = "the counter has no route label, so that health checks can't be told from traffic"
        return [Finding(rule, Outcome.INCONCLUSIVE, says, 0, len(routes))]
    shapes = {canonical(route) for route in routes}
    seen = [(key, n) for key, n in sorted(diff.increments.items()) if n and key[0] and canonical(key[0]) in shapes]
    if seen:
        says = f"{sum(n for _, n in seen)} requests to {seen[0][0][0]} are counted as traffic"
        shown = tuple(f"{' '.join(key)}: {n}" for key, n in seen[:_SHOWN])
        return [Finding(rule, Outcome.FAIL, says, len(seen), shown=shown, look_at=_LOOK)]
    return [held(rule, "health checks are not counted as traffic", examined=len(routes))]


def judge_succeeded(history: History, operations: Iterable[str], rows: NDArray[np.int64] | None = None) -> Finding:
    """Return `mon.succeeded`: what share of the answers was a success; counts of failures alone prove little.

    INCONCLUSIVE where more than half of the operations never succeeded. Never FAIL: the counters can't help it.
    """
    rule = "mon.succeeded"
    frame = history.frame if rows is None else history.frame[rows]
    counts = (
        frame.lazy()
        .filter(pl.col("ending") == int(Ending.ANSWERED), pl.col("operation").cast(pl.String).is_in(list(operations)))
        .group_by(pl.col("operation").cast(pl.String), "status")
        .len()
        .sort("operation", "status")
        .collect()
    )
    answers: dict[str, int] = {}
    good: dict[str, int] = {}
    statuses: dict[int, int] = {}
    for operation, status, count in counts.iter_rows():
        answers[operation] = answers.get(operation, 0) + count
        good[operation] = good.get(operation, 0) + (count if 200 <= status < 400 else 0)
        statuses[status] = statuses.get(status, 0) + count
    total, served = sum(answers.values()), sum(good.values())
    never = [name for name, count in sorted(answers.items()) if count >= _LEAST_ANSWERS and not good[name]]
    seen = ", ".join(f"{count} × {status}" for status, count in sorted(statuses.items()))
    says = f"{served} of {total} answers were a success"
    if total and (not served or 2 * len(never) > len(answers)):
        says += f" ({seen}); never one of {', '.join(never) or 'any operation'}: check users.login and the operations"
        return Finding(rule, Outcome.INCONCLUSIVE, says, served, max(1, total // 2))
    return held(rule, says, examined=served, succeeded=served, answered=total)


def judge_told_apart(labels: Labels, lines: Sequence[KeyCounts]) -> Finding:
    """Return `mon.told_apart`: INCONCLUSIVE where two routes were answered alike, so that a swap would not be seen."""
    rule = "mon.told_apart"
    if "route" not in labels.names:
        return Finding(rule, Outcome.SKIPPED, "the counter has no route label")
    answers: dict[tuple[str, str], dict[str, int]] = {}
    for line in lines:
        if line.span.surely:
            answers.setdefault(line.key[:2], {})[line.key[2]] = line.span.surely
    alike: dict[tuple[tuple[str, int], ...], list[str]] = {}
    for (route, method), counts in sorted(answers.items()):
        alike.setdefault(tuple(sorted(counts.items())), []).append(f"{method} {route}".strip())
    same = next((names for names in alike.values() if len(names) > 1), None)
    if same:
        says = f"{' and '.join(same)} were answered equally often: swapped labels would not be seen"
        return Finding(rule, Outcome.INCONCLUSIVE, says, len(alike), len(answers))
    return held(rule, f"{len(answers)} routes were each answered another number of times", examined=len(answers))

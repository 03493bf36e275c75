"""Judges a latency histogram by what it must hold: one observation a request, none slower than the client saw."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from proofload.core.units import NS_PER_SECOND, format_duration
from proofload.judge.latency.percentiles import percentile_ns
from proofload.judge.reconcile.duration_sum import Observed, judge_sum
from proofload.judge.reconcile.labels import canonical
from proofload.judge.verdict import Finding, Outcome, held
from proofload.record.exchange import Ending
from proofload.record.history import History
from proofload.record.ledger import Reading, Sample

_SETTLES_NS = NS_PER_SECOND
_LEAST = 20


def judge_histogram(
    name: str,
    history: History,
    before: Reading,
    after: Reading,
    *,
    rows: NDArray[np.int64],
    where: Mapping[str, str],
    exclusive: bool,
    error_bound: float = 0.01,
    settles_ns: int = _SETTLES_NS,
) -> list[Finding]:
    """Return `mon.histogram_count_differs`, `.histogram_in_milliseconds` and `.histogram_sum_wrong` for `name`.

    It is a histogram of seconds. `rows` are the exchanges that the series with the labels `where` observe; a label of
    these that no series has is summed over, and then others may be among the observations. What the target measured of
    a request is part of what its client waited, so for every bucket edge no more of its observations may lie above than
    of ours: that is the bucket that must contain a percentile, for every percentile at once.
    """
    for reading in (before, after):
        if reading.error:
            return [Finding("mon.histogram_count_differs", Outcome.INCONCLUSIVE, f"unread: {reading.error}")]
    sides = [_series(reading, name) for reading in (before, after)]
    absent = [label for label in where if not any(label in sample.labels for side in sides for sample in side)]
    wanted = {label: value for label, value in where.items() if label not in absent}
    first, last = ([sample for sample in side if _bears(sample.labels, wanted)] for side in sides)
    if problem := _not_found(name, sides[-1], last, where):
        return [Finding("mon.histogram_count_differs", Outcome.INCONCLUSIVE, problem)]
    exclusive = exclusive and not absent
    ours = _observed(history, rows, before, after, settles_ns)
    counted = round(sum(_increments(name + "_count", first, last, edge=False).values()))
    edges = {edge: round(count) for edge, count in _increments(name + "_bucket", first, last, edge=True).items()}
    findings = [_count(name, ours.surely, ours.maybe, counted, exclusive, error_bound)]
    if edges and findings[0].outcome is not Outcome.FAIL:
        # With too many or too few observations, there may be more or fewer of them above any edge.
        findings.append(_slower(name, ours.service, ours.maybe, edges, exclusive))
    if all(finding.outcome is not Outcome.FAIL for finding in findings):
        sums = _increments(name + "_sum", first, last, edge=False)
        findings.append(judge_sum(name, sums.get(0.0), counted, edges, ours, exclusive=exclusive))
    return findings


def _observed(history: History, rows: NDArray[np.int64], before: Reading, after: Reading, settles_ns: int) -> Observed:
    endings = history.numbers("ending")[rows]
    sent, done = history.numbers("sent_ns")[rows], history.numbers("done_ns")[rows]
    answered = endings == Ending.ANSWERED
    surely = answered & (sent >= before.answered_ns) & (done + settles_ns <= after.asked_ns)
    unknown = (endings == Ending.UNKNOWN) & (sent <= after.answered_ns)
    perhaps = answered & ~surely & (sent <= after.answered_ns)
    maybe = int((perhaps | unknown).sum())
    waited = int((done - sent)[surely | perhaps].sum())
    return Observed(int(surely.sum()), maybe, int(unknown.sum()), np.sort((done - sent)[surely]), waited)


def _not_found(name: str, series: Sequence[Sample], chosen: Sequence[Sample], where: Mapping[str, str]) -> str:
    labels = ", ".join(f"{label}={value}" for label, value in sorted(where.items()))
    if not series:
        return f"there is no histogram {name} on the metrics page: check policies.metrics.durations"
    if not chosen:
        shown = ", ".join(sorted({str(sample.labels.get(label)) for sample in series for label in where})[:5])
        return f"no series of {name} bears {labels}; found: {shown}: check policies.metrics.labels"
    return ""


def _bears(labels: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    return all(label in labels and _alike(labels[label], value) for label, value in wanted.items())


def _alike(found: str, wanted: str) -> bool:
    if "/" in wanted:
        return canonical(found) == canonical(wanted)
    return found.casefold() == wanted.casefold()


def _series(reading: Reading, name: str) -> list[Sample]:
    names = {f"{name}_count", f"{name}_bucket", f"{name}_sum"}
    return [sample for sample in reading.samples if sample.name in names and math.isfinite(sample.value)]


def bucket_of(edges: Mapping[float, int], per_mille: int) -> tuple[float, float]:
    """Return the edges in seconds of the bucket that holds a percentile; `edges` are cumulative counts by upper edge.

    >>> bucket_of({0.1: 50, 0.5: 99, math.inf: 100}, 990)
    (0.1, 0.5)
    """
    ordered = sorted(edges)
    rank = max(1, -(-edges[ordered[-1]] * per_mille // 1000))
    low = 0.0
    for edge in ordered:
        if edges[edge] >= rank:
            return low, edge
        low = edge
    return low, math.inf


def _count(name: str, surely: int, maybe: int, counted: int, exclusive: bool, error_bound: float) -> Finding:
    rule = "mon.histogram_count_differs"
    says = f"{name} holds {counted} observations of {surely} answered requests"
    off = surely - counted if counted < surely else max(0, counted - surely - maybe)
    if off > error_bound * max(1, surely):
        sure = counted < surely or exclusive
        look_at = "the timer that observes the duration: on every way out, once a request"
        outcome = Outcome.FAIL if sure else Outcome.INCONCLUSIVE
        return Finding(rule, outcome, says, surely, _LEAST, look_at=look_at, figures={"off": off})
    return held(rule, says, examined=surely, needed=_LEAST, off=off)


def _slower(name: str, service: NDArray[np.int64], maybe: int, edges: Mapping[float, int], exclusive: bool) -> Finding:
    rule = "mon.histogram_in_milliseconds"
    total = max(edges.values())
    for edge in sorted(edges):
        if math.isinf(edge):
            continue
        above = total - edges[edge]
        ours = len(service) - int(np.searchsorted(service, edge * NS_PER_SECOND, side="right"))
        if above > ours + maybe and (exclusive or above > 2 * (ours + maybe) + _LEAST):
            says = (
                f"{name} holds {above} observations above {edge:g} s, but only {ours} answers took the client as long"
            )
            return Finding(
                rule,
                Outcome.FAIL if exclusive else Outcome.INCONCLUSIVE,
                says,
                len(service),
                _LEAST,
                shown=_percentiles(service, edges),
                look_at="the unit in which durations are observed: seconds are expected",
                figures={"above": above, "ours": ours, "edge_seconds": edge},
            )
    says = f"{name} holds no observation slower than its client saw"
    return held(rule, says, examined=len(service), needed=_LEAST)


def _percentiles(service: NDArray[np.int64], edges: Mapping[float, int]) -> tuple[str, ...]:
    lines: list[str] = []
    for per_mille in (500, 900, 990):
        low, high = bucket_of(edges, per_mille)
        seen = format_duration(percentile_ns(service, per_mille)) if len(service) else "nothing"
        lines.append(f"p{per_mille / 10:g}: the bucket {low:g} to {high:g} s, the client saw {seen}")
    return tuple(lines)


def _increments(name: str, before: Sequence[Sample], after: Sequence[Sample], *, edge: bool) -> dict[float, float]:
    found: dict[float, float] = {}
    for sign, samples in ((-1, before), (1, after)):
        for sample in samples:
            if sample.name != name or (edge and not _is_number(sample.labels.get("le", ""))):
                continue
            at = float(sample.labels["le"]) if edge else 0.0
            found[at] = found.get(at, 0) + sign * sample.value
    return found


def _is_number(text: str) -> bool:
    try:
        return not math.isnan(float(text))
    except ValueError:
        return False


def edges_of(readings: Sequence[Reading], name: str, where: Mapping[str, str]) -> dict[float, int]:
    """Return the cumulative bucket counts of a histogram between the first and the last reading, by upper edge."""
    first, last = (
        [sample for sample in reading.of(name + "_bucket", where) if math.isfinite(sample.value)]
        for reading in (readings[0], readings[-1])
    )
    return {at: round(count) for at, count in _increments(name + "_bucket", first, last, edge=True).items()}

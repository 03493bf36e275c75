"""What the gateway adds to the time of its services, by their own histograms of the same requests."""

from __future__ import annotations

from dataclasses import dataclass

from proofload.core.units import NS_PER_SECOND, format_duration
from proofload.judge.reconcile.histogram import bucket_of, edges_of
from proofload.judge.verdict import Finding, Outcome, held
from proofload.record.ledger import Ledgers, Reading

ROUTING = "lat.routing_overhead"
_LEAST = 100
_PER_MILLES = (900, 990)


@dataclass(frozen=True, slots=True)
class Passage:
    """One operation on its way: how it shows in the histograms of the gateway and of its service."""

    operation: str
    service: str
    labels: tuple[tuple[str, str], ...]
    sent: int
    """Requests of it that were answered between the readings."""


def judge_routing(
    ledgers: Ledgers, histogram: str, passage: Passage, *, gateway: str, promised_ns: int | None
) -> Finding:
    """Return the mean time that the gateway adds to an operation, and where its P90 and P99 lie on both sides.

    Sums and counts of both histograms are compared between the readings `before` and `after`; they must hold the same
    requests, ours and nobody else's. A percentile of a difference can't be had from two histograms: those of both sides
    are told by their buckets.
    """
    sides = [_between(ledgers, source) for source in (gateway, passage.service)]
    if sides[0] is None or sides[1] is None:
        return Finding(ROUTING, Outcome.INCONCLUSIVE, f"{passage.operation}: the histograms could not be read twice")
    labels = dict(passage.labels)
    told, means = [], []
    for name, readings in zip((gateway, passage.service), (sides[0], sides[1]), strict=True):
        count, total_s = (_increment(readings, f"{histogram}_{what}", labels) for what in ("count", "sum"))
        if count != passage.sent or count < _LEAST:
            says = f"{passage.operation}: {name} observed {count:.0f} requests and {passage.sent} were sent"
            return Finding(ROUTING, Outcome.INCONCLUSIVE, says, int(count), _LEAST)
        means.append(total_s / count)
        edges = edges_of(readings, histogram, labels)
        told += [f"{name}: mean {total_s / count * 1000:.2f} ms", *_percentiles(name, edges)]
    added_ns = round((means[0] - means[1]) * NS_PER_SECOND)
    figures: dict[str, int | float | str] = {
        "operation": passage.operation,
        "added_ns": added_ns,
        "service_ns": round(means[1] * NS_PER_SECOND),
    }
    says = f"{passage.operation}: the gateway adds {format_duration(max(0, added_ns))} in the mean"
    if promised_ns is not None and added_ns > promised_ns:
        says += f", {format_duration(promised_ns)} are promised"
        look = "what each request passes on its way: stores that are asked one after the other, connections made anew"
        return Finding(
            ROUTING, Outcome.FAIL, says, passage.sent, _LEAST, shown=tuple(told), look_at=look, figures=figures
        )
    passed = held(ROUTING, says, examined=passage.sent, needed=_LEAST, **figures)
    return Finding(
        passed.rule, passed.outcome, passed.says, passed.examined, passed.needed, (), tuple(told), "", figures
    )


def _between(ledgers: Ledgers, source: str) -> list[Reading] | None:
    readings = [ledgers.reading(label, source) for label in ("before", "after")]
    found = [one for one in readings if one is not None and not one.error]
    return found if len(found) == len(readings) else None


def _increment(readings: list[Reading], name: str, labels: dict[str, str]) -> float:
    return readings[-1].total(name, labels) - readings[0].total(name, labels)


def _percentiles(name: str, edges: dict[float, int]) -> list[str]:
    if not edges or max(edges.values()) == 0:
        return []
    lines = []
    for per_mille in _PER_MILLES:
        low, high = bucket_of(edges, per_mille)
        lines.append(f"{name}: p{per_mille / 10:g} between {low * 1000:g} and {high * 1000:g} ms")
    return lines

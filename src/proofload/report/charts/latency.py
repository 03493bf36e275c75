"""Latency: percentile curves, how it is spread, and how it went over time; beside a baseline where there is one."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from proofload.core.units import format_duration
from proofload.judge.evidence import Evidence
from proofload.judge.latency.samples import Samples, gather
from proofload.report.charts.axes import Scale, legend, short, time_axis, value_axis
from proofload.report.charts.picture import Picture
from proofload.report.charts.svg import WIDTH, Svg, width_of

_LEFT, _RIGHT, _TOP, _HEIGHT = 64, 24, 40, 230
_PER_MILLES = (0, 250, 500, 750, 900, 950, 990, 995, 999, 1000)
_TOLD = {500: "p50", 900: "p90", 950: "p95", 990: "p99", 999: "p99.9"}
_MOST_SERIES = 8
_SLICES, _BINS, _GAP = 60, 48, 3


def latency(evidence: Evidence) -> list[Picture]:
    """Return the curves, the spread and the course in time of the operations that were sampled most."""
    everything = [one for one in gather(evidence.history) if len(one) >= 2]
    some = sorted(everything, key=len, reverse=True)[:_MOST_SERIES]
    if not some:
        return []
    some.sort(key=lambda one: one.name)
    return [_curves(some, len(everything)), _spread(some), _course(some)]


def curves_beside(
    before: Sequence[tuple[str, NDArray[np.int64]]], after: Sequence[tuple[str, NDArray[np.int64]]]
) -> Picture:
    """Return percentile curves of the same operations before (dashed) and after."""
    lines = [(name, values, f"line-{i}", False) for i, (name, values) in enumerate(after[:_MOST_SERIES])]
    looks = {name: look for name, _, look, _ in lines}
    lines += [(name, values, looks[name] + " dashed", True) for name, values in before if name in looks]
    return _plot("Percentiles, before and after", lines, "Dashed is the baseline, solid is now.")


def _curves(some: list[Samples], total: int) -> Picture:
    lines = [(one.name, one.response_ns, f"line-{i}", False) for i, one in enumerate(some)]
    left_out = f" Of {total} the {len(some)} with the most samples are drawn." if total > len(some) else ""
    caption = (
        "Each curve reads: this share of the requests was answered within this time, counted from when each was due, "
        "so a request that had to wait for its turn is not forgiven its wait." + left_out
    )
    return _plot("Percentiles by operation", lines, caption)


def _plot(title: str, lines: Sequence[tuple[str, NDArray[np.int64], str, bool]], caption: str) -> Picture:
    every = [np.sort(values) for _, values, _, _ in lines]
    low = max(1.0, min(float(values[0]) for values in every))
    high = max(float(values[-1]) for values in every)
    svg = Svg(_TOP + _HEIGHT + 40, f"{title}: " + "; ".join(_in_words(name, values) for name, values, _, _ in lines))
    y = Scale(low * 0.9, high * 1.1, _TOP + _HEIGHT, _TOP, log=True)
    # Each nine takes the same room, so the tail is not squeezed into the edge.
    x = Scale(0, 3.5, _LEFT, WIDTH - _RIGHT)
    value_axis(svg, y, _LEFT, WIDTH - _RIGHT, lambda value: format_duration(round(value)), 6)
    for per_mille, name in _TOLD.items():
        at = x(_nines(per_mille))
        svg.line(at, _TOP, at, _TOP + _HEIGHT, "guide")
        svg.text(at, _TOP + _HEIGHT + 16, name, "tick", "middle")
    legend_at: list[tuple[str, str]] = []
    table = []
    for (name, _, look, is_before), values in zip(lines, every, strict=True):
        shares = [share / 200 for share in range(701) if _rank(values, share / 200) < len(values)]
        svg.path([(x(share), y(float(values[_rank(values, share)]))) for share in shares], f"curve {look}", name)
        if not is_before:
            legend_at.append((look.replace("line", "swatch"), short(name, 20)))
        told = [format_duration(int(values[_index(values, per_mille)])) for per_mille in _TOLD]
        table.append(
            (f"{name} before" if is_before else name, f"{len(values):,}", *told, format_duration(int(values[-1])))
        )
    legend(svg, _LEFT, 16, legend_at)
    return Picture(title, svg.markup(), caption, ("operation", "samples", *_TOLD.values(), "max"), tuple(table))


def _spread(some: list[Samples]) -> Picture:
    """Return one row of bars for each operation: how many answers took how long."""
    every = np.concatenate([one.response_ns for one in some]).astype(np.float64)
    low, high = max(1.0, float(every.min())), max(2.0, float(every.max()))
    edges = np.geomspace(low * 0.99, high * 1.01, _BINS + 1)
    left, lane = min(max(width_of(one.name) for one in some), 170) + 14, 46
    bottom = 18 + lane * len(some)
    svg = Svg(
        bottom + 26,
        "how the answers of each operation are spread: "
        + "; ".join(_in_words(one.name, one.response_ns) for one in some),
    )
    x = Scale(low, high, left, WIDTH - _RIGHT, log=True)
    _decade_axis(svg, x, 8, bottom)
    for at, one in enumerate(some):
        counts, _ = np.histogram(one.response_ns, edges)
        base = 18 + lane * at + lane - 8
        svg.text(left - 10, base - 6, short(one.name), "label", "end")
        peak = max(int(counts.max()), 1)
        for b in np.flatnonzero(counts):
            height = max(1.5, (lane - 12) * counts[b] / peak)
            told = f"{counts[b]} between {format_duration(round(edges[b]))} and {format_duration(round(edges[b + 1]))}"
            svg.rect(
                x(edges[b]), base - height, max(1.0, x(edges[b + 1]) - x(edges[b]) - 1), height, f"fill-{at}", told
            )
        svg.line(left, base, WIDTH - _RIGHT, base, "axis")
    caption = "How many answers took how long, each operation by its own height. Two humps mean two kinds of answers."
    return Picture("Distribution", svg.markup(), caption)


def _decade_axis(svg: Svg, x: Scale, top: float, bottom: float) -> None:
    last = -math.inf
    for power in range(12):
        for factor in (1, 2, 5):
            tick = factor * 10.0**power
            if x.low <= tick <= x.high and x(tick) - last > 56:
                last = x(tick)
                svg.line(last, top, last, bottom, "guide")
                svg.text(last, bottom + 16, format_duration(round(tick)), "tick", "middle")


def _course(some: list[Samples]) -> Picture:
    """Return the median and the slowest of each slice of time, by operation."""
    zero = min(int(one.due_ns.min()) for one in some)
    span = max(int(one.due_ns.max()) for one in some) - zero or 1
    high = max(float(one.response_ns.max()) for one in some)
    low = max(1.0, min(float(one.response_ns.min()) for one in some))
    svg = Svg(_TOP + _HEIGHT + 34, "median and slowest answer over time")
    x = Scale(0, span * 1.01, _LEFT, WIDTH - _RIGHT)
    y = Scale(low * 0.9, high * 1.1, _TOP + _HEIGHT, _TOP, log=True)
    value_axis(svg, y, _LEFT, WIDTH - _RIGHT, lambda value: format_duration(round(value)))
    time_axis(svg, x, _TOP, _TOP + _HEIGHT)
    legend(svg, _LEFT, 16, [(f"swatch-{i}", short(one.name, 20)) for i, one in enumerate(some)])
    for i, one in enumerate(some):
        which = np.minimum((one.due_ns - zero) * _SLICES // (span + 1), _SLICES - 1)
        median: list[tuple[float, float]] = []
        last = 0
        for part in np.unique(which):
            if part - last > _GAP:
                # A line over a time without requests would tell of what nobody measured.
                svg.path(median, f"curve line-{i}", one.name)
                median = []
            last = int(part)
            values = one.response_ns[which == part]
            at = x((int(part) + 0.5) * span / _SLICES)
            slowest = float(values.max())
            median.append((at, y(float(np.median(values)))))
            usual = format_duration(int(np.median(values)))
            told = f"{one.name}: {len(values)} answers, median {usual}, slowest {format_duration(int(slowest))}"
            svg.dot(at, y(slowest), 2.6, f"fill-{i}", told)
        svg.path(median, f"curve line-{i}", one.name)
    return Picture("Over time", svg.markup(), "Lines are the medians of slices of the run, dots their slowest answers.")


def _nines(per_mille: float) -> float:
    """Return how many nines a percentile has: p90 is 1, p99 is 2."""
    return -math.log10(max(1 - per_mille / 1000, 10**-3.5))


def _rank(values: NDArray[np.int64], nines: float) -> int:
    rank = math.ceil((1 - 10**-nines) * len(values))
    return max(rank - 1, 0)


def _index(values: NDArray[np.int64], per_mille: int) -> int:
    return max(-(-len(values) * per_mille // 1000) - 1, 0)


def _in_words(name: str, values: NDArray[np.int64]) -> str:
    ordered = np.sort(values)
    told = [f"{_TOLD[one]} {format_duration(int(ordered[_index(ordered, one)]))}" for one in (500, 990)]
    return f"{name}: {', '.join(told)}"

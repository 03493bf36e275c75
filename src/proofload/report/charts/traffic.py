"""What a case sent, step by step over time, and how it was answered; and load offered against good answers."""

from __future__ import annotations

import numpy as np
import polars as pl

from proofload.core.units import NS_PER_SECOND, format_duration
from proofload.judge.evidence import Evidence
from proofload.record.exchange import Ending
from proofload.record.fault_edge import spans
from proofload.report.charts.axes import Scale, lane_names, legend, short, time_axis, value_axis
from proofload.report.charts.picture import Picture
from proofload.report.charts.svg import WIDTH, Svg

_RIGHT, _TOP, _LANE = 60, 40, 26
_BINS = 150
_MOST_LANES = 14
_KINDS = (
    ("served", "mark-good"),
    ("refused (429, 503)", "mark-warn"),
    ("other 4xx", "mark-calm"),
    ("other 5xx", "mark-bad"),
    ("no answer", "mark-none"),
)


def traffic(evidence: Evidence) -> list[Picture]:
    """Return every step of a case as a lane: how much was sent when, and how it was answered."""
    history = evidence.history
    if not len(history):
        return []
    sent = history.numbers("intended_ns")
    zero = min(evidence.anchor.monotonic_ns, int(sent.min()))
    span = max(int(max(sent.max(), history.numbers("done_ns").max())) - zero, 1)
    kinds, steps = _kinds(evidence), _steps(evidence)
    names = list(dict.fromkeys(steps))
    shown, left_out = names[:_MOST_LANES], len(names) - _MOST_LANES
    codes = {name: i for i, name in enumerate(names)}
    lanes = np.fromiter((codes[step] for step in steps), dtype=np.int64, count=len(steps))
    bins = np.minimum((sent - zero) * _BINS // (span + 1), _BINS - 1).astype(np.int64)
    left = lane_names(shown)
    bottom = _TOP + len(shown) * _LANE
    svg = Svg(bottom + 34, f"{len(history)} requests in {len(names)} steps over {format_duration(span)}")
    x = Scale(0, span, left, WIDTH - _RIGHT)
    for fault in spans(evidence.edges):
        from_x = x(fault.narrow_from_ns - zero)
        svg.rect(
            from_x,
            _TOP - 4,
            x(fault.narrow_to_ns - zero) - from_x,
            bottom - _TOP + 4,
            "shade",
            f"{fault.fault}: surely held",
        )
    time_axis(svg, x, _TOP, bottom)
    legend(svg, left, 16, [(look, name) for i, (name, look) in enumerate(_KINDS) if bool((kinds == i).any())])
    for lane, name in enumerate(shown):
        mine = lanes == lane
        _lane(svg, x, _TOP + lane * _LANE, name, left, np.stack([bins[mine], kinds[mine]]), span)
    more = f" {left_out} more steps are not drawn." if left_out > 0 else ""
    caption = f"Each line is a step of the case; the height is how many requests were due then.{more}"
    return [Picture("What was sent", svg.markup(), caption)]


def _lane(
    svg: Svg,
    x: Scale,
    y: float,
    name: str,
    left: float,
    of_lane: np.ndarray[tuple[int, ...], np.dtype[np.int64]],
    span: int,
) -> None:
    svg.text(left - 10, y + _LANE - 9, short(name), "label", "end")
    svg.line(left, y + _LANE - 4, WIDTH - _RIGHT, y + _LANE - 4, "axis")
    cells = np.zeros((_BINS, len(_KINDS)), dtype=np.int64)
    np.add.at(cells, (of_lane[0], of_lane[1]), 1)
    peak = max(int(cells.sum(axis=1).max()), 1)
    width = x(span / _BINS) - x(0)
    for at in np.flatnonzero(cells.sum(axis=1)):
        base = y + _LANE - 4
        told = ", ".join(f"{cells[at, i]} {_KINDS[i][0]}" for i in np.flatnonzero(cells[at]))
        for i in np.flatnonzero(cells[at]):
            height = max(2.0, (_LANE - 8) * cells[at, i] / peak)
            base -= height
            svg.rect(x(at * span / _BINS), base, max(width - 0.4, 2.0), height, _KINDS[i][1], told)
    svg.text(WIDTH - _RIGHT + 8, y + _LANE - 6, f"{int(cells.sum()):,}", "tick")


def _kinds(evidence: Evidence) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    status = evidence.history.numbers("status").astype(np.int64)
    answered = evidence.history.numbers("ending") == Ending.ANSWERED
    kinds = np.full(len(status), 4, dtype=np.int64)
    kinds[answered] = 0
    kinds[answered & (status >= 400)] = 2
    kinds[answered & (status >= 500)] = 3
    kinds[answered & np.isin(status, (429, 503))] = 1
    return kinds


def _steps(evidence: Evidence) -> list[str]:
    """Return each request's step, by its name without the case and without the number that parts repetitions."""
    names = evidence.history.frame["workload"].cast(pl.String)
    return names.str.replace(r"^[^/]*/", "").str.replace(r" \d+$", "").to_list()


def overload(evidence: Evidence) -> list[Picture]:
    """Return load offered against good answers, second by second, for a case that goes beyond capacity."""
    policy = evidence.target.policies.overload
    history = evidence.history
    if policy is None or not len(history):
        return []
    rows = history.rows_where(pl.col("operation").cast(pl.String) == policy.operation)
    if len(rows) < 2:
        return []
    due = history.numbers("intended_ns")[rows]
    zero, span = int(due.min()), int(due.max() - due.min()) or 1
    width = max(NS_PER_SECOND // 2, span // 160)
    slots = (due - zero) // width
    count = int(slots.max()) + 1
    good = (history.numbers("ending")[rows] == Ending.ANSWERED) & (history.numbers("status")[rows] < 400)
    offered = np.bincount(slots, minlength=count) * (NS_PER_SECOND / width)
    served = np.bincount(slots[good], minlength=count) * (NS_PER_SECOND / width)
    svg = Svg(304, f"up to {offered.max():.0f} requests a second offered, up to {served.max():.0f} answered well")
    x, y = Scale(0, count * width, 64, WIDTH - 24), Scale(0, float(offered.max()) * 1.08, 264, 40)
    value_axis(svg, y, 64, WIDTH - 24, lambda value: f"{value:.0f}/s")
    time_axis(svg, x, 40, 264)
    legend(svg, 64, 16, [("mark-none", "offered"), ("mark-good", "answered well")])
    middle = [(i + 0.5) * width for i in range(count)]
    svg.path(
        [
            (x(0), y(0)),
            *((x(at), y(float(value))) for at, value in zip(middle, served, strict=True)),
            (x(x.high), y(0)),
        ],
        "area-good",
        closed=True,
    )
    svg.path([(x(at), y(float(value))) for at, value in zip(middle, offered, strict=True)], "curve offered", "offered")
    svg.path(
        [(x(at), y(float(value))) for at, value in zip(middle, served, strict=True)], "curve line-2", "answered well"
    )
    caption = "Beyond capacity the lines part: what matters is that good answers keep their height and come back after."
    return [Picture("Offered load and goodput", svg.markup(), caption)]

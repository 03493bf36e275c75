"""A rate limit's window: every request as the interval in which it was decided, climbing towards the limit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from proofload.core.units import format_duration
from proofload.judge.evidence import Evidence
from proofload.judge.verdict import Finding
from proofload.plan.policies import RateLimitPolicy
from proofload.record.exchange import Ending
from proofload.report.charts.axes import Scale, legend, time_axis, value_axis
from proofload.report.charts.picture import Picture
from proofload.report.charts.svg import WIDTH, Svg

_LEFT, _RIGHT, _TOP = 52, 24, 44
_HEIGHT, _LANE = 270, 26
_MOST_BARS = 700
_LEAST_BAR = 2.2


@dataclass(frozen=True, slots=True)
class _Scene:
    """The requests of the picture, ascending by when they were sent; times from the first of them."""

    row: NDArray[np.int64]
    sent: NDArray[np.int64]
    done: NDArray[np.int64]
    status: NDArray[np.int64]
    admitted: NDArray[np.bool_]
    rejected: NDArray[np.bool_]
    key: str


def rate_window(evidence: Evidence, finding: Finding | None) -> list[Picture]:
    """Return the window that a finding is about, or the fullest one where there is none."""
    policy = _policy(evidence)
    if policy is None:
        return []
    rows = np.asarray(finding.rows if finding and finding.rows else _fullest(evidence, policy), dtype=np.int64)
    rows = rows[rows < len(evidence.history)]
    if not len(rows):
        return []
    scene = _scene(evidence, policy, rows)
    return [_draw(scene, policy, set(finding.rows) if finding else set(), finding)]


def _policy(evidence: Evidence) -> RateLimitPolicy | None:
    for policy in evidence.target.policies.rate_limit:
        # A case about a service's own limit sends that limit's probe; any other is about the first.
        if policy.service is not None and "RL-004" in evidence.case:
            return policy
    limits = evidence.target.policies.rate_limit
    return limits[0] if limits else None


def _fullest(evidence: Evidence, policy: RateLimitPolicy) -> NDArray[np.int64]:
    """Return the rows of the step with the most rejections."""
    frame = evidence.history.frame.lazy().with_row_index("row").filter(pl.col("status") == policy.status)
    found = frame.group_by(pl.col("workload").cast(pl.String)).len().sort("len", "workload").collect()
    if not found.height:
        return np.zeros(0, dtype=np.int64)
    return evidence.history.of_workloads(found["workload"][-1])


def _scene(evidence: Evidence, policy: RateLimitPolicy, rows: NDArray[np.int64]) -> _Scene:
    history = evidence.history
    sent, done = history.numbers("sent_ns"), history.numbers("done_ns")
    chosen = history.frame[rows]
    workloads, sources = chosen["workload"].cast(pl.String).unique(), chosen["source"].cast(pl.String).unique()
    beside = history.rows_where(
        pl.col("workload").cast(pl.String).is_in(workloads.to_list()),
        pl.col("source").cast(pl.String).is_in(sources.to_list()),
    )
    first, last = int(sent[rows].min()), int(done[rows].max())
    margin = max((last - first) // 12, 1)
    near = beside[(sent[beside] >= first) & (sent[beside] <= last + margin)]
    kept = np.union1d(near, rows)
    kept = kept[(sent[kept] >= 0) & (done[kept] >= sent[kept])]
    kept = kept[np.argsort(sent[kept], kind="stable")]
    status = history.numbers("status")[kept].astype(np.int64)
    answered = history.numbers("ending")[kept] == Ending.ANSWERED
    rejected = answered & (status == policy.status)
    zero = int(sent[kept].min())
    return _Scene(
        kept,
        sent[kept] - zero,
        done[kept] - zero,
        status,
        answered & ~rejected & (status < 500),
        rejected,
        ", ".join(sources.sort().to_list()[:3]),
    )


def _draw(scene: _Scene, policy: RateLimitPolicy, shown: set[int], finding: Finding | None) -> Picture:
    counts = np.cumsum(scene.admitted)
    total = int(counts[-1])
    bottom = _TOP + _HEIGHT
    said = f"{total} admitted and {int(scene.rejected.sum())} rejected of {scene.key or 'one client'}"
    svg = Svg(bottom + _LANE + 46, f"{said}; the limit is {policy.limit} in {format_duration(policy.window)}")
    x = Scale(0, float(max(scene.done.max(), 1)) * 1.02, _LEFT, WIDTH - _RIGHT)
    y = Scale(0, max(total, policy.limit) * 1.12, bottom, _TOP)
    window_end = float(policy.window)
    svg.rect(x(0), _TOP, x(min(window_end, x.high)) - x(0), _HEIGHT, "band")
    legend(
        svg,
        _LEFT,
        16,
        [
            ("mark-good", "admitted"),
            ("mark-bad", "beyond the limit"),
            ("mark-warn", "rejected"),
            ("mark-none", "no answer"),
        ],
    )
    value_axis(svg, y, _LEFT, WIDTH - _RIGHT, lambda value: f"{value:.0f}")
    time_axis(svg, x, _TOP, bottom + _LANE)
    for i in _thinned(len(scene.row), scene, shown):
        _bar(svg, scene, i, x, y, int(counts[i]), policy.limit, shown, bottom)
    svg.line(_LEFT, y(policy.limit), WIDTH - _RIGHT, y(policy.limit), "limit")
    svg.text(_LEFT + 6, y(policy.limit) - 6, f"limit {policy.limit}", "label strong")
    if window_end >= x.high:
        svg.text(
            WIDTH - _RIGHT - 8, bottom - 8, f"all inside one window of {format_duration(policy.window)}", "tick", "end"
        )
    else:
        svg.line(x(window_end), _TOP, x(window_end), bottom + _LANE, "edge")
        svg.text(x(window_end) - 6, _TOP + 14, f"the window of {format_duration(policy.window)} ends", "tick", "end")
    svg.text(_LEFT - 8, bottom + _LANE - 8, "rejected", "tick", "end")
    caption = (
        "Each bar is one request, from when it was sent to when it was answered: the gateway decided somewhere inside. "
        "Its height is how many had been admitted by then"
        + ("; red bars are the ones beyond the limit." if finding and total > policy.limit else ".")
    )
    title = "The window, request by request" if finding else "The fullest window, request by request"
    return Picture(title, svg.markup(), caption)


def _bar(
    svg: Svg, scene: _Scene, i: int, x: Scale, y: Scale, count: int, limit: int, shown: set[int], bottom: float
) -> None:
    row, from_ns, to_ns = int(scene.row[i]), int(scene.sent[i]), int(scene.done[i])
    width = max(x(to_ns) - x(from_ns), _LEAST_BAR)
    tip = f"row {row}: sent +{format_duration(from_ns)}, {scene.status[i] or 'no answer'} at +{format_duration(to_ns)}"
    if scene.admitted[i]:
        over = count > limit
        svg.rect(x(from_ns), y(count) - 1.5, width, 4 if over else 2.4, "mark-bad" if over else "mark-good", tip)
        if over and row in shown:
            at_right = x(from_ns) > WIDTH / 2
            svg.text(
                x(from_ns) - 8 if at_right else x(from_ns) + width + 8,
                y(count) - 5,
                f"number {count}: row {row}, answered {scene.status[i]}",
                "label bad",
                "end" if at_right else "start",
            )
        return
    wrong = row in shown and scene.rejected[i]
    look = "mark-bad" if wrong else "mark-warn" if scene.rejected[i] else "mark-none"
    svg.rect(x(from_ns), bottom + 8, width, _LANE - 14, look, tip)


def _thinned(count: int, scene: _Scene, shown: set[int]) -> NDArray[np.int64]:
    """Return which requests are drawn: all of few, an even choice of many, and always those that decide it."""
    everyone = np.arange(count)
    if count <= _MOST_BARS:
        return everyone
    even = np.linspace(0, count - 1, _MOST_BARS).astype(np.int64)
    named = everyone[np.isin(scene.row, sorted(shown)[-_MOST_BARS:])]
    return np.union1d(even, named)

"""Operations of one user that ran at once, as bars: from when each was sent to when it was answered."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from proofload.core.units import format_duration
from proofload.judge.evidence import Evidence
from proofload.judge.verdict import Finding
from proofload.record.exchange import Ending
from proofload.report.charts.axes import Scale, lane_names, legend, short, time_axis
from proofload.report.charts.picture import Picture
from proofload.report.charts.svg import WIDTH, Svg

_TOP, _RIGHT = 40, 150
_LANE = 20
_MOST_LANES = 28


def contention(evidence: Evidence, finding: Finding | None) -> list[Picture]:
    """Return the burst that a finding is about with its rows in red, or the first burst where there is none."""
    rows = _rows(evidence, finding)
    if not len(rows):
        return []
    history = evidence.history
    shown = set(finding.rows) if finding else set()
    sent, done = history.numbers("sent_ns"), history.numbers("done_ns")
    rows = rows[(sent[rows] >= 0) & (done[rows] >= sent[rows])]
    rows = rows[np.lexsort((sent[rows], ~np.isin(rows, sorted(shown))))][:_MOST_LANES]
    rows = rows[np.argsort(sent[rows], kind="stable")]
    if not len(rows):
        return []
    zero = int(sent[rows].min())
    names = [
        f"row {row} {name}" for row, name in zip(rows, history.frame["operation"].cast(pl.String)[rows], strict=True)
    ]
    left = lane_names(names)
    bottom = _TOP + len(rows) * _LANE
    svg = Svg(
        bottom + 34, f"{len(rows)} operations of one user at once, {len(shown & set(rows.tolist()))} of them in red"
    )
    x = Scale(0, float(max(int(done[rows].max()) - zero, 1)) * 1.02, left, WIDTH - _RIGHT)
    time_axis(svg, x, _TOP, bottom)
    legend(
        svg,
        left,
        16,
        [
            ("mark-bad", "the counterexample"),
            ("mark-good", "done"),
            ("mark-warn", "refused"),
            ("mark-none", "no answer"),
        ]
        if shown
        else [("mark-good", "done"), ("mark-warn", "refused"), ("mark-none", "no answer")],
    )
    for lane, row in enumerate(rows):
        y = _TOP + lane * _LANE + 3
        look, told = _fate(evidence, int(row))
        red = int(row) in shown
        from_ns, to_ns = int(sent[row]) - zero, int(done[row]) - zero
        tip = f"row {row}: sent +{format_duration(from_ns)}, {told} at +{format_duration(to_ns)}"
        svg.text(left - 10, y + 11, short(names[lane]), "label strong" if red else "label", "end")
        svg.rect(x(from_ns), y, x(to_ns) - x(from_ns), 14, "mark-bad" if red else look, tip, 2)
        svg.text(x(to_ns) + 8, y + 11, told, "label bad" if red else "tick")
    caption = (
        "Each bar is one operation, from when it was sent to when it was answered; it took effect somewhere inside. "
        + (
            "The red ones are the counterexample: no order of them explains what was answered."
            if shown
            else "One holds the lock at a time; the others are refused or wait."
        )
    )
    return [Picture("Operations at once", svg.markup(), caption)]


def _rows(evidence: Evidence, finding: Finding | None) -> NDArray[np.int64]:
    """Return the rows of the finding and those of the same users in the same steps, or the first burst."""
    history = evidence.history
    if finding is not None and finding.rows:
        named = history.frame[[row for row in finding.rows if row < len(history)]]
        steps = named["workload"].cast(pl.String).unique().to_list()
        users = named["user"].unique().to_list()
        return history.rows_where(
            pl.col("workload").cast(pl.String).is_in(steps), pl.col("user").is_in(users) | pl.lit(len(users) > 1)
        )
    bursts = [name for name in history.frame["workload"].cast(pl.String).unique(maintain_order=True) if "burst" in name]
    return history.of_workloads(bursts[0]) if bursts else np.zeros(0, dtype=np.int64)


def _fate(evidence: Evidence, row: int) -> tuple[str, str]:
    history = evidence.history
    ending, status = Ending(int(history.numbers("ending")[row])), int(history.numbers("status")[row])
    if ending is not Ending.ANSWERED:
        return "mark-none", ending.name.lower().replace("_", " ")
    return ("mark-good" if status < 400 else "mark-warn"), f"answered {status}"

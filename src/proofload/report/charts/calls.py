"""Calls of a circuit one by one: who answered each, and where the circuit had to open."""

from __future__ import annotations

import numpy as np

from proofload.core.units import format_duration
from proofload.judge.breaker.calls import CallKind, Calls
from proofload.plan.policies import CircuitBreakerPolicy
from proofload.report.charts.axes import legend
from proofload.report.charts.picture import Picture
from proofload.report.charts.svg import WIDTH, Svg

LOOKS = {
    CallKind.SUCCESS: "mark-good",
    CallKind.FAILURE: "mark-bad",
    CallKind.REJECTED: "mark-warn",
    CallKind.NEUTRAL: "mark-calm",
    CallKind.UNSURE: "mark-none",
}
TOLD = {
    CallKind.SUCCESS: "served",
    CallKind.FAILURE: "failed",
    CallKind.REJECTED: "rejected by the circuit",
    CallKind.NEUTRAL: "client's own fault",
    CallKind.UNSURE: "no answer",
}
_CELL, _LINE, _TOP = 40, 52, 40
_BEFORE, _AFTER, _MOST = 3, 8, 63


def call_by_call(policy: CircuitBreakerPolicy, calls: Calls, shown: set[int]) -> Picture:
    """Return the calls around those that a finding names, as cells in the order of their sending."""
    named = np.flatnonzero(np.isin(calls.row, sorted(shown)))
    first = max(0, int(named[0]) - _BEFORE) if len(named) else 0
    last = min(len(calls), (int(named[-1]) if len(named) else 0) + 1 + _AFTER, first + _MOST)
    per_line = WIDTH // _CELL
    lines = -(-(last - first) // per_line)
    svg = Svg(_TOP + lines * _LINE + 4, "; ".join(_word(calls, i) for i in range(first, last)))
    legend(svg, 0, 16, [(LOOKS[kind], TOLD[kind]) for kind in TOLD if bool(calls.of(kind)[first:last].any())])
    in_a_row = _failures_before(calls, first)
    for at, i in enumerate(range(first, last)):
        x, y = (at % per_line) * _CELL, _TOP + (at // per_line) * _LINE
        kind = CallKind(int(calls.kind[i]))
        svg.rect(x + 1, y, _CELL - 3, 28, LOOKS[kind], _word(calls, i), 4)
        svg.text(
            x + _CELL / 2,
            y + 18,
            str(calls.status[i] or "none"),
            "on-warn" if kind is CallKind.REJECTED else "on-mark",
            "middle",
        )
        is_named = int(calls.row[i]) in shown
        svg.text(x + _CELL / 2, y + 41, f"#{calls.row[i]}", "tick strong" if is_named else "tick", "middle")
        in_a_row = in_a_row + 1 if kind is CallKind.FAILURE else 0 if kind is CallKind.SUCCESS else in_a_row
        if policy.ratio is None and kind is CallKind.FAILURE and in_a_row == policy.failures:
            svg.rect(x + _CELL - 2, y - 6, 3, 40, "must")
            svg.text(x + _CELL + 4, y - 9, "must be open from here", "label strong")
    caption = (
        f"Each cell is a call, in the order in which they were sent, with its answer and its row; the rows in bold are "
        f"the finding's. {policy.failures} failures in a row must open the circuit."
    )
    return Picture("Call by call", svg.markup(), caption)


def _failures_before(calls: Calls, first: int) -> int:
    count = 0
    for i in range(first - 1, -1, -1):
        if CallKind(int(calls.kind[i])) is not CallKind.FAILURE:
            break
        count += 1
    return count


def _word(calls: Calls, i: int) -> str:
    kind = CallKind(int(calls.kind[i]))
    status = calls.status[i] or "no status"
    return f"row {calls.row[i]}: {status} after {format_duration(int(calls.took_ns[i]))}, {TOLD[kind]}"

"""The run as a picture: which case ran when, what it waited for, and when silence was kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from proofload.core.units import format_duration
from proofload.judge.verdict import Outcome
from proofload.report.charts.axes import Scale, lane_names, legend, time_axis
from proofload.report.charts.picture import Picture
from proofload.report.charts.svg import WIDTH, Svg, width_of

_TOP, _RIGHT, _LANE = 40, 24, 26
_LOOKS = {
    Outcome.PASS: "mark-good",
    Outcome.FAIL: "mark-bad",
    Outcome.INCONCLUSIVE: "mark-warn",
    Outcome.ERROR: "mark-other",
    Outcome.SKIPPED: "mark-none",
}


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of a case's time, and what it did in it."""

    what: str
    from_ns: int
    to_ns: int


@dataclass(frozen=True, slots=True)
class Turn:
    """One case's place in the run; times are from the run's beginning. `to_ns` equal to `from_ns`: it never ran."""

    case: str
    outcome: Outcome
    from_ns: int
    to_ns: int
    phases: tuple[Phase, ...] = ()
    silences: tuple[tuple[int, int], ...] = ()
    """When no other case sent, so that what the target counted was this case's alone."""


def schedule(turns: Sequence[Turn]) -> Picture | None:
    """Return the run's cases as bars over time."""
    ran = sorted((turn for turn in turns if turn.to_ns > turn.from_ns), key=lambda turn: (turn.from_ns, turn.case))
    if not ran:
        return None
    total = max(turn.to_ns for turn in ran)
    alone = sum(turn.to_ns - turn.from_ns for turn in ran)
    left = lane_names([turn.case for turn in ran])
    bottom = _TOP + len(ran) * _LANE
    svg = Svg(
        bottom + 34,
        f"{len(ran)} cases in {format_duration(total)}; their times add up to {format_duration(alone)}",
    )
    x = Scale(0, total * 1.01, left, WIDTH - _RIGHT)
    present = [outcome for outcome in _LOOKS if any(turn.outcome is outcome for turn in ran)]
    entries = [(_LOOKS[outcome], outcome.name) for outcome in present]
    entries += [("silence", "silence kept for it")] if any(turn.silences for turn in ran) else []
    legend(svg, left, 16, entries)
    time_axis(svg, x, _TOP, bottom, signed=False)
    for lane, turn in enumerate(ran):
        _turn(svg, x, _TOP + lane * _LANE, left, turn)
    caption = (
        f"{len(ran)} cases took {format_duration(total)} side by side; added up, waits included, their times make "
        f"{format_duration(alone)}. "
        if len(ran) > 1
        else ""
    ) + "Notches part what a case did; point at one to read it."
    head = ("case", "verdict", "began", "took", "longest part")
    return Picture("The schedule", svg.markup(), caption, head, tuple(_row(turn) for turn in ran))


def _turn(svg: Svg, x: Scale, y: float, left: float, turn: Turn) -> None:
    svg.text(left - 10, y + 15, turn.case, "label", "end")
    from_x, to_x = x(turn.from_ns), x(turn.to_ns)
    took = format_duration(turn.to_ns - turn.from_ns)
    svg.rect(from_x, y + 4, to_x - from_x, 16, _LOOKS[turn.outcome], f"{turn.case} {turn.outcome.name}: {took}", 3)
    for phase in turn.phases:
        told = f"{phase.what} ({format_duration(phase.to_ns - phase.from_ns)})"
        if x(phase.to_ns) - x(phase.from_ns) >= 1:
            svg.rect(x(phase.from_ns), y + 4, x(phase.to_ns) - x(phase.from_ns), 16, "see-through", told)
            if phase.from_ns > turn.from_ns:
                svg.line(x(phase.from_ns), y + 4, x(phase.from_ns), y + 20, "notch")
    for from_ns, to_ns in turn.silences:
        svg.rect(x(from_ns), y + 21, x(to_ns) - x(from_ns), 3, "silence", f"silence kept for {turn.case}")
    if to_x - from_x > width_of(took) + 12:
        svg.text(to_x - 6, y + 16, took, "on-warn" if turn.outcome is Outcome.INCONCLUSIVE else "on-mark", "end")
    elif to_x + width_of(took) + 6 < WIDTH:
        svg.text(to_x + 6, y + 16, took, "tick")


def _row(turn: Turn) -> tuple[str, ...]:
    longest = max(turn.phases, key=lambda phase: phase.to_ns - phase.from_ns, default=None)
    told = f"{longest.what}, {format_duration(longest.to_ns - longest.from_ns)}" if longest else ""
    return (
        turn.case,
        turn.outcome.name,
        f"+{format_duration(turn.from_ns)}",
        format_duration(turn.to_ns - turn.from_ns),
        told,
    )

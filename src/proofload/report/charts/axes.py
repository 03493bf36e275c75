"""Scales and axes: from values to places in a picture, with ticks where a person would put them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from proofload.core.units import NS_PER_SECOND
from proofload.report.charts.svg import Svg, width_of

_UNITS = ((60 * NS_PER_SECOND, "min"), (NS_PER_SECOND, "s"), (1_000_000, "ms"), (1_000, "µs"), (1, "ns"))
_MOST_LANE_NAME = 26


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps [low, high] to [start, end]; a scale of logarithms where asked for."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Return the place of a value; one beyond the ends is put at the end."""
        low, high, at = self.low, self.high, min(max(value, self.low), self.high)
        if self.log:
            low, high, at = math.log(max(low, 1e-9)), math.log(max(high, 1e-9)), math.log(max(at, 1e-9))
        share = (at - low) / (high - low) if high > low else 0.0
        return self.start + share * (self.end - self.start)


def steps(low: float, high: float, most: int = 8) -> list[float]:
    """Return round values inside [low, high], at the most about `most`.

    >>> steps(0, 100, 5)
    [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]
    """
    span = high - low
    if span <= 0:
        return [low]
    rough = span / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next((power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999), power * 10)
    first = math.ceil(low / step - 1e-9)
    return [number * step for number in range(first, math.floor(high / step + 1e-9) + 1)]


def decades(low: float, high: float) -> list[float]:
    """Return 1, 2 and 5 times powers of ten inside [low, high].

    >>> decades(3, 60)
    [5.0, 10.0, 20.0, 50.0]
    """
    found = [
        factor * 10.0**power
        for power in range(math.floor(math.log10(max(low, 1e-9))), math.ceil(math.log10(max(high, 1e-9))) + 1)
        for factor in (1, 2, 5)
    ]
    return [value for value in found if low <= value <= high]


def duration_label(span_ns: float) -> Callable[[float], str]:
    """Return how instants of a span of this length are labelled, all in one unit.

    >>> duration_label(5e9)(2.5e9), duration_label(3e6)(2e6)
    ('2.5 s', '2 ms')
    """
    size, name = next((unit for unit in _UNITS if span_ns >= 1.5 * unit[0]), _UNITS[-1])
    if name == "min" and span_ns < 5 * size:
        size, name = _UNITS[1]
    return lambda value: f"{value / size:.6g} {name}"


def time_axis(svg: Svg, x: Scale, top: float, bottom: float, *, signed: bool = True) -> None:
    """Draw vertical guides with times below them; the scale is in nanoseconds from the picture's zero."""
    label = duration_label(x.high - x.low)
    sign = "+" if signed else ""
    for tick in steps(x.low, x.high, 8):
        svg.line(x(tick), top, x(tick), bottom, "guide")
        text = "0" if tick == 0 else f"{sign if tick > 0 else ''}{label(tick)}"
        # A label at the very edge would be cut off.
        svg.text(min(x(tick), svg.width - width_of(text) / 2), bottom + 15, text, "tick", "middle")


def value_axis(svg: Svg, y: Scale, left: float, right: float, label: Callable[[float], str], most: int = 5) -> None:
    """Draw horizontal guides with values to their left."""
    ticks = decades(y.low, y.high) if y.log else steps(y.low, y.high, most)
    last = math.inf
    for tick in ticks:
        if abs(y(tick) - last) < 14:
            continue
        last = y(tick)
        svg.line(left, y(tick), right, y(tick), "guide")
        svg.text(left - 8, y(tick) + 4, label(tick), "tick", "end")


def lane_names(names: list[str]) -> float:
    """Return how much room names at the left of lanes need."""
    return min(max((width_of(name) for name in names), default=0), _MOST_LANE_NAME * 7.0) + 14


def short(name: str, most: int = _MOST_LANE_NAME) -> str:
    """Return a name that fits beside a lane."""
    return name if len(name) <= most else name[: most - 1] + "…"


def legend(svg: Svg, x: float, y: float, entries: list[tuple[str, str]]) -> None:
    """Draw a line of swatches, each with what it stands for."""
    for look, text in entries:
        svg.rect(x, y - 9, 14, 10, look, radius=2)
        svg.text(x + 19, y, text, "tick")
        x += 19 + width_of(text) + 18

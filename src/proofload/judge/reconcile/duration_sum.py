"""Judges the sum of a duration histogram: not above what all clients waited, and what its own buckets allow."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from proofload.core.units import NS_PER_SECOND
from proofload.judge.verdict import Finding, Outcome, held

_LEAST = 20
_COARSE_S = 0.001
"""A target may keep whole milliseconds, rounded up."""
_SLACK = 0.01
"""How far apart two clocks may run, and the sum of many small numbers may drift."""
_LOOK = "what is added to the sum: the observed duration, once, in seconds"


@dataclass(frozen=True, slots=True)
class Observed:
    """What the client knows of the requests that a histogram observed between two readings."""

    surely: int
    maybe: int
    """Answered or not, in flight at a reading."""
    unanswered: int
    service: NDArray[np.int64]
    """How long each that was surely observed took, in nanoseconds, in order."""
    waited_ns: int
    """How long all that may have been observed took, without the unanswered ones."""


def judge_sum(
    name: str,
    total_s: float | None,
    counted: int,
    edges: Mapping[float, int],
    ours: Observed,
    *,
    exclusive: bool,
) -> Finding:
    """Return `mon.histogram_sum_wrong` for the rise of `name`_sum by `total_s`, over `counted` observations.

    FAIL where it is more than the clients waited in all, or lies outside of what the buckets allow. Both only where the
    observations are surely all ours, and no request was in flight.

    >>> ours = Observed(20, 0, 0, np.array([]), 20 * 5_000_000)
    >>> [judge_sum("d", total, 20, {}, ours, exclusive=True).outcome.name for total in (0.09, 90.0, 0.0)]
    ['PASS', 'FAIL', 'INCONCLUSIVE']
    """
    rule = "mon.histogram_sum_wrong"
    if total_s is None:
        return Finding(rule, Outcome.SKIPPED, f"there is no {name}_sum")
    waited_s = ours.waited_ns / NS_PER_SECOND
    low, high = _allowed(edges)
    says = f"{name}_sum rose by {total_s:g} s over {counted} observations; the clients waited {waited_s:g} s in all"
    figures: dict[str, int | float | str] = {"sum_seconds": total_s, "waited_seconds": waited_s}
    settled = counted >= _LEAST and not ours.maybe and (exclusive or counted == ours.surely)
    above = total_s > (1 + _SLACK) * waited_s + _COARSE_S * counted
    outside = bool(edges) and not (1 - _SLACK) * low <= total_s <= (1 + _SLACK) * high
    if settled and (above or outside):
        if outside:
            says += f", and the buckets allow {low:g} to {high:g} s"
        return Finding(rule, Outcome.FAIL, says, counted, _LEAST, look_at=_LOOK, figures=figures)
    if total_s <= 0 and counted:
        says += ": nothing is added, or durations are cut to whole units"
        return Finding(rule, Outcome.INCONCLUSIVE, says, counted, _LEAST, look_at=_LOOK, figures=figures)
    if not settled and (above or outside):
        says += ": requests of others, or in flight, may explain it"
        return Finding(rule, Outcome.INCONCLUSIVE, says, counted, _LEAST, figures=figures)
    return held(rule, says, examined=counted, needed=_LEAST, **figures)


def _allowed(edges: Mapping[float, int]) -> tuple[float, float]:
    """Return the least and the greatest sum that cumulative counts by upper edge allow."""
    low = high = edge_below = 0.0
    below = 0
    for edge in sorted(edges):
        inside = max(0, edges[edge] - below)
        low += inside * max(0.0, edge_below)
        high += inside * edge if inside else 0.0
        edge_below, below = (0.0 if math.isinf(edge) else edge), edges[edge]
    return low, high

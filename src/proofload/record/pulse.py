"""How a case's load stands at an instant: for people who watch, never for a verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from proofload.record.histogram import DelayHistogram


@dataclass(frozen=True, slots=True)
class Pulse:
    """Totals since the case began; two of them tell what happened between."""

    planned: int = 0
    """Requests that were due so far: what was intended."""
    sent: int = 0
    unanswered: int = 0
    """Sent without an answer, or never sent because no connection was to be had."""
    by_class: Mapping[int, int] = field(default_factory=dict)
    """Answers by the first digit of their status."""
    good: DelayHistogram = field(default_factory=DelayHistogram)
    """Response times, from when each was due, of answers with a status below 400."""
    faults: tuple[str, ...] = ()
    """The faults in force, as far as we put them there."""

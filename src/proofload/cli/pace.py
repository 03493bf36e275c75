"""How long the reference system's windows and open times are: the true length, or a short one that is owned up to."""

from __future__ import annotations

import enum

from proofload.core.errors import PlanError, Problem
from proofload.core.units import NS_PER_SECOND, parse_duration_ns

_TRUE = "60s"
_FAST = "5s"


class Pace(enum.StrEnum):
    """Whether windows last as long as the policies of the mission say."""

    TRUE = "true"
    FAST = "fast"


def window_of(pace: Pace, window: str | None) -> str:
    """Return the window in seconds, as the reference system's settings take it. Raises PlanError for a wrong one."""
    text = window or (_FAST if pace is Pace.FAST else _TRUE)
    try:
        seconds = parse_duration_ns(text) / NS_PER_SECOND
    except ValueError as error:
        raise PlanError([Problem("--window", repr(text), str(error))]) from None
    if not 0.1 <= seconds <= 3_600:
        raise PlanError([Problem("--window", repr(text), "between 100ms and 1h")])
    return f"{seconds:g}"


def notes_of(window: str) -> list[str]:
    """Return what has to be said beside the verdicts of a run with this window."""
    if f"{window}s" == _TRUE:
        return []
    return [f"the rate-limit window and the open time of breakers were {window}s, not the true {_TRUE}"]

"""Stages as people write them: `0→500/s in 10s, hold 30s, →0 in 5s`."""

from __future__ import annotations

import re
from fractions import Fraction

from proofload.core.units import parse_duration_ns
from proofload.plan.workload import Stage

_GOAL = re.compile(
    r"(?:(?P<start>[\d.]+)\s*(?:→|->)|→|->|to\b)?\s*(?P<goal>[\d.]+)\s*(?P<unit>/\s*s|users?)?\s+in\s+(?P<time>.+)"
)
_HOLD = re.compile(r"hold\s+(?:for\s+)?(?P<time>.+)")
EXPECTED = "stages such as '0→500/s in 10s, hold 30s, →0 in 5s', or '20 users in 10s, hold 1m'"


def parse_stages(text: str) -> tuple[bool, Fraction, tuple[Stage, ...]]:
    """Return whether the stages are of a rate (else of users), the level they start from, and the stages.

    Raises ValueError with what was expected.

    >>> parse_stages("0→500/s in 10s, hold 30s")[0]
    True
    >>> [int(stage.to) for stage in parse_stages("5 users in 1s, hold 2s, 0 in 1s")[2]]
    [5, 5, 0]
    """
    start, level = Fraction(0), Fraction(0)
    units: set[str] = set()
    stages: list[Stage] = []
    for place, part in enumerate(text.split(",")):
        hold = _HOLD.fullmatch(part.strip())
        goal = _GOAL.fullmatch(part.strip())
        if hold is None and goal is None:
            raise ValueError(EXPECTED)
        if goal is not None:
            level = _number(goal["goal"])
            units.add("rate" if (goal["unit"] or "").startswith("/") else "users" if goal["unit"] else "")
            if goal["start"] is not None:
                if place:
                    raise ValueError(EXPECTED)
                start = _number(goal["start"])
        found = hold or goal
        assert found is not None
        stages.append(Stage(parse_duration_ns(found["time"]), level))
    named = units - {""}
    if len(named) > 1:
        raise ValueError(EXPECTED)
    return named != {"users"}, start, tuple(stages)


def _number(text: str) -> Fraction:
    try:
        return Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise ValueError(EXPECTED) from None

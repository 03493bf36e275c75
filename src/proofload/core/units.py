"""Durations, rates and sizes as people write them, turned into whole numbers, and back."""

from __future__ import annotations

import re
from fractions import Fraction

NS_PER_SECOND = 1_000_000_000
NS_PER_MS = 1_000_000

_NS_PER_UNIT = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "ms": 1_000_000,
    "s": NS_PER_SECOND,
    "m": 60 * NS_PER_SECOND,
    "min": 60 * NS_PER_SECOND,
    "h": 3_600 * NS_PER_SECOND,
    "d": 86_400 * NS_PER_SECOND,
}
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ns|us|µs|ms|min|s|m|h|d)")
_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:/|per)\s*(s|sec|second|m|min|minute|h|hour)")
_MAX_DIGITS = 18


def parse_duration_ns(text: str) -> int:
    """Return a duration such as `60s`, `1m30s` or `250ms` in nanoseconds.

    Raises ValueError, with what was expected, for anything else; fractions are exact.

    >>> parse_duration_ns("1m30s")
    90000000000
    >>> parse_duration_ns("0.25s")
    250000000
    """
    rest = text.strip()
    total = Fraction(0)
    if not rest or len(rest) > 4 * _MAX_DIGITS:
        raise ValueError("a duration such as 60s, 250ms or 1m30s")
    while rest:
        part = _DURATION_PART.match(rest)
        if part is None or len(part[1]) > _MAX_DIGITS:
            raise ValueError("a duration such as 60s, 250ms or 1m30s")
        total += Fraction(part[1]) * _NS_PER_UNIT[part[2]]
        rest = rest[part.end() :].lstrip()
    return round(total)


def format_duration(duration_ns: int) -> str:
    """Return a duration as a person would say it, to three significant figures below a minute.

    >>> [format_duration(n) for n in (0, 850, 42_000, 1_500_000, 60_000_000_000, 90_000_000_000)]
    ['0s', '850ns', '42µs', '1.5ms', '60s', '1m30s']
    """
    if duration_ns < 0:
        return "-" + format_duration(-duration_ns)
    if duration_ns == 0:
        return "0s"
    # 60 s is a window as people name it; beyond it minutes read better.
    if duration_ns > 60 * NS_PER_SECOND:
        seconds = round(duration_ns / NS_PER_SECOND)
        hours, seconds = divmod(seconds, 3_600)
        minutes, seconds = divmod(seconds, 60)
        return "".join(f"{count}{unit}" for count, unit in ((hours, "h"), (minutes, "m"), (seconds, "s")) if count)
    for unit in ("s", "ms", "µs"):
        # 0.9995 ms would read as 1e+03µs: what rounds up to the next unit is told in that unit.
        if duration_ns * 10_000 >= _NS_PER_UNIT[unit] * 9_995:
            return f"{duration_ns / _NS_PER_UNIT[unit]:.3g}{unit}"
    return f"{duration_ns}ns"


def parse_rate_per_second(text: str) -> Fraction:
    """Return a rate such as `500/s`, `100/min` or `2 per hour` in events per second, exactly.

    >>> parse_rate_per_second("90/min")
    Fraction(3, 2)
    """
    rate = _RATE.fullmatch(text.strip())
    if rate is None or len(rate[1]) > _MAX_DIGITS:
        raise ValueError("a rate such as 500/s or 100/min")
    return Fraction(rate[1]) * NS_PER_SECOND / _NS_PER_UNIT[rate[2][0]]

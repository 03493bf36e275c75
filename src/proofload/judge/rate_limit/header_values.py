"""What the values of limit headers mean, in every form that servers write them. The one place that reads them.

Times come as seconds, decimals, milliseconds, durations, HTTP dates (RFC 9110, 5.6.7) or ISO 8601; numbers may have the
policy appended (`100, 100;window=60`, the older IETF draft).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from email.utils import parsedate_to_datetime
from typing import Literal

from proofload.core.clock import Anchor
from proofload.core.units import NS_PER_MS, NS_PER_SECOND, parse_duration_ns
from proofload.plan.policies import ResetUnit

Unit = Literal["epoch_seconds", "epoch_milliseconds", "delta_seconds", "http_date", "iso8601"]

UNIT_NAMES: dict[Unit, str] = {
    "epoch_seconds": "epoch seconds",
    "epoch_milliseconds": "epoch milliseconds",
    "delta_seconds": "a delay in seconds",
    "http_date": "an HTTP date",
    "iso8601": "an ISO 8601 time",
}

_MOST_TEXT = 80
_MOST_NS = 2**62
"""What lies beyond is told as this: it is no truer, and it would not fit in 64 bits."""
_LEAST_EPOCH_S, _LEAST_EPOCH_MS = 500_000_000, 100_000_000_000
"""Numbers between: 1985 to 5138 as epoch seconds, 16 years on as a delay. From there on: milliseconds since 1973."""
_MOST_RETRY_NS = 10**9 * NS_PER_SECOND
"""Thirty years: beyond it a delay is no delay."""

_NUMBER = re.compile(r'\s*"?([+-]?\d{1,18}(?:\.\d{0,18})?)"?\s*(?:[,;].*)?', re.DOTALL | re.ASCII)
_WINDOW = re.compile(r"(\d{1,9})\s*;\s*(?:w|window)\s*=\s*(\d{1,9})", re.ASCII)
_WEEKDAY = re.compile(r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*,?\s")
_JAVASCRIPT_DATE = re.compile(r"\w{3} (\w{3}) (\d\d) (\d{4}) (\d\d:\d\d:\d\d) GMT([+-]\d{4})(?: \(.*\))?")
_ISO = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?)\s*(Z|z|[+-]\d\d:?\d\d)?(?: UTC)?", re.ASCII
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class HeaderTime:
    """What a header says of time: a delay from the answer on, or an instant of the wall clock."""

    ns: int
    is_wall: bool
    unit: Unit

    def instant_ns(self, answered_ns: int, anchor: Anchor) -> int:
        """Return the monotonic instant that it means on an answer that came back at `answered_ns`."""
        return anchor.to_monotonic_ns(self.ns) if self.is_wall else answered_ns + self.ns


def read_time(text: str, unit: ResetUnit = "auto") -> HeaderTime | None:
    """Return what a text says in a unit, None where it can't be that; `auto` is whichever unit it is unambiguously in.

    >>> read_time("1795818093.680", "epoch_seconds")
    HeaderTime(ns=1795818093680000000, is_wall=True, unit='epoch_seconds')
    >>> read_time("1m30s"), read_time("Thu, 01 Jan 1970 00:01:00 GMT", "delta_seconds")
    (HeaderTime(ns=90000000000, is_wall=False, unit='delta_seconds'), None)
    """
    if len(text) > _MOST_TEXT:
        return None
    if unit == "http_date":
        return _wall(_http_date_ns(text), unit)
    if unit == "iso8601":
        return _wall(_iso_ns(text), unit)
    number = read_number(text)
    if unit == "auto":
        return _only_reading(text, number)
    if number is not None:
        return _from_number(number, unit)
    return _from_duration(text) if unit == "delta_seconds" else None


def unit_of(text: str) -> Unit | None:
    """Return the unit that a text is unambiguously in, None where it is in none.

    >>> [unit_of(text) for text in ("0", "42.5", "1795818093", "1795818093680", "2026-11-27T20:00:00Z", "tomorrow")]
    ['delta_seconds', 'delta_seconds', 'epoch_seconds', 'epoch_milliseconds', 'iso8601', None]
    """
    found = read_time(text)
    return found.unit if found is not None else None


def read_retry_after(text: str) -> HeaderTime | None:
    """Return when a Retry-After says to come back: a number is always a delay there (RFC 9110, 10.2.3)."""
    number = read_number(text) if len(text) <= _MOST_TEXT else None
    found = read_time(text) if number is None else _from_number(number, "delta_seconds")
    if found is None or found.is_wall:
        return found
    return found if 0 <= found.ns < _MOST_RETRY_NS else None


def read_number(text: str) -> Decimal | None:
    """Return the number that a text begins with; a policy may follow it, after a comma or semicolon.

    >>> read_number("100, 100;window=60"), read_number('"7"'), read_number("ten")
    (Decimal('100'), Decimal('7'), None)
    """
    found = _NUMBER.fullmatch(text)
    try:
        return Decimal(found[1]) if found else None
    except InvalidOperation:
        return None


def read_whole(text: str) -> int | None:
    """Return the number that a text begins with, in whole ones: a share of a request is none.

    >>> read_whole("99.7"), read_whole("100;w=60"), read_whole("")
    (99, 100, None)
    """
    number = read_number(text)
    return None if number is None else int(number.to_integral_value(rounding="ROUND_FLOOR"))


def read_quotas(text: str) -> dict[int, int]:
    """Return the quotas that a text names by their windows, in seconds.

    >>> read_quotas("10, 10;w=1, 50;window=60;comment=x"), read_quotas("100")
    ({1: 10, 60: 50}, {})
    """
    return {int(window): int(quota) for quota, window in _WINDOW.findall(text)} if len(text) < 1_000 else {}


def limits_named(text: str, window_ns: int) -> Iterator[int]:
    """Yield the limits that a text may name for a window: the one bound to it, or else the number in front."""
    bound = read_quotas(text).get(window_ns // NS_PER_SECOND)
    if bound is not None:
        yield bound
        return
    number = read_number(text)
    if number is not None and number == int(number):
        yield int(number)


def _only_reading(text: str, number: Decimal | None) -> HeaderTime | None:
    if number is None:
        return _from_duration(text) or _wall(_http_date_ns(text), "http_date") or _wall(_iso_ns(text), "iso8601")
    if abs(number) < _LEAST_EPOCH_S:
        return _from_number(number, "delta_seconds")
    return _from_number(number, "epoch_seconds" if number < _LEAST_EPOCH_MS else "epoch_milliseconds")


def _from_number(number: Decimal, unit: Literal["epoch_seconds", "epoch_milliseconds", "delta_seconds"]) -> HeaderTime:
    # Decimals hold 28 digits: exact for all that is not cut off below.
    ns = int(number * (NS_PER_MS if unit == "epoch_milliseconds" else NS_PER_SECOND))
    return HeaderTime(max(-_MOST_NS, min(ns, _MOST_NS)), unit != "delta_seconds", unit)


def _from_duration(text: str) -> HeaderTime | None:
    try:
        return HeaderTime(min(parse_duration_ns(text), _MOST_NS), is_wall=False, unit="delta_seconds")
    except ValueError:
        return None


def _wall(ns: int | None, unit: Unit) -> HeaderTime | None:
    return None if ns is None else HeaderTime(max(-_MOST_NS, min(ns, _MOST_NS)), is_wall=True, unit=unit)


def _http_date_ns(text: str) -> int | None:
    """Return an HTTP date in any of its three forms, or as JavaScript writes one, in nanoseconds of the epoch."""
    plain = text.strip()
    if not _WEEKDAY.match(plain):
        return None
    spoken = _JAVASCRIPT_DATE.fullmatch(plain)
    if spoken:
        month, day, *rest = spoken.groups()
        plain = " ".join((day, month, *rest))
    try:
        return _epoch_ns(parsedate_to_datetime(plain))
    except (TypeError, ValueError, IndexError, OverflowError):
        return None


def _iso_ns(text: str) -> int | None:
    found = _ISO.fullmatch(text.strip())
    if found is None:
        return None
    day, time, zone = found.groups()
    try:
        return _epoch_ns(datetime.fromisoformat(f"{day}T{time}{(zone or 'Z').upper()}"))
    except (ValueError, OverflowError):
        return None


def _epoch_ns(moment: datetime) -> int:
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1_000

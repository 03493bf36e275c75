"""Turns the lines of `k6 run --out csv=FILE` into the points that its JSON output would hold, as far as CSV tells."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

HEAD = "metric_name,timestamp,metric_value,"
"""How the first line begins."""
_NOT_TAGS = frozenset({"metric_name", "timestamp", "metric_value", "extra_tags", "metadata"})
_SECONDS_DIGITS = 10


def points(lines: Iterable[str]) -> Iterator[tuple[int, str, dict[str, Any] | None]]:
    """Yield line number, metric and point for each line; the point is None where the line is torn.

    `K6_CSV_TIME_FORMAT` says how k6 writes instants: whole seconds unless told otherwise, and nothing finer can be made
    of them. Raises csv.Error where the text is no CSV.
    """
    reader = csv.reader(lines, strict=True)
    names = next(reader, [])
    for row in reader:
        if len(row) != len(names):
            yield reader.line_num, "", None
            continue
        told = dict(zip(names, row, strict=True))
        tags = {name: value for name, value in told.items() if value and name not in _NOT_TAGS}
        tags |= dict(parse_qsl(told.get("extra_tags", "")))
        yield reader.line_num, row[0], {"time": _stamp(row[1]), "value": told["metric_value"], "tags": tags}


def _stamp(text: str) -> str:
    """Return an instant as JSON has it, with no more digits than were written.

    >>> _stamp("1795734023"), _stamp("1795734023897"), _stamp("2026-11-26T23:00:23Z")
    ('2026-11-26T23:00:23Z', '2026-11-26T23:00:23.897Z', '2026-11-26T23:00:23Z')
    """
    if not (text.isascii() and text.isdecimal()) or len(text) < _SECONDS_DIGITS:
        return text
    whole, rest = text[:_SECONDS_DIGITS], text[_SECONDS_DIGITS:]
    at = datetime.fromtimestamp(int(whole), UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{at}.{rest}Z" if rest else f"{at}Z"

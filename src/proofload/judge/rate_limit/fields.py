"""The header fields that tell a client its allowance: `X-RateLimit-*`, the IETF draft's, and `Retry-After`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime

import numpy as np
import polars as pl

from proofload.core.units import NS_PER_SECOND
from proofload.judge.models.attempts import FAR_NS, Flags, Ints
from proofload.record.history import HEADER_PREFIX, History

_ITEM = re.compile(r'\s*(?:"((?:[^"\\]|\\.)*)"|([A-Za-z*][A-Za-z0-9_\-.:*/]*)|(-?\d+))\s*((?:;[^,]*)?)')


@dataclass(frozen=True, slots=True)
class Column:
    """One header over many rows."""

    name: str
    present: Flags
    whole: Flags
    """A mask of the rows on which it is there and a whole number."""
    values: Ints
    """The number, 0 where there is none."""

    def text(self, history: History, row: int) -> str:
        """Return the header as it stood on a row."""
        return str(history.frame[HEADER_PREFIX + self.name.lower()][row])


class Fields:
    """The header fields of one history as numbers; each is read once, for all rows."""

    __slots__ = ("_columns", "_history", "_retries")

    def __init__(self, history: History) -> None:
        self._history = history
        self._columns: dict[str, Column] = {}
        self._retries: dict[str, tuple[Flags, Ints, Ints]] = {}

    def column(self, name: str, rows: Ints) -> Column:
        """Return a header as whole numbers on some rows."""
        if name not in self._columns:
            self._columns[name] = _column(self._history, name, np.arange(len(self._history)))
        every = self._columns[name]
        return Column(name, every.present[rows], every.whole[rows], every.values[rows])

    def retry(self, name: str, rows: Ints) -> tuple[Flags, Ints, Ints]:
        """Return whether the field is present, its delay and its wall-clock time in ns, FAR_NS where not so given."""
        if name not in self._retries:
            self._retries[name] = _retry_column(self._history, name, np.arange(len(self._history)))
        present, delta, wall = self._retries[name]
        return present[rows], delta[rows], wall[rows]


def _column(history: History, name: str, rows: Ints) -> Column:
    """Return a header as whole numbers; what follows a comma or semicolon (`100, 100;w=60`) is left aside."""
    full = HEADER_PREFIX + name.lower()
    if full not in history.frame.columns:
        nothing = np.zeros(len(rows), dtype=np.bool_)
        return Column(name, nothing, nothing, np.zeros(len(rows), dtype=np.int64))
    texts = history.frame[full].gather(rows)
    numbers = texts.str.strip_chars().cast(pl.Int64, strict=False)
    if int((numbers.is_null() & texts.is_not_null()).sum()):
        # The older draft appends the policy to the number: `RateLimit-Limit: 100, 100;w=60`.
        first = texts.str.extract(r"^\s*([+-]?\d+)\s*(?:[,;].*)?$", 1).cast(pl.Int64, strict=False)
        numbers = pl.select(pl.coalesce(numbers, first)).to_series()
    whole = numbers.is_not_null().to_numpy()
    return Column(name, texts.is_not_null().to_numpy(), whole, numbers.fill_null(0).to_numpy().astype(np.int64))


def retry_after_ns(text: str) -> tuple[str, int] | None:
    """Return ("delta", ns) for seconds, ("wall", ns of the epoch) for an HTTP date, else None (RFC 9110, 10.2.3).

    >>> retry_after_ns("30"), retry_after_ns("Thu, 01 Jan 1970 00:01:00 GMT"), retry_after_ns("soon")
    (('delta', 30000000000), ('wall', 60000000000), None)
    """
    plain = text.strip()
    if plain.isascii() and plain.isdigit() and len(plain) <= 10:
        return "delta", int(plain) * NS_PER_SECOND
    try:
        moment = parsedate_to_datetime(plain)
    except (TypeError, ValueError, IndexError):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return "wall", int(moment.timestamp()) * NS_PER_SECOND


def _retry_column(history: History, name: str, rows: Ints) -> tuple[Flags, Ints, Ints]:
    found = _column(history, name, rows)
    # Ten digits are three centuries; more would not fit in nanoseconds, and tells nobody anything.
    whole = found.whole & (found.values >= 0) & (found.values < 10**9)
    delta = np.where(whole, np.where(whole, found.values, 0) * NS_PER_SECOND, FAR_NS)
    wall = np.full(len(rows), FAR_NS, dtype=np.int64)
    for place in np.flatnonzero(found.present & ~whole).tolist():
        parsed = retry_after_ns(found.text(history, int(rows[place])))
        if parsed is not None and parsed[0] == "wall":
            wall[place] = parsed[1]
    return found.present, delta.astype(np.int64), wall


def structured(text: str) -> list[tuple[str, dict[str, int]]] | None:
    """Return the items of a structured-field list, each with its integer parameters; None where it is none (RFC 9651).

    >>> structured('"default";r=50;t=30')
    [('default', {'r': 50, 't': 30})]
    >>> structured('"a";q=100;w=60, "b";q=1000;w=3600')
    [('a', {'q': 100, 'w': 60}), ('b', {'q': 1000, 'w': 3600})]
    >>> structured("limit=100, remaining=50, reset=5")
    [('', {'limit': 100, 'remaining': 50, 'reset': 5})]
    >>> structured('"open') is None
    True
    """
    pairs = re.fullmatch(r"\s*(\w+=-?\d+)(\s*,\s*\w+=-?\d+)*\s*", text)
    if pairs:
        # Draft 07 wrote one dictionary in place of a list of items.
        split = (pair.split("=") for pair in text.replace(" ", "").split(","))
        return [("", {name: int(value) for name, value in split})]
    items: list[tuple[str, dict[str, int]]] = []
    place = 0
    while place < len(text):
        item = _ITEM.match(text, place)
        if item is None or item.end() == place:
            return None
        name = next(group for group in item.groups()[:3] if group is not None)
        parameters = re.findall(r";\s*([a-z*][a-z0-9_\-.*]*)=(-?\d{1,15})", item[4])
        items.append((name, {key: int(value) for key, value in parameters}))
        place = item.end()
        if place < len(text):
            if text[place] != ",":
                return None
            place += 1
    return items or None

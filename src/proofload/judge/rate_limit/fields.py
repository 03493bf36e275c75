"""The header fields that tell a client its allowance: `X-RateLimit-*`, the IETF draft's, and `Retry-After`."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import polars as pl

from proofload.judge.models.attempts import Flags, Ints
from proofload.judge.rate_limit.header_values import (
    HeaderTime,
    limits_named,
    read_retry_after,
    read_time,
    read_whole,
)
from proofload.plan.policies import ResetUnit
from proofload.record.history import HEADER_PREFIX, History

_ITEM = re.compile(r'\s*(?:"((?:[^"\\]|\\.)*)"|([A-Za-z*][A-Za-z0-9_\-.:*/]*)|(-?\d+))\s*((?:;[^,]*)?)')
_MOST = 2**62


@dataclass(frozen=True, slots=True)
class Column:
    """One header over many rows."""

    name: str
    present: Flags
    whole: Flags
    """A mask of the rows on which it is there and a number."""
    values: Ints
    """The number, rounded down; 0 where there is none."""

    def text(self, history: History, row: int) -> str:
        """Return the header as it stood on a row."""
        return str(history.frame[HEADER_PREFIX + self.name.lower()][row])


@dataclass(frozen=True, slots=True)
class Times:
    """One header that tells a time, over many rows."""

    name: str
    present: Flags
    read: Flags
    """A mask of the rows on which it could be read in its unit."""
    is_wall: Flags
    """A mask of the rows that name an instant of the wall clock, and no delay."""
    ns: Ints
    """The delay, or nanoseconds of the epoch; 0 where there is none."""

    def at(self, rows: Ints) -> Times:
        """Return the same on some of its places."""
        return Times(self.name, self.present[rows], self.read[rows], self.is_wall[rows], self.ns[rows])

    def text(self, history: History, row: int) -> str:
        """Return the header as it stood on a row."""
        return str(history.frame[HEADER_PREFIX + self.name.lower()][row])


class Fields:
    """The header fields of one history as numbers; each is read once, for all rows."""

    __slots__ = ("_columns", "_history", "_times")

    def __init__(self, history: History) -> None:
        self._history = history
        self._columns: dict[str, Column] = {}
        self._times: dict[tuple[str, str], Times] = {}

    def column(self, name: str, rows: Ints) -> Column:
        """Return a header as whole numbers on some rows."""
        if name not in self._columns:
            self._columns[name] = _column(self._history, name)
        every = self._columns[name]
        return Column(name, every.present[rows], every.whole[rows], every.values[rows])

    def reset(self, name: str, unit: ResetUnit, rows: Ints) -> Times:
        """Return a reset header on some rows, in its declared unit."""
        return self._read_times(name, unit, partial(read_time, unit=unit)).at(rows)

    def retry(self, name: str, rows: Ints) -> Times:
        """Return a Retry-After header on some rows."""
        return self._read_times(name, "retry", read_retry_after).at(rows)

    def texts(self, name: str, rows: Ints) -> list[str | None]:
        """Return a header as it was written on some rows."""
        full = HEADER_PREFIX + name.lower()
        if full not in self._history.frame.columns:
            return [None] * len(rows)
        return self._history.frame[full].gather(rows).to_list()

    def names_limit(self, name: str, window_ns: int, right: tuple[int, ...], rows: Ints) -> Flags:
        """Return on which rows a limit header names one of the right limits for a window."""
        known: dict[str | None, bool] = {None: False}
        for text in self.texts(name, rows):
            if text is not None and text not in known:
                known[text] = any(limit in right for limit in limits_named(text, window_ns))
        return np.array([known[text] for text in self.texts(name, rows)], dtype=np.bool_)

    def _read_times(self, name: str, how: str, read: Callable[[str], HeaderTime | None]) -> Times:
        if (name, how) not in self._times:
            texts = self.texts(name, np.arange(len(self._history)))
            self._times[name, how] = _times(name, texts, read)
        return self._times[name, how]


def _column(history: History, name: str) -> Column:
    """Return a header as whole numbers; what follows a comma or semicolon (`100, 100;w=60`) is left aside."""
    full = HEADER_PREFIX + name.lower()
    if full not in history.frame.columns:
        nothing = np.zeros(len(history), dtype=np.bool_)
        return Column(name, nothing, nothing, np.zeros(len(history), dtype=np.int64))
    texts = history.frame[full]
    numbers = texts.str.strip_chars().cast(pl.Int64, strict=False)
    odd = (numbers.is_null() & texts.is_not_null()).to_numpy()
    whole, values = numbers.is_not_null().to_numpy().copy(), numbers.fill_null(0).to_numpy().astype(np.int64)
    for row in np.flatnonzero(odd).tolist():
        number = read_whole(str(texts[row]))
        if number is not None:
            whole[row], values[row] = True, max(-_MOST, min(number, _MOST))
    return Column(name, texts.is_not_null().to_numpy(), whole, values)


def _times(name: str, texts: list[str | None], read: Callable[[str], HeaderTime | None]) -> Times:
    count = len(texts)
    present, usable, wall = (np.zeros(count, dtype=np.bool_) for _ in range(3))
    ns = np.zeros(count, dtype=np.int64)
    known: dict[str, HeaderTime | None] = {}
    for row, text in enumerate(texts):
        if text is None:
            continue
        present[row] = True
        if text not in known:
            known[text] = read(text)
        found = known[text]
        if found is not None:
            usable[row], wall[row], ns[row] = True, found.is_wall, found.ns
    return Times(name, present, usable, wall, ns)


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

"""What generators on other machines need: their clocks brought to ours, their rows brought here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from proofload.drive.rows import CHUNK_ROWS, DTYPE, PLANNED, ROW_BYTES, Rows
from proofload.record.exchange import NEVER_NS
from proofload.record.history import CLOCK_COLUMN, History

INSTANTS = ("intended_ns", "sent_ns", "first_byte_ns", "done_ns")


class Offset:
    """A clock elsewhere, as far as questions and answers tell. Cristian, 'Probabilistic clock synchronization', 1989.

    An answer read there at `there`, asked for here at `asked` and heard here at `heard`, puts the offset (there minus
    here) inside [there - heard, there - asked]. All answers together: the intersection, while the clocks run alike;
    their hull over the quickest ones, once they drift apart.
    """

    _QUICKEST = 10

    def __init__(self) -> None:
        self.samples = 0
        self._low: int | None = None
        self._high: int | None = None
        self._quick: list[tuple[int, int, int]] = []

    def add(self, asked_ns: int, there_ns: int, heard_ns: int) -> None:
        """Take in one answer."""
        self.samples += 1
        low, high = there_ns - heard_ns, there_ns - asked_ns
        self._quick = sorted([*self._quick, (high - low, low, high)])[: self._QUICKEST]
        if self._low is None or self._high is None:
            self._low, self._high = low, high
        elif max(low, self._low) <= min(high, self._high):
            self._low, self._high = max(low, self._low), min(high, self._high)
        else:
            self._low = min(one[1] for one in (*self._quick, (0, low, high)))
            self._high = max(one[2] for one in (*self._quick, (0, low, high)))

    @property
    def offset_ns(self) -> int:
        """Return the middle of where the offset may lie; 0 where nothing is known."""
        return 0 if self._low is None or self._high is None else (self._low + self._high) // 2

    @property
    def uncertainty_ns(self) -> int:
        """Return how far the offset may lie from its middle."""
        return 0 if self._low is None or self._high is None else -(-(self._high - self._low) // 2)

    def there_ns(self, here_ns: int) -> int:
        """Return what that clock shows at an instant of ours."""
        return here_ns + self.offset_ns

    def here(self, history: History) -> History:
        """Return the history with its instants brought to our clock, and how far they may be off."""
        moved = [
            pl.when(pl.col(name) == NEVER_NS).then(pl.col(name)).otherwise(pl.col(name) - self.offset_ns).alias(name)
            for name in INSTANTS
        ]
        uncertainty = pl.lit(self.uncertainty_ns, pl.Int64).alias(CLOCK_COLUMN)
        return History(history.frame.with_columns(*moved, uncertainty))


class Shipping:
    """The sending side: hands out what was added to the rows since the last time, in parts fit for one message."""

    def __init__(self, rows: Rows, folder: Path) -> None:
        self._rows = rows
        self._folder = folder
        self._next = 0
        self._open: list[int] = []
        self._noted = 0

    def parts(self, *, notes: bool = False) -> Iterator[tuple[str, Any, bytes]]:
        """Yield new rows, rows that have ended since, and with `notes` what belongs beside them.

        To be read where rows are written: elsewhere, a row may be numbered and not yet written.
        """
        made = self._rows.made
        again = self._open
        self._open = []
        if again:
            table = self._read(again)
            ended = table["ending"] != PLANNED
            self._open = [row for row, done in zip(again, ended, strict=True) if not done]
            chosen = np.asarray(again, dtype=np.int64)[ended]
            if len(chosen):
                yield "ended", chosen.tobytes(), table[ended].tobytes()
        while self._next < made:
            until = min(made, (self._next // CHUNK_ROWS + 1) * CHUNK_ROWS)
            table = self._span(self._next, until)
            self._open += (np.flatnonzero(table["ending"] == PLANNED) + self._next).tolist()
            yield "new", self._next, table.tobytes()
            self._next = until
        if notes:
            content = self._folder / "notes.bin"
            if content.exists():
                with content.open("rb") as file:
                    file.seek(self._noted)
                    while part := file.read(1 << 20):
                        self._noted += len(part)
                        yield "notes", None, part

    def _span(self, first: int, until: int) -> np.ndarray[Any, np.dtype[Any]]:
        path = self._folder / f"rows-{first // CHUNK_ROWS:06d}.bin"
        return np.fromfile(path, dtype=DTYPE, count=until - first, offset=first % CHUNK_ROWS * ROW_BYTES)

    def _read(self, rows: Sequence[int]) -> np.ndarray[Any, np.dtype[Any]]:
        numbers = np.asarray(rows, dtype=np.int64)
        parts = []
        for index in np.unique(numbers // CHUNK_ROWS):
            chunk = np.memmap(self._folder / f"rows-{index:06d}.bin", dtype=DTYPE, mode="r")
            parts.append(chunk[numbers[numbers // CHUNK_ROWS == index] % CHUNK_ROWS])
        return np.concatenate(parts)


class Shipment:
    """The receiving side: puts rows into the files in which a generator of this machine would have left them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def take(self, kind: str, at: Any, content: bytes) -> None:
        """Put one part where it belongs."""
        if kind == "notes":
            with (self._folder / "notes.bin").open("ab") as file:
                file.write(content)
            return
        rows = np.frombuffer(at, dtype=np.int64) if kind == "ended" else [at]
        size = ROW_BYTES if kind == "ended" else len(content)
        for number, row in enumerate(rows):
            path = self._folder / f"rows-{int(row) // CHUNK_ROWS:06d}.bin"
            if not path.exists():
                # The same size as over there, so that rows never made are found to be empty.
                with path.open("wb") as file:
                    file.truncate(CHUNK_ROWS * ROW_BYTES)
            with path.open("r+b") as file:
                file.seek(int(row) % CHUNK_ROWS * ROW_BYTES)
                file.write(content[number * size : (number + 1) * size])

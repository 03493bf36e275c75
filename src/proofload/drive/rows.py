"""Rows as they are made: 64 bytes each in memory, in files past a set size, and the history made from them."""

from __future__ import annotations

import mmap
import os
import struct
from array import array
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from proofload.core.errors import ToolError
from proofload.drive.sparse_columns import ChunkNotes, Notes
from proofload.record.exchange import NEVER_NS, Ending, Fault
from proofload.record.history import HEADER_PREFIX, History

CHUNK_BITS = 16
CHUNK_ROWS = 1 << CHUNK_BITS
ROW_BYTES = 64
PLANNED = 200
"""In the place of an ending (which is stored plus one, so that 0 means no row): planned, and not ended yet."""

PLAN = struct.Struct("<qqIIIHHHHB")
"""Written when a row is made: intended, sent, user, connection, out, workload, operation, source, tag, PLANNED."""
END = struct.Struct("<BBHI4xqq")
"""Written when it ends, from END_AT: ending + 1, fault, status, in, first byte, done."""
SENT = struct.Struct("<qII")
"""Written from SENT_AT where a request had to wait for its connection: sent, user, connection."""
END_AT = 36
SENT_AT = 8

DTYPE = np.dtype(
    [
        ("intended_ns", "<i8"),
        ("sent_ns", "<i8"),
        ("user", "<u4"),
        ("connection", "<u4"),
        ("bytes_out", "<u4"),
        ("workload", "<u2"),
        ("operation", "<u2"),
        ("source", "<u2"),
        ("tag", "<u2"),
        ("ending", "u1"),
        ("fault", "u1"),
        ("status", "<u2"),
        ("bytes_in", "<u4"),
        ("pad", "V4"),
        ("first_byte_ns", "<i8"),
        ("done_ns", "<i8"),
    ]
)
assert DTYPE.itemsize == END_AT + END.size == ROW_BYTES


_TABLES = ("workloads", "operations", "sources", "tags")


class Names:
    """A table of texts, each with a number that rows hold in its place."""

    __slots__ = ("_numbers", "texts")

    _MOST = 65_000

    def __init__(self, texts: Sequence[str] = ()) -> None:
        self.texts: list[str] = []
        self._numbers: dict[str, int] = {}
        for text in texts:
            self.number(text)

    def number(self, text: str) -> int:
        """Return the number of a text, a new one where it is new; past the table's size all share `(other)`."""
        found = self._numbers.get(text)
        if found is None:
            if len(self.texts) >= self._MOST:
                text = "(other)"
            found = self._numbers.setdefault(text, len(self.texts))
            if found == len(self.texts):
                self.texts.append(text)
        return found


class Rows:
    """The rows of one generator, and beside them, where there are any, headers, bodies and own request ids."""

    def __init__(self, keep_headers: Sequence[str], id_prefix: str, spill: Path | None, memory_rows: int) -> None:
        self.header_names = tuple(name.lower() for name in keep_headers)
        self.id_prefix = id_prefix
        self.workloads = Names()
        self.operations = Names()
        self.sources = Names([""])
        self.tags = Names([""])
        self.made = 0
        self.chunk: mmap.mmap
        """Where the row made next goes."""
        self.finished = array("Q")
        """Rows that have ended since the statistics last looked."""
        self.notes = Notes(spill / "notes.bin" if spill is not None else None)
        # The same objects under names that the hot path reaches in one step.
        self.kept = self.notes.kept
        self.bodies = self.notes.bodies
        self.own_ids = self.notes.own_ids
        self._spill = spill
        self._memory_chunks = memory_rows // CHUNK_ROWS
        self._chunks: list[mmap.mmap | None] = []
        self._left: list[int] = []

    def new_chunk(self) -> mmap.mmap:
        """Return the memory for the next CHUNK_ROWS rows: pages of a file once enough lie in memory."""
        size = CHUNK_ROWS * ROW_BYTES
        if self._spill is not None and len(self._chunks) >= self._memory_chunks:
            chunk = _file_chunk(self._path(len(self._chunks)), size)
        else:
            chunk = mmap.mmap(-1, size)
        self.chunk = chunk
        self._chunks.append(chunk)
        self._left.append(CHUNK_ROWS)
        return chunk

    def add_ended(self, intended_ns: int, user: int, workload: int, operation: int, fault: Fault) -> int:
        """Append a row for a request that was planned and never begun. Return its number."""
        row = self.made
        chunk = self.chunk if row & (CHUNK_ROWS - 1) else self.new_chunk()
        at = (row & (CHUNK_ROWS - 1)) * ROW_BYTES
        PLAN.pack_into(chunk, at, intended_ns, NEVER_NS, user, 0, 0, workload, operation, 0, 0, PLANNED)
        END.pack_into(chunk, at + END_AT, Ending.DROPPED + 1, fault, 0, 0, NEVER_NS, NEVER_NS)
        self.made = row + 1
        self.finished.append(row)
        return row

    def add_whole(
        self,
        *,
        intended_ns: int,
        sent_ns: int,
        first_byte_ns: int,
        done_ns: int,
        user: int,
        workload: int,
        operation: int,
        source: int,
        tag: int,
        ending: int,
        fault: int,
        status: int,
    ) -> int:
        """Append a row for a request that another generator sent and ended. Return its number."""
        row = self.made
        chunk = self.chunk if row & (CHUNK_ROWS - 1) else self.new_chunk()
        at = (row & (CHUNK_ROWS - 1)) * ROW_BYTES
        PLAN.pack_into(chunk, at, intended_ns, sent_ns, user, 0, 0, workload, operation, source, tag, PLANNED)
        END.pack_into(chunk, at + END_AT, ending + 1, fault, status, 0, first_byte_ns, done_ns)
        self.made = row + 1
        self.finished.append(row)
        return row

    def keep_told(self, row: int, request_id: str, headers: Mapping[str, str], body: bytes | None) -> None:
        """Keep what another generator tells of a row beside its numbers: of the headers, those that are to be kept."""
        self.own_ids[row] = request_id
        pairs = tuple((place, headers[name]) for place, name in enumerate(self.header_names) if name in headers)
        if pairs:
            self.kept.append((row, pairs))
        if body is not None:
            self.bodies[row] = body

    def take_finished(self) -> NDArray[Any]:
        """Return the rows that ended since the last call, and let go of chunks whose rows have all ended."""
        numbers = np.frombuffer(self.finished, dtype=np.uint64).astype(np.int64)
        del self.finished[:]
        if not len(numbers):
            return np.empty(0, dtype=DTYPE)
        chunk_of = numbers >> CHUNK_BITS
        parts = []
        for index in range(int(chunk_of.min()), int(chunk_of.max()) + 1):
            inside = numbers[chunk_of == index] & (CHUNK_ROWS - 1)
            if not len(inside):
                continue
            chunk = self._chunks[index]
            assert chunk is not None
            # As whole numbers and back: NumPy copies those rows several times faster than structures.
            words = np.frombuffer(chunk, dtype=np.int64).reshape(-1, ROW_BYTES // 8)
            parts.append(words.take(inside, axis=0).view(DTYPE).reshape(-1))
            # A chunk that something still looks into can't be let go.
            del words
            self._left[index] -= len(inside)
            if self._left[index] == 0 and self._spill is not None and index >= self._memory_chunks:
                chunk.close()
                self._chunks[index] = None
        if len(self._chunks) > self._memory_chunks:
            self.notes.spill()
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def history(self) -> History:
        """Return the history of all rows made so far; rows not yet ended are UNKNOWN, STOPPED."""
        return History.concat(list(self.parts())) if self.made else History.empty()

    def parts(self) -> Iterator[History]:
        """Yield the history in parts of CHUNK_ROWS rows."""
        notes = self.notes.by_chunk(CHUNK_BITS)
        for index in range(len(self._chunks)):
            first = index * CHUNK_ROWS
            table = self._table(index)[: max(0, self.made - first)]
            if len(table):
                yield History(self._frame(table, first, notes.get(index) or ChunkNotes()))

    def side(self) -> dict[str, Any]:
        """Return what belongs to the rows and does not lie in files, to be handed to another process."""
        self.notes.spill()
        return {**{name: getattr(self, name).texts for name in _TABLES}, "made": self.made}

    @classmethod
    def adopt(cls, keep_headers: Sequence[str], id_prefix: str, folder: Path, side: dict[str, Any]) -> Rows:
        """Return the rows that another process left in `folder`, with the tables that it handed over.

        Where it died without a word, `side` holds what its plan says, and names of its own making are `(lost)`.
        """
        rows = cls(keep_headers, id_prefix, folder, 0)
        for name in _TABLES:
            setattr(rows, name, Names(side[name]))
        rows._chunks = [None] * len(list(folder.glob("rows-*.bin")))
        rows.made = side["made"]
        if rows.made < 0:
            # The last rows of the last chunk were never made: their ending is 0.
            tables = (rows._table(index) for index in range(len(rows._chunks)))
            rows.made = sum(int(np.count_nonzero(table["ending"])) for table in tables)
        return rows

    def tables(self) -> Iterator[NDArray[Any]]:
        """Yield the rows in chunks, in the types of DTYPE, those not ended as UNKNOWN."""
        for index in range(len(self._chunks)):
            table = self._table(index)[: max(0, self.made - index * CHUNK_ROWS)]
            close_open_rows(table)
            yield table

    def close(self) -> None:
        """Give the memory back; the rows are gone but for what lies in files."""
        for chunk in self._chunks:
            if chunk is not None:
                chunk.close()
        self._chunks.clear()
        self.notes.close()

    def _path(self, index: int) -> Path:
        assert self._spill is not None
        return self._spill / f"rows-{index:06d}.bin"

    def _table(self, index: int) -> NDArray[Any]:
        chunk = self._chunks[index]
        if chunk is None:
            return np.fromfile(self._path(index), dtype=DTYPE)
        return np.frombuffer(chunk[:], dtype=DTYPE).copy()

    def _frame(self, table: NDArray[Any], first: int, notes: ChunkNotes) -> pl.DataFrame:
        close_open_rows(table)
        last = first + len(table)
        columns: dict[str, pl.Series] = {
            "workload": _texts(self.workloads, table["workload"]),
            "operation": _texts(self.operations, table["operation"]),
            "user": pl.Series(table["user"]),
            "source": _texts(self.sources, table["source"]),
            "connection": pl.Series(table["connection"]),
        }
        columns |= {name: pl.Series(table[name]) for name in ("intended_ns", "sent_ns", "first_byte_ns", "done_ns")}
        columns["ending"] = pl.Series(table["ending"] - 1)
        columns |= {name: pl.Series(table[name]) for name in ("fault", "status", "bytes_out", "bytes_in")}
        ids = [f"{self.id_prefix}{row:010x}" for row in range(first, last)]
        for row, own in notes.own_ids.items():
            ids[row - first] = own
        columns["request_id"] = pl.Series(ids, dtype=pl.String)
        columns |= self._kept_columns(first, last, notes)
        if table["tag"].any():
            columns["tag"] = _texts(self.tags, table["tag"])
        return pl.DataFrame({name: series.alias(name) for name, series in columns.items()})

    def _kept_columns(self, first: int, last: int, notes: ChunkNotes) -> dict[str, pl.Series]:
        columns: dict[str, pl.Series] = {}
        if notes.kept:
            values: list[list[str | None]] = [[None] * (last - first) for _ in self.header_names]
            for row, pairs in notes.kept:
                for header, text in pairs:
                    values[header][row - first] = text
            for name, column in zip(self.header_names, values, strict=True):
                columns[HEADER_PREFIX + name] = pl.Series(column, dtype=pl.String)
        if notes.bodies:
            columns["body"] = pl.Series([notes.bodies.get(row) for row in range(first, last)], dtype=pl.Binary)
        return columns


def close_open_rows(table: NDArray[Any]) -> None:
    """End the rows that were planned and never ended: nobody can say what the target did with them."""
    still_open = table["ending"] == PLANNED
    table["ending"][still_open] = Ending.UNKNOWN + 1
    table["fault"][still_open] = Fault.STOPPED
    for name in ("first_byte_ns", "done_ns"):
        table[name][still_open] = NEVER_NS


def _texts(names: Names, numbers: NDArray[Any]) -> pl.Series:
    texts = names.texts
    most = int(numbers.max(initial=0))
    if most >= len(texts):
        texts = texts + ["(lost)"] * (most + 1 - len(texts))
    return pl.Series(texts, dtype=pl.String).gather(pl.Series(numbers.astype(np.uint32))).cast(pl.Categorical)


def _file_chunk(path: Path, size: int) -> mmap.mmap:
    try:
        with path.open("x+b") as file:
            # Reserve the blocks now: a full disk must be an error here, not a SIGBUS at some later row.
            os.posix_fallocate(file.fileno(), 0, size)
            return mmap.mmap(file.fileno(), size)
    except OSError as error:
        raise ToolError(f"{path}: got {error}, expected room for {size} bytes of rows; free some space") from error

"""What only some rows have: kept response headers, kept bodies, request ids of their own. In a file once rows are."""

from __future__ import annotations

import marshal
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

Pairs = tuple[tuple[int, str], ...]
"""(index of the kept header, its value) for each that was present."""

_LENGTH_BYTES = 8


@dataclass(slots=True)
class ChunkNotes:
    """The notes on one chunk of rows, by row number."""

    kept: list[tuple[int, Pairs]] = field(default_factory=list)
    bodies: dict[int, bytes] = field(default_factory=dict)
    own_ids: dict[int, str] = field(default_factory=dict)


class Notes:
    """Collects notes; the lists are filled by the hot path directly."""

    __slots__ = ("_file", "_path", "bodies", "kept", "own_ids")

    def __init__(self, path: Path | None) -> None:
        self.kept: list[tuple[int, Pairs]] = []
        self.bodies: dict[int, bytes] = {}
        self.own_ids: dict[int, str] = {}
        self._path = path
        self._file: BinaryIO | None = None

    def spill(self) -> None:
        """Move what has been collected to the file."""
        if self._path is None or not (self.kept or self.bodies or self.own_ids):
            return
        if self._file is None:
            # Unbuffered: what was written is there even when this process is killed.
            self._file = self._path.open("ab", buffering=0)
        # The quickest there is, and read by this same program only: a microsecond here is one for every request.
        record = marshal.dumps((self.kept, self.bodies, self.own_ids))
        self._file.write(len(record).to_bytes(_LENGTH_BYTES, "little") + record)
        self.kept.clear()
        self.bodies.clear()
        self.own_ids.clear()

    def by_chunk(self, chunk_bits: int) -> dict[int, ChunkNotes]:
        """Return all notes, from the file and from memory, by the number of the chunk that their rows lie in."""
        chunks: dict[int, ChunkNotes] = {}
        for kept, bodies, own_ids in [*self._read(), (self.kept, self.bodies, self.own_ids)]:
            for row, pairs in kept:
                chunks.setdefault(row >> chunk_bits, ChunkNotes()).kept.append((row, pairs))
            for row, body in bodies.items():
                chunks.setdefault(row >> chunk_bits, ChunkNotes()).bodies[row] = body
            for row, own in own_ids.items():
                chunks.setdefault(row >> chunk_bits, ChunkNotes()).own_ids[row] = own
        return chunks

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _read(self) -> list[tuple[list[tuple[int, Pairs]], dict[int, bytes], dict[int, str]]]:
        if self._path is None or not self._path.exists():
            return []
        records = []
        raw = self._path.read_bytes()
        at = 0
        while at + _LENGTH_BYTES <= len(raw):
            size = int.from_bytes(raw[at : at + _LENGTH_BYTES], "little")
            at += _LENGTH_BYTES
            if at + size > len(raw):
                # The writer was killed at it.
                break
            records.append(marshal.loads(raw[at : at + size]))  # noqa: S302 -- our own file of this same run
            at += size
        return records

"""Reads audit logs from files: whole lines, rotated files included. What is no JSON is kept as text."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from proofload.core.errors import ToolError
from proofload.record.ledger import AuditEntry

_ROTATED = re.compile(r"\.\d+$")
_HEAD_BYTES = 512
_LEAST_HEAD_BYTES = 64
_MOST_LOOKS = 20
_CHUNK_BYTES = 1 << 20
_MOST_LINE_BYTES = 1 << 20
_MOST_BYTES = 128 << 20


@dataclass(frozen=True, slots=True)
class _Begun:
    """How a file was when the run began."""

    size: int
    head: bytes
    """Its first bytes: a deleted file's inode may come back as that of a new file, and by them that is seen."""


class AuditFiles:
    """The files of an audit log, read from where each stood when the run began. Regular files only."""

    def __init__(
        self, patterns: Iterable[str], *, most_bytes: int = _MOST_BYTES, most_line_bytes: int = _MOST_LINE_BYTES
    ) -> None:
        self._patterns = tuple(patterns)
        self._most_bytes = most_bytes
        self._most_line_bytes = most_line_bytes
        self._begun: dict[int, _Begun] = {}
        """By inode; a rotated file keeps its inode."""

    def begin(self) -> None:
        """Note where each file ends now: what is before that is not of this run, and is not read."""
        self._begun = {}
        for file, _, inode in self._opened(set()):
            size = os.fstat(file).st_size
            self._begun[inode] = _Begun(size, os.pread(file, min(size, _HEAD_BYTES), 0))

    def read(self, read_ns: int) -> tuple[AuditEntry, ...]:
        """Return every line written since the beginning, file by file.

        Raises ToolError where no file is there, or where a line or all of them are longer than can be held.
        """
        found: dict[int, tuple[Path, list[bytes]]] = {}
        left = self._most_bytes
        for _ in range(_MOST_LOOKS):
            before = len(found)
            for file, place, inode in self._opened(found.keys()):
                lines = self._fresh_lines(file, place, inode, left)
                left -= sum(map(len, lines))
                found[inode] = (place, lines)
            if len(found) == before:
                break
        if not found:
            told = ", ".join(self._patterns)
            raise ToolError(f"policies.audit.files: got no regular file at {told}, expected an audit log")
        named = _named_apart(found)
        return tuple(
            _entry(place.name, number, line, read_ns)
            for place in sorted(named)
            for number, line in enumerate(named[place], 1)
        )

    def _fresh_lines(self, file: int, place: Path, inode: int, left: int) -> list[bytes]:
        """Return the whole lines since the beginning; what is after the last line end is still in writing."""
        lines: list[bytes] = []
        rest = b""
        taken = 0
        for chunk in _chunks(file, self._start_of(file, inode)):
            taken += len(chunk)
            if taken > left:
                raise ToolError(f"{place}: more than {self._most_bytes >> 20} MiB were written during the run")
            *whole, rest = (rest + chunk).split(b"\n")
            lines += whole
            if len(rest) > self._most_line_bytes or any(len(line) > self._most_line_bytes for line in whole):
                raise ToolError(f"{place}: got a line of more than {self._most_line_bytes} bytes, expected an entry")
        return lines

    def _start_of(self, file: int, inode: int) -> int:
        """Return where in a file the lines of this run begin."""
        size = os.fstat(file).st_size
        head = os.pread(file, _HEAD_BYTES, 0)
        begun = self._begun.get(inode)
        if begun is not None:
            return begun.size if size >= begun.size and head.startswith(begun.head) else 0
        # Rotation by copying makes a new file of the old content, and empties the old file.
        copied = (
            one.size
            for one in self._begun.values()
            if len(one.head) >= _LEAST_HEAD_BYTES and size >= one.size and head.startswith(one.head)
        )
        return max(copied, default=0)

    def _opened(self, known: Iterable[int]) -> Iterator[tuple[int, Path, int]]:
        """Yield each regular file, opened, with its name and inode; each inode once, and none that is known."""
        seen = set(known)
        for place in self._places():
            try:
                file = os.open(place, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
            except FileNotFoundError:
                continue  # renamed since the folder was listed: the next look finds it under its new name
            except OSError as error:
                raise ToolError(f"{place}: the audit log could not be read ({error.strerror})") from error
            try:
                status = os.fstat(file)
                if stat.S_ISREG(status.st_mode) and status.st_ino not in seen:
                    seen.add(status.st_ino)
                    yield file, place, status.st_ino
            finally:
                os.close(file)

    def _places(self) -> list[Path]:
        found: set[Path] = set()
        for pattern in self._patterns:
            place = Path(pattern)
            found |= {one for one in place.parent.glob(place.name) if one.is_file()}
            found |= {one for one in place.parent.glob(place.name + ".*") if _ROTATED.search(one.name)}
        return sorted(found)


def _chunks(file: int, start: int) -> Iterator[bytes]:
    # As far as the file went when it was opened: a writer that never stops can't keep the reader.
    end = os.fstat(file).st_size
    while start < end and (chunk := os.pread(file, min(_CHUNK_BYTES, end - start), start)):
        start += len(chunk)
        yield chunk


def _entry(source: str, number: int, line: bytes, read_ns: int) -> AuditEntry:
    text = line.decode("utf-8", "backslashreplace")
    return AuditEntry(source, number, text, _fields(text), read_ns)


def _fields(text: str) -> Mapping[str, object] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _named_apart(found: Mapping[int, tuple[Path, list[bytes]]]) -> dict[Path, list[bytes]]:
    """Return the files by name; one that took the name of another while we read gets its inode as an ending."""
    named: dict[Path, list[bytes]] = {}
    for inode, (place, lines) in found.items():
        named[place.with_name(f"{place.name}#{inode}") if place in named else place] = lines
    return named

"""Reads audit logs from files: whole lines, rotated files included. What is no JSON is kept as text."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from proofload.core.errors import ToolError
from proofload.record.ledger import AuditEntry

_ROTATED = re.compile(r"\.\d+$")
_HEAD_BYTES = 512
_MOST_LOOKS = 20


class AuditFiles:
    """The files of an audit log, read from where each stood when the run began."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self._patterns = tuple(patterns)
        self._begun: dict[int, tuple[int, bytes]] = {}
        """By inode, how many bytes were there at the beginning, and the first of them; a rotated file keeps its inode.

        A deleted file's inode may come back as that of a new file: by its first bytes it is seen to be another.
        """

    def begin(self) -> None:
        """Note where each file ends now: what stands before is not of this run."""
        self._begun = {}
        for inode, content in self._contents().values():
            self._begun[inode] = (len(content), content[:_HEAD_BYTES])

    def read(self, read_ns: int) -> tuple[AuditEntry, ...]:
        """Return every line written since the beginning, file by file. Raises ToolError where no file is there."""
        contents = self._contents()
        if not contents:
            raise ToolError(f"policies.audit.files: got no file at {', '.join(self._patterns)}, expected an audit log")
        entries: list[AuditEntry] = []
        for place in sorted(contents):
            inode, content = contents[place]
            size, head = self._begun.get(inode, (0, b""))
            fresh = content[size:] if content.startswith(head) else content
            for number, line in enumerate(fresh.split(b"\n")[:-1], 1):
                text = line.decode("utf-8", "backslashreplace")
                entries.append(AuditEntry(place.name, number, text, _fields(text), read_ns))
        return tuple(entries)

    def _contents(self) -> dict[Path, tuple[int, bytes]]:
        """Return inode and content by name; each inode once, though files may be renamed while we read."""
        found: dict[int, tuple[Path, bytes]] = {}
        for _ in range(_MOST_LOOKS):
            before = len(found)
            for place in self._places():
                try:
                    with place.open("rb") as file:
                        inode = os.fstat(file.fileno()).st_ino
                        if inode not in found:
                            found[inode] = (place, file.read())
                except FileNotFoundError:
                    continue  # renamed since the folder was listed: the next look finds it under its new name
                except OSError as error:
                    raise ToolError(f"{place}: the audit log could not be read ({error.strerror})") from error
            if len(found) == before:
                break
        return _named_apart(found)

    def _places(self) -> list[Path]:
        found: set[Path] = set()
        for pattern in self._patterns:
            place = Path(pattern)
            found |= {one for one in place.parent.glob(place.name) if one.is_file()}
            found |= {one for one in place.parent.glob(place.name + ".*") if _ROTATED.search(one.name)}
        return sorted(found)


def _fields(text: str) -> Mapping[str, object] | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _named_apart(found: Mapping[int, tuple[Path, bytes]]) -> dict[Path, tuple[int, bytes]]:
    """Return the files by name; one that took the name of another while we read gets its inode as an ending."""
    named: dict[Path, tuple[int, bytes]] = {}
    for inode, (place, content) in found.items():
        named[place.with_name(f"{place.name}#{inode}") if place in named else place] = (inode, content)
    return named

"""Reads audit logs from files: whole lines, rotated files included. What is no JSON is kept as text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from proofload.core.errors import ToolError
from proofload.record.ledger import AuditEntry

_ROTATED = re.compile(r"\.\d+$")


class AuditFiles:
    """The files of an audit log, read from where each stood when the run began."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self._patterns = tuple(patterns)
        self._begun: dict[int, int] = {}
        """By inode, how many bytes were there at the beginning; a rotated file keeps its inode."""

    def begin(self) -> None:
        """Note where each file ends now: what stands before is not of this run."""
        self._begun = {place.stat().st_ino: place.stat().st_size for place in self._places()}

    def read(self, read_ns: int) -> tuple[AuditEntry, ...]:
        """Return every line written since the beginning, file by file. Raises ToolError where no file is there."""
        places = self._places()
        if not places:
            raise ToolError(f"policies.audit.files: got no file at {', '.join(self._patterns)}, expected an audit log")
        entries: list[AuditEntry] = []
        for place in places:
            try:
                with place.open("rb") as file:
                    file.seek(self._begun.get(place.stat().st_ino, 0))
                    content = file.read()
            except OSError as error:
                raise ToolError(f"{place}: the audit log could not be read ({error.strerror})") from error
            for number, line in enumerate(content.split(b"\n")[:-1], 1):
                text = line.decode("utf-8", "backslashreplace")
                entries.append(AuditEntry(place.name, number, text, _fields(text), read_ns))
        return tuple(entries)

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

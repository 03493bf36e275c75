"""The log of security events: JSON lines, one whole line a write, in the file before the answer leaves."""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """Something that somebody may have to prove later."""

    event: str
    outcome: str
    user: str | None
    ip: str | None
    request_id: str
    details: dict[str, object]


class Audit(Protocol):
    """Where security events go."""

    def write(self, event: AuditEvent) -> None:
        """Keep the event; when this returns, killing the process does not lose it."""


def audit_line(service: str, event: AuditEvent, now: datetime) -> bytes:
    """Return the event as one line of ASCII JSON: a control character in any field can't end the line."""
    fields = {
        "time": now.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "event": event.event,
        "user": event.user,
        "ip": event.ip,
        "request_id": event.request_id,
        "service": service,
        "outcome": event.outcome,
        "details": event.details,
    }
    return json.dumps(fields, ensure_ascii=True, separators=(",", ":")).encode() + b"\n"


class AuditFile:
    """An audit log in a file that all workers of a service append to, and that rotates without losing a line.

    A lock file orders writers and rotation: whoever finds the file full renames it to the next free number and
    opens a new one; the others notice by the inode. Old files are never overwritten or deleted.
    """

    def __init__(self, service: str, path: Path, rotate_bytes: int) -> None:
        self.service = service
        self.path = path
        self._rotate_bytes = rotate_bytes
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock_fd = os.open(path.with_suffix(".lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        self._fd = self._open()

    def write(self, event: AuditEvent) -> None:
        """Append the event as one line."""
        line = self.line(event)
        fcntl.flock(self._lock_fd, fcntl.LOCK_EX)
        try:
            self._follow_rotation(len(line))
            self._append(line)
        finally:
            fcntl.flock(self._lock_fd, fcntl.LOCK_UN)

    def line(self, event: AuditEvent) -> bytes:
        """Return the line of an event, its end included."""
        return audit_line(self.service, event, datetime.now(UTC))

    def _append(self, line: bytes) -> None:
        written = os.write(self._fd, line)
        while written < len(line):  # a full disk or a signal may cut a write short
            written += os.write(self._fd, line[written:])

    def _open(self) -> int:
        return os.open(self.path, os.O_CREAT | os.O_APPEND | os.O_WRONLY | os.O_CLOEXEC, 0o600)

    def _follow_rotation(self, coming_bytes: int) -> None:
        mine = os.fstat(self._fd)
        try:
            current = self.path.stat()
        except FileNotFoundError:
            current = None
        if current is None or current.st_ino != mine.st_ino:
            os.close(self._fd)
            self._fd = self._open()
            mine = os.fstat(self._fd)
        if mine.st_size and mine.st_size + coming_bytes > self._rotate_bytes:
            self.path.rename(self.next_free())
            os.close(self._fd)
            self._fd = self._open()

    def next_free(self) -> Path:
        """Return a name that no rotated file has."""
        taken = (path.suffix[1:] for path in self.path.parent.glob(self.path.name + ".*"))
        return self.path.with_name(f"{self.path.name}.{max((int(n) for n in taken if n.isdigit()), default=0) + 1}")


class NoAudit:
    """Keeps nothing: for parts that are built without a place to write."""

    def write(self, event: AuditEvent) -> None:
        """Forget the event."""

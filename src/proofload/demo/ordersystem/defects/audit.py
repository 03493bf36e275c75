"""Audit logs gone wrong: what they lose, repeat or garble."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from proofload.demo.ordersystem.common.audit import Audit, AuditEvent, AuditFile, audit_line
from proofload.demo.ordersystem.defects.defect import Defect, everywhere

Make = Callable[[str, Path, int], Audit]
_ROUND_TRIP_S = 0.03


class DroppedWhenBusy(AuditFile):
    """Puts events into a short queue that is written now and then; what does not fit is gone."""

    ROOM = 4

    def __init__(self, service: str, path: Path, rotate_bytes: int) -> None:
        super().__init__(service, path, rotate_bytes)
        self._queue: list[AuditEvent] = []

    def write(self, event: AuditEvent) -> None:
        """Queue the event if there is room."""
        if not self._queue:
            asyncio.get_running_loop().call_later(0.02, self._flush)
        if len(self._queue) < self.ROOM:
            self._queue.append(event)

    def _flush(self) -> None:
        queue, self._queue = self._queue, []
        for event in queue:
            super().write(event)


class Sampled(AuditFile):
    """Leaves out one event of a thousand."""

    def __init__(self, service: str, path: Path, rotate_bytes: int) -> None:
        super().__init__(service, path, rotate_bytes)
        self._seen = 0

    def write(self, event: AuditEvent) -> None:
        """Write most events."""
        self._seen += 1
        if self._seen % 1000:
            super().write(event)


class Duplicated(AuditFile):
    """Writes when it happens and again when it is confirmed."""

    def write(self, event: AuditEvent) -> None:
        """Write twice."""
        super().write(event)
        super().write(event)


class Forgeable(AuditFile):
    """Puts lines together from strings."""

    def line(self, event: AuditEvent) -> bytes:
        """Return a line in which whatever the user sent stands as it came."""
        return super().line(event).replace(b"\\n", b"\n").replace(b"\\r", b"\r").replace(b'\\"', b'"')


class Interleaved(AuditFile):
    """Writes a line in two pieces and asks nobody."""

    def write(self, event: AuditEvent) -> None:
        """Write a half, and the other half."""
        line = self.line(event)
        middle = len(line) // 2
        os.write(self._fd, line[:middle])
        time.sleep(0.001)
        os.write(self._fd, line[middle:])


class LostOnKill(AuditFile):
    """Keeps lines in memory until there are many."""

    AT_ONCE = 64

    def __init__(self, service: str, path: Path, rotate_bytes: int) -> None:
        super().__init__(service, path, rotate_bytes)
        self._held: list[AuditEvent] = []

    def write(self, event: AuditEvent) -> None:
        """Hold the event back."""
        if not self._held:
            asyncio.get_running_loop().call_later(2.0, self._flush)
        self._held.append(event)
        if len(self._held) >= self.AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        held, self._held = self._held, []
        for event in held:
            super().write(event)


class WrongUser(AuditFile):
    """Keeps the user of the request in one place for all requests."""

    def __init__(self, service: str, path: Path, rotate_bytes: int) -> None:
        super().__init__(service, path, rotate_bytes)
        self._user: str | None = None

    def write(self, event: AuditEvent) -> None:
        """Write the user who came before, where there was one."""
        user, self._user = self._user or event.user, event.user or self._user
        super().write(replace(event, user=user))


class NoRequestId(AuditFile):
    """Has no place for the id."""

    def write(self, event: AuditEvent) -> None:
        """Leave the id out."""
        super().write(replace(event, request_id=""))


class RotationLoses(AuditFile):
    """Keeps one old file."""

    def next_free(self) -> Path:
        """Return the same name each time."""
        return self.path.with_name(f"{self.path.name}.1")


class OfficeClock(AuditFile):
    """Writes the time as the clock on the wall shows it, and not where the wall is."""

    def line(self, event: AuditEvent) -> bytes:
        """Return a line with a local time."""
        utc = datetime.now(UTC)
        honest = audit_line(self.service, event, utc).partition(b'","event"')
        wall = (utc + timedelta(hours=2)).strftime("%Y-%m-%dT%H:%M:%S.%f").encode()
        return b'{"time":"' + wall + honest[1] + honest[2]


def without(*names: str) -> Make:
    """Return an audit log that never heard of these events."""

    class Without(AuditFile):
        """Knows some events, not all."""

        def write(self, event: AuditEvent) -> None:
            """Write what is known."""
            if event.event not in names:
                super().write(event)

    return Without


_AUDIT, _KILLED, _FLOOD = "TC-AUDIT-001", "TC-AUDIT-003", "TC-AUDIT-004"


class WaitsForCollector(AuditFile):
    """Answers only once a collector far away has said that it has the line."""

    def write(self, event: AuditEvent) -> None:
        """Write, and wait for as long as a round trip to another continent takes."""
        super().write(event)
        time.sleep(_ROUND_TRIP_S)


def _log(make: Make, id_: str, sentence: str, seen: str, observed: str, case: str = _AUDIT) -> Defect:
    return Defect(id_, sentence, seen, observed, case, everywhere(audit=make))


DEFECTS = (
    _log(
        DroppedWhenBusy,
        "audit.dropped_when_busy",
        "Events go through a bounded queue; what does not fit is dropped in silence.",
        "Asynchronous appenders with a discard policy, the default of some log frameworks.",
        "Under load the log holds fewer events than there were.",
    ),
    _log(
        Sampled,
        "audit.sampled_0_1_percent",
        "One event of a thousand is left out.",
        "Sampling meant for traces, applied to all logs.",
        "Of 1,000 events one is missing.",
        _FLOOD,
    ),
    _log(
        WaitsForCollector,
        "audit.waits_for_collector",
        "The answer waits until a remote collector has confirmed the event.",
        "Synchronous HTTP or syslog appenders.",
        "An operation that leaves an event takes a round trip longer than without the log.",
        "TC-AUDIT-005",
    ),
    _log(
        Duplicated,
        "audit.duplicated",
        "Every event stands there twice.",
        "Two handlers on one logger, or delivery at least once without keys.",
        "Two lines with one request id and event.",
    ),
    _log(
        without("login_failed"),
        "audit.failed_login_missing",
        "Failed logins are not recorded.",
        "CWE-778, insufficient logging: only successes are interesting to whoever wrote it.",
        "No login_failed in the log.",
    ),
    _log(
        without("access_denied"),
        "audit.access_denied_missing",
        "Refused tokens are not recorded.",
        "CWE-778: the gateway refuses before the application's log is reached.",
        "No access_denied in the log.",
    ),
    _log(
        without("rate_limited"),
        "audit.rate_limited_missing",
        "Rejections of the limiter are not recorded.",
        "Limiters in front of everything that logs.",
        "No rate_limited in the log.",
        "TC-INT-002",
    ),
    _log(
        Forgeable,
        "audit.forgeable",
        "Line ends in a user name end the line.",
        "CWE-117, log injection.",
        "A login with a crafted name adds a line of the attacker's own.",
    ),
    _log(
        Interleaved,
        "audit.interleaved",
        "A line is written in two pieces, without a lock.",
        "Several processes appending to one file through a buffer.",
        "Under concurrency lines are broken: two halves in one.",
    ),
    _log(
        LostOnKill,
        "audit.lost_on_kill",
        "Lines are kept in memory for up to two seconds.",
        "Buffered handlers.",
        "Events whose answers were given are missing after the service was killed.",
        _KILLED,
    ),
    _log(
        WrongUser,
        "audit.wrong_user",
        "The user of another request stands in the line.",
        "Context kept in a global, shared by requests that run at once.",
        "Lines whose user does not belong to their request id.",
    ),
    _log(
        NoRequestId,
        "audit.no_request_id",
        "Lines have no request id.",
        "Loggers set up before the middleware that knows the id.",
        "request_id is empty.",
    ),
    _log(
        RotationLoses,
        "audit.rotation_loses",
        "Rotation overwrites the one old file.",
        "Rotation with a backup count of 1.",
        "After two rotations the oldest events are gone.",
    ),
    _log(
        OfficeClock,
        "audit.clock_local_time",
        "Times are local and do not say so.",
        "The default of most log formatters.",
        "Times without an offset, hours off.",
    ),
    _log(
        without("circuit_opened", "circuit_half_opened", "circuit_closed"),
        "int.open_circuit_not_audited",
        "Changes of a circuit are not recorded.",
        "Breaker libraries whose listeners nobody registered.",
        "No circuit_opened in the log though answers were CIRCUIT_OPEN.",
        "TC-INT-005",
    ),
)

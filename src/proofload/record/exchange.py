"""One request and its outcome: how it ended, when, and what came back."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

NEVER_NS = -1
"""Stands in a time column for an instant that never came, such as the first byte of no answer."""


class Ending(enum.IntEnum):
    """How a planned request ended: what the target may have done is what matters."""

    ANSWERED = 0
    """A whole response came back."""
    NOT_SENT = 1
    """No byte left us (refused, no connection in time): it certainly had no effect."""
    UNKNOWN = 2
    """Sent, wholly or in part, but unanswered: it may or may not have had its effect."""
    DROPPED = 3
    """Planned, but the generator never came to it (no user free, run stopped): it says something about us."""


class Fault(enum.IntEnum):
    """Why no whole response came back; NONE where one did."""

    NONE = 0
    CONNECT_REFUSED = 1
    CONNECT_TIMEOUT = 2
    CONNECT_FAILED = 3
    TLS_FAILED = 4
    TIMEOUT = 5
    RESET = 6
    CLOSED = 7
    """The peer closed before the response was whole."""
    BAD_RESPONSE = 8
    """What came back is no HTTP response."""
    TOO_LARGE = 9
    NO_USER_FREE = 10
    STOPPED = 11
    """The run ended first: a stop, a signal or a dead generator."""
    REUSED_CONNECTION_CLOSED = 12
    """The peer closed a kept-alive connection while a request that can't be repeated was on its way to it."""
    NO_DESCRIPTOR = 13
    """This machine had no file descriptor left to connect with."""
    NO_LOCAL_ADDRESS = 14
    """This machine had no local port, address or socket buffer to connect with."""


OUR_LIMITS = (Fault.NO_DESCRIPTOR, Fault.NO_LOCAL_ADDRESS)
"""Faults that say that this machine came to an end, and nothing of the target."""
NOT_THE_TARGETS = (Fault.REUSED_CONNECTION_CLOSED, *OUR_LIMITS)
"""Faults that are no error of the target: they are neither counted against it nor as evidence for it."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One row of the history, as a record. Instants are monotonic nanoseconds, `NEVER_NS` where there is none.

    The server decided somewhere inside [sent_ns, done_ns]; judges reason on that interval and never on a point.
    """

    row: int
    workload: str
    operation: str
    user: int
    source: str
    connection: int
    intended_ns: int
    sent_ns: int
    first_byte_ns: int
    done_ns: int
    ending: Ending
    fault: Fault
    status: int
    bytes_out: int
    bytes_in: int
    request_id: str
    headers: Mapping[str, str] = field(default_factory=dict)
    """The chosen response headers that were present, by lower-case name."""
    body: bytes | None = None
    """The response body, where the workload asked to keep it; cut at the plan's limit."""

    @property
    def service_ns(self) -> int:
        """Return done − sent: what the target took."""
        return self.done_ns - self.sent_ns

    @property
    def response_ns(self) -> int:
        """Return done − intended: what a client waited, free of coordinated omission."""
        return self.done_ns - self.intended_ns

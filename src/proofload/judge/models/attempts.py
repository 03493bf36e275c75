"""Requests on one key as intervals, and what examining them against a model yields."""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from proofload.core.units import NS_PER_SECOND

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

FAR_NS = 1 << 61
"""An instant beyond every history: stands for 'no bound known'. Twice it still fits in 64 bits."""


class AttemptKind(enum.IntEnum):
    """What the limiter decided about a request, as far as a client can tell."""

    ADMITTED = 0
    REJECTED = 1
    UNSURE = 2
    """No answer, or an answer that does not say: it may have been counted, or not."""


@dataclass(frozen=True, slots=True)
class Slack:
    """How far an honest limiter may stray from the letter of its promise. What lies inside is never FAIL."""

    window_ns: int
    """How much longer or shorter than declared a window may last: store timers, clock slew, whole-second expiry."""
    rounding_ns: int = NS_PER_SECOND
    """How far `Reset` and `Retry-After` may lie off because whole seconds are rounded up or down."""
    clock_ns: int = 5_000_000
    """How far the instant at which the limiter reads its clock may lie from the instant at which it decides."""
    linger_ns: int = 10 * NS_PER_SECOND
    """How long after a client gave up on a request the target may still have decided it."""
    fraction: float = 1e-3
    """Share of a token that arithmetic in the limiter may lose or gain."""

    @classmethod
    def of_window(cls, window_ns: int) -> Slack:
        """Return the slack for a window: a fiftieth of it, from 20 ms to 1 s, but never above a quarter.

        >>> Slack.of_window(60_000_000_000).window_ns
        1000000000
        """
        return cls(window_ns=min(NS_PER_SECOND, max(20_000_000, window_ns // 50), window_ns // 4))


@dataclass(frozen=True, slots=True)
class Attempts:
    """The requests on one key, ascending by `sent_ns`; each was decided somewhere in [sent_ns, done_ns]."""

    row: Ints
    sent_ns: Ints
    done_ns: Ints
    kind: NDArray[np.uint8]
    fresh: bool = True
    """The key had spent nothing before the first of these."""

    def __len__(self) -> int:
        """Return the number of requests."""
        return len(self.row)

    @classmethod
    def make(cls, row: Ints, sent_ns: Ints, done_ns: Ints, kind: NDArray[np.uint8], *, fresh: bool = True) -> Attempts:
        """Return attempts in the order that the class promises, from columns in any order."""
        order = np.lexsort((row, done_ns, sent_ns))
        return cls(row[order], sent_ns[order], done_ns[order], kind[order], fresh)

    def only(self, chosen: Flags) -> Attempts:
        """Return the attempts that a mask chooses."""
        return Attempts(self.row[chosen], self.sent_ns[chosen], self.done_ns[chosen], self.kind[chosen], self.fresh)

    @property
    def admitted(self) -> Flags:
        """Return a mask of the requests that were surely admitted."""
        return np.equal(self.kind, AttemptKind.ADMITTED)

    @property
    def rejected(self) -> Flags:
        """Return a mask of the requests that were surely rejected."""
        return np.equal(self.kind, AttemptKind.REJECTED)


@dataclass(frozen=True, slots=True)
class Broken:
    """A promise that no assignment of decision instants can keep, with the rows that show it."""

    rows: tuple[int, ...]
    culprit: int
    """The row that breaks it: the one too many admitted, or the one wrongly rejected."""
    allowed: int
    """How many admissions the promise allows (at the most, or at the least before a rejection) there."""
    counted: int
    """How many there were: surely (over-admission), or possibly (wrongful rejection)."""
    from_ns: int
    to_ns: int
    """The span that shows it."""


@dataclass(frozen=True, slots=True)
class HeaderBounds:
    """What the model says the limiter must have answered, for each attempt, as bounds."""

    remaining_lo: Ints
    remaining_hi: Ints
    end_lo_ns: Ints
    end_hi_ns: Ints
    """When the allowance is whole again (the end of the window), on the monotonic clock."""
    window: Ints
    """The number of the window that an attempt surely belongs to, or -1."""


@dataclass(frozen=True, slots=True)
class Examined:
    """One key's attempts held against one model."""

    over: Broken | None
    wrongful: Broken | None
    tried: int
    """The most requests that were surely decided inside one allowance."""
    tried_needed: int
    """How many of them it takes to put the limit to the test."""
    granted: int
    """The most requests that were surely admitted inside one allowance."""
    granted_needed: int
    overs: int = 0
    """How many windows, or requests, were over."""
    wrongfuls: int = 0


def suffix_min(values: Ints) -> Ints:
    """Return for each place the least of the values from there on, with FAR_NS behind the last.

    >>> suffix_min(np.array([3, 1, 2]))[:3].tolist()
    [1, 1, 2]
    """
    padded = np.append(values, FAR_NS)
    return np.asarray(np.minimum.accumulate(padded[::-1])[::-1])

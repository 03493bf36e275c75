"""The only module that reads a clock. Instants are whole nanoseconds; a name says which clock they belong to."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Protocol

# uvloop and asyncio timers tick in milliseconds: sleep short of the due time, then come back through the loop.
_TIMER_TICK_NS = 1_500_000


class Clock(Protocol):
    """What paces and stamps need of time."""

    def now_ns(self) -> int:
        """Return the monotonic instant in nanoseconds."""
        ...

    def wall_ns(self) -> int:
        """Return nanoseconds since the Unix epoch."""
        ...

    async def sleep_until_ns(self, due_ns: int) -> None:
        """Return at `due_ns` on the monotonic clock or later, never before."""
        ...


class SystemClock:
    """The machine's own clocks."""

    # The function itself, not a method around it: the engine reads it twice for every request.
    now_ns = staticmethod(time.perf_counter_ns)
    """CLOCK_MONOTONIC on Linux: one clock for all processes of a machine."""

    def wall_ns(self) -> int:
        """Return nanoseconds since the Unix epoch."""
        return time.time_ns()

    async def sleep_until_ns(self, due_ns: int) -> None:
        """Sleep to within a timer tick of `due_ns`, then yield to the loop until it is there."""
        while (left_ns := due_ns - self.now_ns()) > 0:  # noqa: ASYNC110 -- a due time, no event to wait for
            await asyncio.sleep(max(0, left_ns - _TIMER_TICK_NS) / 1e9)


@dataclass(frozen=True, slots=True)
class Anchor:
    """One instant on both clocks, so that monotonic instants can be told as wall-clock time.

    The two were read within `uncertainty_ns` of each other.
    """

    monotonic_ns: int
    wall_ns: int
    uncertainty_ns: int

    @classmethod
    def take(cls, clock: Clock) -> Anchor:
        """Return the tightest of several readings of the two clocks."""
        best: Anchor | None = None
        for _ in range(8):
            before = clock.now_ns()
            wall = clock.wall_ns()
            after = clock.now_ns()
            if best is None or after - before < best.uncertainty_ns:
                best = cls((before + after) // 2, wall, after - before)
        assert best is not None
        return best

    def to_wall_ns(self, monotonic_ns: int) -> int:
        """Return the wall-clock time of a monotonic instant, in nanoseconds since the epoch.

        >>> Anchor(monotonic_ns=100, wall_ns=5_000, uncertainty_ns=1).to_wall_ns(160)
        5060
        """
        return self.wall_ns + (monotonic_ns - self.monotonic_ns)

    def to_monotonic_ns(self, wall_ns: int) -> int:
        """Return the monotonic instant of a wall-clock time.

        >>> Anchor(monotonic_ns=100, wall_ns=5_000, uncertainty_ns=1).to_monotonic_ns(5_060)
        160
        """
        return self.monotonic_ns + (wall_ns - self.wall_ns)

"""What an executor may ask of the engine that hosts it, and nothing else."""

from __future__ import annotations

from typing import Protocol

from proofload.core.clock import Clock
from proofload.core.errors import ToolError
from proofload.drive.http.wire import Wire


class ExecutorHost(Protocol):
    """One load generator as an executor sees it; the engine is one, a test's stand-in may be another."""

    spin_ns: int
    """Time that executors waited awake for the next arrival. They add to it, for it is no work."""

    @property
    def wire(self) -> Wire:
        """Sends what a user's next step asks for, and steps the user when the answer is in."""
        ...

    @property
    def clock(self) -> Clock:
        """Tells when an arrival is due, and sleeps until it is."""
        ...

    @property
    def seed(self) -> int:
        """Seed of the whole run: all generators plan the same arrivals from it."""
        ...

    @property
    def shard(self) -> int:
        """Number of this generator, 0 to `shards` - 1; it takes every `shards`-th user and arrival."""
        ...

    @property
    def shards(self) -> int:
        """How many generators share the load."""
        ...

    @property
    def connect_timeout_s(self) -> float:
        """How long a connection may take to open, in seconds."""
        ...

    async def barrier(self, name: str, opened: int) -> int:
        """Return the instant (monotonic, ns) at which the burst `name` is released, or -1 where it is off."""
        ...

    def fail(self, error: ToolError) -> None:
        """End the run because the tool itself can't go on."""
        ...

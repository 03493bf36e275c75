"""Lets cases run side by side, and lets one ask for silence while it counts what others would disturb."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class QuietLock:
    """A lock with many senders or one who needs silence; senders nearer their end do not overtake who waits for it.

    Of several who wait for silence, the one that will take longest afterwards comes first: others fit into its waits.
    """

    def __init__(self) -> None:
        self._senders = 0
        self._exclusive = False
        self._wanting: list[int] = []
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def sending(self, takes_ns: int = 0) -> AsyncIterator[None]:
        """Hold while sending; waits while somebody has silence, or wants it who will take longer in all.

        Whoever has the longest way to go waits for nobody: a run takes as long as its longest case.
        """
        async with self._changed:
            await self._changed.wait_for(
                lambda: not self._exclusive and all(takes_ns > wanting for wanting in self._wanting)
            )
            self._senders += 1
        try:
            yield
        finally:
            async with self._changed:
                self._senders -= 1
                self._changed.notify_all()

    @asynccontextmanager
    async def exclusive(self, takes_ns: int = 0) -> AsyncIterator[None]:
        """Hold while nobody else may send. `takes_ns` is how long the one who asks will take, about, in all."""
        async with self._changed:
            self._wanting.append(takes_ns)
            try:
                await self._changed.wait_for(
                    lambda: not self._exclusive and not self._senders and takes_ns >= max(self._wanting)
                )
                self._exclusive = True
            finally:
                self._wanting.remove(takes_ns)
                self._changed.notify_all()
        try:
            yield
        finally:
            async with self._changed:
                self._exclusive = False
                self._changed.notify_all()

"""Keeps a part of a case away from what another has broken: calls of a service wait while somebody disturbs it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

from proofload.cases.isolation import clash


class ResourceLocks:
    """Who uses what just now, and what is disturbed. The schedule starts nothing that would disturb what is in use."""

    def __init__(self, disturbed: Callable[[str], frozenset[str]] = lambda _: frozenset()) -> None:
        """`disturbed` returns what everybody but the named case, and those that follow on it, disturbs now."""
        self._disturbed = disturbed
        self._in_use: Counter[str] = Counter()
        self._changed = asyncio.Condition()
        self.released = asyncio.Event()
        """Set when something is no longer in use: a case may have waited for it."""

    @property
    def in_use(self) -> frozenset[str]:
        """Return what parts of cases use just now."""
        return frozenset(+self._in_use)

    @asynccontextmanager
    async def using(self, resources: Iterable[str], by: str = "") -> AsyncIterator[None]:
        """Hold while nobody else than the case `by` disturbs the resources; waits until nobody does."""
        wanted = frozenset(resources)
        async with self._changed:
            await self._changed.wait_for(lambda: not clash(wanted, self._disturbed(by)))
            self._in_use.update(wanted)
        try:
            yield
        finally:
            self._in_use.subtract(wanted)
            self.released.set()

    async def look_again(self) -> None:
        """Let those who wait see that cases have begun or ended."""
        async with self._changed:
            self._changed.notify_all()

"""Keeps a part of a case away from what another case has broken: calls of a service wait while somebody disturbs it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager


class Holds:
    """Who uses what just now, and what is disturbed. The schedule starts nothing that would disturb what is in use."""

    def __init__(self, disturbed: Callable[[], Iterable[str]] = tuple) -> None:
        self._disturbed = disturbed
        self._in_use: Counter[str] = Counter()
        self._changed = asyncio.Condition()
        self.let_go = asyncio.Event()
        """Set when something is no longer in use: a case may have waited for it."""

    @property
    def in_use(self) -> frozenset[str]:
        """Return what parts of cases use just now."""
        return frozenset(+self._in_use)

    @asynccontextmanager
    async def using(self, names: Iterable[str]) -> AsyncIterator[None]:
        """Hold while nobody disturbs `names`, such as `service:order`; waits until nobody does."""
        wanted = frozenset(names)
        async with self._changed:
            await self._changed.wait_for(lambda: wanted.isdisjoint(self._disturbed()))
            self._in_use.update(wanted)
        try:
            yield
        finally:
            self._in_use.subtract(wanted)
            self.let_go.set()

    async def look_again(self) -> None:
        """Let those who wait see that cases have begun or ended."""
        async with self._changed:
            self._changed.notify_all()

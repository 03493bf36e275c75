"""Lets cases run side by side, and lets one ask for silence while it counts what others would disturb."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """A lock with many senders or one who needs silence. One who waits for silence is not overtaken."""

    def __init__(self) -> None:
        self._senders = 0
        self._silent = False
        self._wanting_silence = 0
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def sending(self) -> AsyncIterator[None]:
        """Hold while sending; waits while somebody has or wants silence."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self._silent and not self._wanting_silence)
            self._senders += 1
        try:
            yield
        finally:
            async with self._changed:
                self._senders -= 1
                self._changed.notify_all()

    @asynccontextmanager
    async def silence(self) -> AsyncIterator[None]:
        """Hold while nobody else may send."""
        async with self._changed:
            self._wanting_silence += 1
            try:
                await self._changed.wait_for(lambda: not self._silent and not self._senders)
                self._silent = True
            finally:
                self._wanting_silence -= 1
                self._changed.notify_all()
        try:
            yield
        finally:
            async with self._changed:
                self._silent = False
                self._changed.notify_all()

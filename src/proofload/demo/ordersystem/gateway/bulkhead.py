"""So many calls at a time to each service, so many in line, and a quick no to the rest."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol


class Admission(Protocol):
    """Room for calls."""

    async def enter(self) -> bool:
        """Wait for room; False when there is none and none is to be expected soon."""

    def leave(self) -> None:
        """Give the room to the next."""


class Bulkhead:
    """Bounded concurrency with a bounded line of bounded patience; first come, first served."""

    def __init__(self, at_once: int, in_line: int, patience_s: float) -> None:
        self._free = at_once
        self._in_line = in_line
        self._patience_s = patience_s
        self._line: deque[asyncio.Future[bool]] = deque()

    async def enter(self) -> bool:
        """Take a place at once, or stand in line for one."""
        if self._free > 0:
            self._free -= 1
            return True
        if len(self._line) >= self._in_line:
            return False
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[bool] = loop.create_future()
        self._line.append(turn)
        timer = loop.call_later(self._patience_s, _give_up, turn)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.result():
                self.leave()
            raise
        finally:
            timer.cancel()

    def leave(self) -> None:
        """Pass the place on to whoever still waits."""
        while self._line:
            turn = self._line.popleft()
            if not turn.done():
                turn.set_result(True)
                return
        self._free += 1


def _give_up(turn: asyncio.Future[bool]) -> None:
    if not turn.done():
        turn.set_result(False)

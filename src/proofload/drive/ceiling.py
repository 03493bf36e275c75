"""Holds a run under its ceilings, whatever the workloads ask for."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

from proofload.core.clock import Clock
from proofload.core.units import NS_PER_SECOND
from proofload.drive.http.wire import Wire
from proofload.drive.rows import Rows
from proofload.plan.workload import Ceilings

_EVERY_S = 0.005
_UNLIMITED = 2**63


class Limited(Protocol):
    """What a ceiling has to see and to stop: one load generator."""

    @property
    def clock(self) -> Clock:
        """The clock that a ceiling's rate and duration are measured by."""
        ...

    @property
    def wire(self) -> Wire:
        """Holds back what comes above its budget."""
        ...

    @property
    def rows(self) -> Rows:
        """Counts the requests that were made."""
        ...

    def stop(self, *, at_once: bool = False, reason: str = "") -> None:
        """End the run; what is under way may finish, or is cut `at_once`."""
        ...


class Ceiling:
    """Tells the wire up to which row number requests may go out now; what comes above waits, in order.

    In any second no more than the ceiling's rate is sent, and 2 % for the coarseness of the loop's timer.
    """

    def __init__(self, ceilings: Ceilings, engine: Limited) -> None:
        self._ceilings = ceilings
        self._engine = engine
        self._past: deque[tuple[int, int]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop
        self._end_ns = _UNLIMITED

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to watch, where there is a ceiling at all."""
        self._loop = loop
        now_ns = self._engine.clock.now_ns()
        if self._ceilings.duration_ns is not None and self._end_ns == _UNLIMITED:
            self._end_ns = now_ns + self._ceilings.duration_ns
        if self._ceilings != Ceilings():
            self._watch()

    def stop(self) -> None:
        """Watch no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _watch(self) -> None:
        engine, wire, ceilings = self._engine, self._engine.wire, self._ceilings
        now_ns = engine.clock.now_ns()
        sent = engine.rows.made - wire.dropped
        budget = _UNLIMITED
        if ceilings.rate_per_second is not None:
            self._past.append((now_ns, sent))
            while len(self._past) > 1 and self._past[1][0] <= now_ns - NS_PER_SECOND:
                self._past.popleft()
            rate = ceilings.rate_per_second
            budget = self._past[0][1] + rate + rate // 50
        if ceilings.total_requests is not None:
            budget = min(budget, ceilings.total_requests)
            if sent >= ceilings.total_requests and wire.parked:
                engine.stop(at_once=False, reason=f"the ceiling of {ceilings.total_requests} requests was reached")
        if now_ns >= self._end_ns:
            engine.stop(at_once=True, reason="the ceiling on the duration was reached")
        wire.budget = budget + wire.dropped
        self._release()
        self._timer = self._loop.call_later(_EVERY_S, self._watch)

    def _release(self) -> None:
        wire = self._engine.wire
        parked, wire.parked = wire.parked, []
        for user, prepared in parked:
            if user.leaving and not user.over:
                # Its workload is over, and nothing of the request was begun.
                user.runner.retire(user)
            elif not user.over:
                wire.dispatch(user, prepared)

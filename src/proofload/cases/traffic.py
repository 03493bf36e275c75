"""When a case may send, beside others that send too: its turn, alone with the target, or away from what is broken."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from proofload.cases.isolation import QUIET, service_of, used_by
from proofload.cases.progress import CaseProgress
from proofload.cases.quiet_lock import QuietLock
from proofload.cases.resource_locks import ResourceLocks
from proofload.core.clock import Clock
from proofload.plan.target import Target


class Traffic:
    """One case's right to send."""

    def __init__(
        self,
        case_id: str,
        target: Target,
        clock: Clock,
        progress: CaseProgress,
        quiet_lock: QuietLock,
        resource_locks: ResourceLocks,
        takes_ns: int,
    ) -> None:
        self._case_id = case_id
        self._target = target
        self._clock = clock
        self._progress = progress
        self._quiet_lock = quiet_lock
        self._resource_locks = resource_locks
        self._takes_ns = takes_ns
        self._holds_turn = False
        self.exclusive_spans: list[tuple[int, int]] = []
        """When no other case sent, from and to."""

    def sending(self) -> AbstractAsyncContextManager[None]:
        """Hold a turn to send. Who is exclusive has one: asking again would wait for itself."""
        return contextlib.nullcontext() if self._holds_turn else self._quiet_lock.sending(self._takes_ns)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Hold a turn to send for several runs, so that none of them waits for a case that wants to be alone."""
        async with self.sending():
            before, self._holds_turn = self._holds_turn, True
            try:
                yield
            finally:
                self._holds_turn = before

    @asynccontextmanager
    async def exclusive(self) -> AsyncIterator[None]:
        """Hold while no other case sends, so that what the target counts is ours alone.

        Cases that saturate the target are not waited for by all who send now and then: they disturb QUIET.
        """
        async with self._resource_locks.using((QUIET,), self._case_id), self._quiet_lock.exclusive(self._takes_ns):
            self._holds_turn = True
            from_ns = self._clock.now_ns()
            try:
                yield
            finally:
                self._holds_turn = False
                self.exclusive_spans.append((from_ns, self._clock.now_ns()))

    def undisturbed(self, *operations: str) -> AbstractAsyncContextManager[None]:
        """Hold while no other case disturbs the services of these operations; waits until then.

        For a case that can do something else meanwhile; one that can't declares `uses`. Never inside `exclusive`.
        """
        services = sorted({service for name in operations if (service := service_of(self._target, name))})
        if services and not self._holds_turn:
            self._progress.doing(f"waiting until {', '.join(services)} can be called undisturbed")
        return self._resource_locks.using(used_by(self._target, operations), self._case_id)

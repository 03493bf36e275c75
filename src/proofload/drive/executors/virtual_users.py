"""Runners of users that loop, of counted iterations, and of bursts."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any

from proofload.drive.executors.base import Runner
from proofload.drive.executors.host import ExecutorHost
from proofload.drive.user import User
from proofload.plan import workload as plan
from proofload.plan.arrivals import user_steps


class ConstantUsersRunner(Runner):
    """Closed: a number of users, for a time."""

    workload: plan.ConstantUsers

    async def drive(self, begin_ns: int) -> None:
        """Start all users and wait for the end."""
        for index in self.mine(self.workload.users):
            self.start(self.new_user(index))
        await self.reached(begin_ns + self.workload.for_ns)

    def ended(self, user: User) -> bool:
        """Go on."""
        return self.again(user)

    def repeat(self, user: User, operation: str) -> Generator[Any, Any, None]:
        """Send one operation again and again, without a stop in between where nothing else is to be done there."""
        if self._think is not None:
            yield from super().repeat(user, operation)
        user.next = user.prepare("", operation, {})
        while not user.leaving:
            yield user


class RampingUsersRunner(ConstantUsersRunner):
    """Closed: a number of users that follows stages."""

    workload: plan.RampingUsers  # type: ignore[assignment]

    async def drive(self, begin_ns: int) -> None:
        """Let users come and go, the last come first gone."""
        here: list[User] = []
        for at_ns, level in user_steps(self.workload):
            if not await self.reached(begin_ns + at_ns):
                return
            wanted = len(self.mine(level))
            while len(here) < wanted:
                user = self.new_user(self.mine(level)[len(here)])
                here.append(user)
                self.start(user)
            while len(here) > wanted:
                user = here.pop()
                user.leaving = True
                if user in self.thinking:
                    self.retire(user)


class IterationsRunner(Runner):
    """Closed: a number of iterations, shared by all users or for each."""

    workload: plan.SharedIterations | plan.PerUserIterations | plan.Sequence

    def __init__(self, host: ExecutorHost, workload: plan.AnyWorkload, number: int, first_user: int) -> None:
        super().__init__(host, workload, number, first_user)
        self._left = 0

    async def drive(self, begin_ns: int) -> None:
        """Start the users, and wait until the iterations are used up or the time is over."""
        load = self.workload
        total = plan.user_count(load)
        mine = list(self.mine(total))
        self._left = self.budget(load, total, len(mine))
        self.unmade = self._left
        for index in mine:
            if not self.take(user := self.new_user(index)):
                self.retire(user)
                continue
            self.start(user)
        await self.finished(begin_ns + plan.span_ns(load))

    def budget(self, load: plan.AnyWorkload, users: int, mine: int) -> int:
        """Return how many iterations this generator makes: those of its users, dealt out in turn."""
        if isinstance(load, plan.PerUserIterations):
            return load.iterations * mine
        whole = load.n if isinstance(load, plan.Sequence | plan.Burst) else getattr(load, "iterations", 0)
        full, rest = divmod(whole, users)
        return full * mine + sum(1 for index in self.mine(users) if index < rest)

    def take(self, user: User) -> bool:
        """Take one iteration from the heap; return whether there was one for this user."""
        if isinstance(self.workload, plan.PerUserIterations) and user.iterations >= self.workload.iterations:
            return False
        if self._left <= 0 or self.stopping.is_set():
            return False
        self._left -= 1
        self.unmade = self._left
        return True

    def ended(self, user: User) -> bool:
        """Go on while there are iterations."""
        user.iterations += 1
        if not self.take(user):
            user.leaving = True
        if isinstance(self.workload, plan.Sequence) and self.workload.fresh_connections:
            user.reconnect()
        user.iterations -= 1
        return self.again(user)


class BurstRunner(IterationsRunner):
    """N requests at one instant, over connections that stand open by then."""

    workload: plan.Burst  # type: ignore[assignment]

    async def drive(self, begin_ns: int) -> None:
        """Prepare, connect, wait for everybody, and release in one turn of the loop."""
        load = self.workload
        total = plan.user_count(load)
        indices = list(self.mine(total))
        self._left = self.unmade = self.budget(load, total, len(indices))
        users = [self.new_user(index) for index in indices]
        await self._prepare(users)
        self.opened = await self.open_connections(users)
        for user in users:
            self.take(user)
            self.begin(user)
        # All that can be done before the release is: what is left is a system call for each.
        held = [user for user in users if self.wire.advance(user)]
        release_ns = await self.host.barrier(self.name, self.opened)
        if release_ns < 0 or not await self.reached(release_ns):
            self.unmade += len(users)
            for user in users:
                self.retire(user)
            return
        dispatch = self.wire.dispatch
        for user in held:
            user.due_ns = release_ns
            dispatch(user, user.next)
        # No answer can have come in: that takes another turn of the loop.
        sent = [user.connection.sent_ns for user in held if user.connection is not None and user.connection.sent_ns > 0]
        self.burst_sent_ns = (min(sent), max(sent)) if sent else None
        await self.finished(begin_ns + plan.span_ns(load))

    async def _prepare(self, users: list[User]) -> None:
        prepare = self.workload.prepare
        if prepare is None:
            return
        waiting = len(users)
        all_done = asyncio.Event()

        def done() -> None:
            nonlocal waiting
            waiting -= 1
            if not waiting:
                all_done.set()

        async def first(user: User) -> None:
            try:
                await prepare(user)
            finally:
                done()

        for user in users:
            _run_script(user, first(user))
        self._preparing = True
        for user in users:
            self.wire.step(user, None)
        if users:
            stopped = asyncio.ensure_future(self.stopping.wait())
            ready = asyncio.ensure_future(all_done.wait())
            await asyncio.wait((stopped, ready), return_when=asyncio.FIRST_COMPLETED)
            stopped.cancel()
            ready.cancel()
        self._preparing = False
        for user in users:
            user.is_prepared = True

    _preparing = False

    def ended(self, user: User) -> bool:
        """Go on while there are iterations; the end of the preparation is none."""
        return False if self._preparing else super().ended(user)


def _run_script(user: User, script: Coroutine[Any, Any, Any]) -> None:
    user.acted = False
    user.send = script.send
    user.close_script = script.close

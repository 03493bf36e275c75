"""The runner of arrivals that come when they are due, whether or not earlier ones have ended."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Iterator

from proofload.core.errors import ToolError
from proofload.drive.executors.base import TIMER_TICK_NS, Runner
from proofload.drive.executors.host import ExecutorHost
from proofload.drive.user import User
from proofload.plan import workload as plan
from proofload.plan.arrivals import arrival_blocks, count
from proofload.record.exchange import Fault

_MOST_IN_A_TURN = 64
_END = 2**63 - 1


class OpenRunner(Runner):
    """Open: arrivals when they are due, each taken by the user that has been free for longest.

    Users take turns, so that the load is spread over all their addresses and accounts.
    """

    workload: plan.ConstantRate | plan.RampingRate | plan.PoissonArrivals

    def __init__(self, host: ExecutorHost, workload: plan.AnyWorkload, number: int, first_user: int) -> None:
        super().__init__(host, workload, number, first_user)
        self._free: deque[User] = deque()
        self._indices = iter(self.mine(self.workload.max_users))
        self._plan_over = asyncio.Event()
        self._due: Iterator[int] = iter(())
        self._next_ns = _END
        self._last_spin: tuple[int, int] = (0, -1)
        self._operation = 0
        self.made = 0

    async def drive(self, begin_ns: int) -> None:
        """Hand out the arrivals, each at its instant."""
        load = self.workload
        if isinstance(load.run, str):
            declared = self.wire.operations.get(load.run)
            self._operation = self.wire.rows.operations.number(
                declared.name if declared else load.run.partition("?")[0]
            )
        else:
            self._operation = self.wire.rows.operations.number("")
        blocks = arrival_blocks(load, self.host.seed, self.host.shard, self.host.shards)
        self._due = (begin_ns + due for block in blocks for due in block.tolist())
        self._next_ns = next(self._due, _END)
        if self._next_ns == _END:
            return
        self._tick()
        waiting = asyncio.ensure_future(self._plan_over.wait())
        try:
            await waiting
        finally:
            waiting.cancel()
        if self._next_ns == _END:
            await self.reached(begin_ns + plan.span_ns(load))
        else:
            self._leave_unmade(begin_ns)

    async def warm_up(self) -> None:
        """Open the connections that arrivals shall find open."""
        users = [self.new_user(index) for index in itertools.islice(self._indices, self.workload.warm_users)]
        await self.open_connections(users)
        self._free.extend(users)
        self.thinking.update(users)

    def stop(self) -> None:
        """Begin nothing any more."""
        super().stop()
        self._plan_over.set()

    def ended(self, user: User) -> bool:
        """Put the user back among the free."""
        user.due_ns = 0
        if user.leaving:
            self.retire(user)
        else:
            user.iterations += 1
            self._free.append(user)
            self.thinking.add(user)
        return False

    def _tick(self) -> None:
        if self.stopping.is_set():
            return
        now_ns = self.host.clock.now_ns()
        due_ns = self._next_ns
        if due_ns > now_ns:
            self._sleep(due_ns, now_ns)
            return
        turn = 0
        while due_ns <= now_ns and turn < _MOST_IN_A_TURN:
            self._arrive(due_ns)
            due_ns = next(self._due, _END)
            turn += 1
        self._next_ns = due_ns
        if due_ns == _END:
            self._plan_over.set()
        else:
            self.wire.loop.call_soon(self._tick)

    def _sleep(self, due_ns: int, now_ns: int) -> None:
        left_ns = due_ns - now_ns
        loop = self.wire.loop
        if left_ns > TIMER_TICK_NS:
            loop.call_later((left_ns - TIMER_TICK_NS) / 1e9, self._tick)
            return
        rows = self.wire.rows
        work = rows.made + len(rows.finished)
        last_ns, last_work = self._last_spin
        if last_work == work:
            self.host.spin_ns += now_ns - last_ns
        self._last_spin = (now_ns, work)
        loop.call_soon(self._tick)

    def _arrive(self, due_ns: int) -> None:
        self.made += 1
        free = self._free
        if free:
            user = free.popleft()
            self.thinking.discard(user)
        else:
            index = next(self._indices, -1)
            if index < 0:
                self._drop(due_ns, Fault.NO_USER_FREE)
                return
            user = self.new_user(index)
        user.due_ns = due_ns
        self.begin(user)
        self.wire.step(user, None)

    def _drop(self, due_ns: int, fault: Fault) -> None:
        try:
            self.wire.rows.add_ended(due_ns, self.first_user, self.number, self._operation, fault)
        except ToolError as error:
            self.host.fail(error)
            return
        self.wire.budget += 1
        self.wire.dropped += 1

    def _leave_unmade(self, begin_ns: int) -> None:
        """Arrivals that were due before the stop are rows; how many were still to come is counted."""
        now_ns = self.host.clock.now_ns()
        while self._next_ns <= now_ns:
            self.made += 1
            self._drop(self._next_ns, Fault.STOPPED)
            self._next_ns = next(self._due, _END)
        planned = len(range(self.host.shard, count(self.workload, self.host.seed), self.host.shards))
        self.unmade = planned - self.made

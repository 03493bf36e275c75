"""What the runners of all kinds of workload share: users, their iterations, and the ways to come to an end."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections.abc import Generator, Iterator, Mapping
from typing import Any

from proofload.core.seeds import stream
from proofload.drive.executors.host import ExecutorHost
from proofload.drive.http.wire import IDLE
from proofload.drive.measure import RunnerReport, asked_per_second
from proofload.drive.user import User
from proofload.plan import workload as plan
from proofload.record.exchange import Fault

TIMER_TICK_NS = 1_500_000
_OPEN_AT_ONCE = 64


class Runner:
    """What all kinds share: users, their iterations, and the three ways to come to an end."""

    workload: plan.AnyWorkload

    def __init__(self, host: ExecutorHost, workload: plan.AnyWorkload, number: int, first_user: int) -> None:
        self.host = host
        self.wire = host.wire
        self.workload = workload
        self.name = workload.name
        self.number = number
        self.first_user = first_user
        self.tag = workload.tag
        self.users: set[User] = set()
        self.thinking: set[User] = set()
        self.unmade = 0
        self.burst_sent_ns: tuple[int, int] | None = None
        self.opened: int | None = None
        self.stopping = asyncio.Event()
        self._quiet = asyncio.Event()
        self._quiet.set()
        self.feeder: Iterator[Mapping[str, Any]] = itertools.islice(
            itertools.cycle(workload.data), host.shard, None, host.shards
        )
        self.script = None if isinstance(workload.run, str) else workload.run
        self._think: plan.Think | None = getattr(workload, "think", None)
        self._random: random.Random = stream(host.seed, "think", workload.name, host.shard)

    # -- the course of a workload ------------------------------------------------------------------------------------

    async def run(self, start_ns: int) -> None:
        """Run the workload to its end: its plan, then a time of grace, then the axe."""
        begin_ns = start_ns + self.workload.start_after_ns
        if await self.reached(begin_ns):
            await self.drive(begin_ns)
        self.dismiss()
        try:
            async with asyncio.timeout(self.workload.graceful_ns / 1e9):
                await self._quiet.wait()
        except TimeoutError:
            self.cut()

    async def drive(self, begin_ns: int) -> None:
        """Begin what there is to begin; return when there is no more or `stopping` is set."""
        raise NotImplementedError

    def ended(self, user: User) -> bool:
        """Take note that an iteration has ended; return whether the user has been given another to go on with."""
        raise NotImplementedError

    def stop(self) -> None:
        """Begin nothing any more."""
        self.stopping.set()

    def dismiss(self) -> None:
        """Let every user go at the end of its iteration, and at once those between two."""
        self.stopping.set()
        for user in list(self.users):
            user.leaving = True
            if user in self.thinking:
                self.retire(user)

    def cut(self) -> None:
        """End everything now; requests under way become UNKNOWN."""
        self.stopping.set()
        for user in list(self.users):
            self.retire(user)

    async def reached(self, due_ns: int) -> bool:
        """Wait for an instant; return False where the run was stopped before it."""
        clock = self.host.clock
        while not self.stopping.is_set() and (left_ns := due_ns - clock.now_ns()) > 0:
            try:
                async with asyncio.timeout(max(0, left_ns - TIMER_TICK_NS) / 1e9):
                    await self.stopping.wait()
            except TimeoutError:
                if due_ns - clock.now_ns() <= 2 * TIMER_TICK_NS:
                    await clock.sleep_until_ns(due_ns)
        return not self.stopping.is_set()

    async def finished(self, until_ns: int) -> None:
        """Wait until all users are gone, the instant is reached or the run is stopped."""
        reached = asyncio.ensure_future(self.reached(until_ns))
        quiet = asyncio.ensure_future(self._quiet.wait())
        try:
            await asyncio.wait((reached, quiet), return_when=asyncio.FIRST_COMPLETED)
        finally:
            reached.cancel()
            quiet.cancel()

    def report(self) -> RunnerReport:
        """Return what only this runner knows."""
        load = self.workload
        asked = asked_per_second(load, self.host.seed)
        kind = type(load).__name__
        return RunnerReport(self.name, kind, self.number, asked, self.unmade, self.opened, self.burst_sent_ns)

    # -- users -------------------------------------------------------------------------------------------------------

    def new_user(self, index: int) -> User:
        """Return user number `index` of the workload, with its source and identity."""
        load = self.workload
        source = load.sources[index % len(load.sources)] if load.sources else ""
        identity = load.identities[index % len(load.identities)] if load.identities else {}
        user = User(self.wire, self, index, self.first_user + index, source, identity)
        operation = self.wire.operations.get(load.run) if isinstance(load.run, str) else None
        user.wants_body = self.script is not None or load.prepare is not None or bool(operation and operation.keep_body)
        self.users.add(user)
        self._quiet.clear()
        return user

    def begin(self, user: User) -> None:
        """Give the user its next iteration; the wire steps it."""
        user.acted = False
        script: Any
        if self.workload.prepare is not None and not user.is_prepared:
            script = self._first(user)
        elif self.script is not None:
            script = self.script(user)
        elif user.looping:
            # The engine's own scripts live as long as the user.
            return
        else:
            assert isinstance(self.workload.run, str)
            user.looping = True
            script = self.repeat(user, self.workload.run)
        user.send = script.send
        user.close_script = script.close

    def repeat(self, user: User, operation: str) -> Generator[Any, Any, None]:
        """Send one operation once in each iteration."""
        prepared = user.prepare("", operation, {})
        while True:
            user.next = prepared
            yield user
            yield IDLE

    async def _first(self, user: User) -> None:
        """Prepare the user, then make its first iteration; an arrival's due time is that of the iteration."""
        load = self.workload
        assert load.prepare is not None
        due_ns, user.due_ns = user.due_ns, 0
        await load.prepare(user)
        user.due_ns = due_ns
        user.is_prepared = True
        if self.script is not None:
            await self.script(user)
        else:
            assert isinstance(load.run, str)
            await user.request(load.run)

    def start(self, user: User) -> None:
        """Begin the user's next iteration now."""
        self.begin(user)
        self.wire.step(user, None)

    def again(self, user: User) -> bool:
        """Go on with another iteration, after the think time; return whether at once."""
        if user.leaving:
            self.retire(user)
            return False
        user.iterations += 1
        if self._think is not None:
            pause_ns = self._random.randint(self._think.least_ns, self._think.most_ns)
        elif user.acted:
            self.begin(user)
            return True
        else:
            # A script that waits for nothing must not keep the loop from everybody else.
            pause_ns = 0
        self.thinking.add(user)
        user.timer = self.wire.loop.call_later(pause_ns / 1e9, self._think_over, user)
        return False

    def _think_over(self, user: User) -> None:
        user.timer = None
        self.thinking.discard(user)
        self.start(user)

    def retire(self, user: User) -> None:
        """Let the user go for good, whatever it is doing."""
        user.over = True
        self.thinking.discard(user)
        if user.timer is not None:
            user.timer.cancel()
        # A generator can't be closed from inside itself: it has ended then, or yields once more and is dropped.
        with contextlib.suppress(ValueError, RuntimeError):
            user.close_script()
        if user.connection is not None:
            if user.connection.busy:
                user.connection.drop(Fault.STOPPED)
            else:
                user.connection.retire()
        self.users.discard(user)
        if not self.users:
            self._quiet.set()

    def mine(self, total: int) -> range:
        """Return the indices out of `total` that belong to this generator of the fleet."""
        return range(self.host.shard, total, self.host.shards)

    async def open_connections(self, users: list[User]) -> int:
        """Open the users' connections before there is anything to send; return how many stand open."""
        for first in range(0, len(users), _OPEN_AT_ONCE):
            await asyncio.gather(*(self._open(user) for user in users[first : first + _OPEN_AT_ONCE]))
        return sum(user.connection is not None for user in users)

    async def _open(self, user: User) -> None:
        connection = self.wire.new_connection(user)
        try:
            async with asyncio.timeout(self.host.connect_timeout_s):
                await connection.open()
        except (OSError, TimeoutError):
            # Its request tries once more, and the row then says what is wrong.
            user.connection = None

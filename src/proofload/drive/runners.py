"""One runner for each kind of workload: makes users begin iterations when the plan says so. Sends nothing itself."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections.abc import Coroutine, Generator, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from proofload.core.errors import ToolError
from proofload.core.seeds import stream
from proofload.drive.measure import RunnerReport, asked_per_second
from proofload.drive.user import User
from proofload.drive.wire import IDLE
from proofload.plan import workload as plan
from proofload.plan.arrivals import arrival_blocks, count, user_steps
from proofload.record.exchange import Fault

if TYPE_CHECKING:
    from proofload.drive.engine import Engine

_TIMER_TICK_NS = 1_500_000
_MOST_IN_A_TURN = 64
_OPEN_AT_ONCE = 64
_END = 2**63 - 1


class Runner:
    """What all kinds share: users, their iterations, and the three ways to come to an end."""

    workload: plan.AnyWorkload

    def __init__(self, engine: Engine, workload: plan.AnyWorkload, number: int, first_user: int) -> None:
        self.engine = engine
        self.wire = engine.wire
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
            itertools.cycle(workload.data), engine.shard, None, engine.shards
        )
        self.script = None if isinstance(workload.run, str) else workload.run
        self._think: plan.Think | None = getattr(workload, "think", None)
        self._random: random.Random = stream(engine.seed, "think", workload.name, engine.shard)

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
        clock = self.engine.clock
        while not self.stopping.is_set() and (left_ns := due_ns - clock.now_ns()) > 0:
            try:
                async with asyncio.timeout(max(0, left_ns - _TIMER_TICK_NS) / 1e9):
                    await self.stopping.wait()
            except TimeoutError:
                if due_ns - clock.now_ns() <= 2 * _TIMER_TICK_NS:
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
        asked = asked_per_second(load, self.engine.seed)
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
        return range(self.engine.shard, total, self.engine.shards)

    async def open_connections(self, users: list[User]) -> int:
        """Open the users' connections before there is anything to send; return how many stand open."""
        for first in range(0, len(users), _OPEN_AT_ONCE):
            await asyncio.gather(*(self._open(user) for user in users[first : first + _OPEN_AT_ONCE]))
        return sum(user.connection is not None for user in users)

    async def _open(self, user: User) -> None:
        connection = self.wire.new_connection(user)
        try:
            async with asyncio.timeout(self.engine.connect_timeout_s):
                await connection.open()
        except (OSError, TimeoutError):
            # Its request tries once more, and the row then says what is wrong.
            user.connection = None


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

    def __init__(self, engine: Engine, workload: plan.AnyWorkload, number: int, first_user: int) -> None:
        super().__init__(engine, workload, number, first_user)
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
        release_ns = await self.engine.barrier(self.name, self.opened)
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


class OpenRunner(Runner):
    """Open: arrivals when they are due, each taken by a user that is free."""

    workload: plan.ConstantRate | plan.RampingRate | plan.PoissonArrivals

    def __init__(self, engine: Engine, workload: plan.AnyWorkload, number: int, first_user: int) -> None:
        super().__init__(engine, workload, number, first_user)
        self._free: list[User] = []
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
        blocks = arrival_blocks(load, self.engine.seed, self.engine.shard, self.engine.shards)
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
        now_ns = self.engine.clock.now_ns()
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
        if left_ns > _TIMER_TICK_NS:
            loop.call_later((left_ns - _TIMER_TICK_NS) / 1e9, self._tick)
            return
        rows = self.wire.rows
        work = rows.made + len(rows.finished)
        last_ns, last_work = self._last_spin
        if last_work == work:
            self.engine.spin_ns += now_ns - last_ns
        self._last_spin = (now_ns, work)
        loop.call_soon(self._tick)

    def _arrive(self, due_ns: int) -> None:
        self.made += 1
        free = self._free
        if free:
            user = free.pop()
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
            self.engine.fail(error)
            return
        self.wire.budget += 1
        self.wire.dropped += 1

    def _leave_unmade(self, begin_ns: int) -> None:
        """Arrivals that were due before the stop are rows; how many were still to come is counted."""
        now_ns = self.engine.clock.now_ns()
        while self._next_ns <= now_ns:
            self.made += 1
            self._drop(self._next_ns, Fault.STOPPED)
            self._next_ns = next(self._due, _END)
        planned = len(range(self.engine.shard, count(self.workload, self.engine.seed), self.engine.shards))
        self.unmade = planned - self.made


def _run_script(user: User, script: Coroutine[Any, Any, Any]) -> None:
    user.acted = False
    user.send = script.send
    user.close_script = script.close


_KINDS: dict[type[plan.Workload], type[Runner]] = {
    plan.ConstantUsers: ConstantUsersRunner,
    plan.RampingUsers: RampingUsersRunner,
    plan.SharedIterations: IterationsRunner,
    plan.PerUserIterations: IterationsRunner,
    plan.Sequence: IterationsRunner,
    plan.ConstantRate: OpenRunner,
    plan.RampingRate: OpenRunner,
    plan.PoissonArrivals: OpenRunner,
    plan.Burst: BurstRunner,
}


def runner_for(engine: Engine, workload: plan.AnyWorkload, number: int, first_user: int) -> Runner:
    """Return the runner of a workload's kind."""
    kind = _KINDS.get(type(workload))
    if kind is None:
        raise ToolError(f"workload {workload.name}: no runner for {type(workload).__name__}")
    return kind(engine, workload, number, first_user)

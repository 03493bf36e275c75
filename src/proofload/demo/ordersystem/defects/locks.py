"""Locks gone wrong, and what they do to money."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar, cast

from prometheus_client import Counter
from sqlalchemy import Connection, insert, update
from sqlalchemy.exc import IntegrityError

from proofload.demo.ordersystem.common.errors import ServiceError
from proofload.demo.ordersystem.common.locks import ACQUIRE, Held, RedisLocks, UserLocks
from proofload.demo.ordersystem.common.service import Caller
from proofload.demo.ordersystem.common.store import Script, Store
from proofload.demo.ordersystem.defects.defect import Defect, Install, both, order, user
from proofload.demo.ordersystem.orders.book import Order
from proofload.demo.ordersystem.orders.shop import Shop
from proofload.demo.ordersystem.users.app import Money
from proofload.demo.ordersystem.users.ledger import ACCOUNTS, Change, Entry, Ledger, Pause, State, new_balance, record

AnyLocks = TypeVar("AnyLocks", bound=RedisLocks)


class UnfencedLedger(Ledger):
    """Writes what it computed, whoever wrote in between: all that stands between users and lost updates is the lock."""

    async def write(self, change: Change, state: State, balance_cents: int, fence: int) -> Entry:
        """Overwrite the balance."""

        def work(connection: Connection) -> Entry:
            mine = ACCOUNTS.c.username == change.username
            values = {"balance_cents": balance_cents, "fence": fence}
            if connection.execute(update(ACCOUNTS).where(mine).values(values)).rowcount == 0:
                connection.execute(insert(ACCOUNTS).values(username=change.username, **values))
            return record(connection, change, balance_cents)

        try:
            return await self.database.write(work)
        except IntegrityError:
            if change.reference is not None:
                raise
            return await self.database.write(work)


class ReadsBeforeLocking(Money):
    """Looks at the balance before it has the lock, to refuse early."""

    async def locked(self, caller: Caller, change: Change) -> Entry:
        """Compute from what was read without the lock."""
        state = await self.ledger.read(change.username)
        balance_cents = new_balance(state, change)
        await self.hold_time()
        async with self.locks.hold(caller, change.kind, self.expires_s) as held:
            entry = await self.ledger.write(change, state, balance_cents, held.fence)
        self.on_record(caller, entry)
        return entry


class NoLocks:
    """Always says yes."""

    def __init__(self, _store: Store) -> None:
        self._holder = os.urandom(12).hex()

    async def acquire(self, user: str, _operation: str, _expires_s: float) -> Held | None:
        """Say yes."""
        return Held(user, self._holder, time.time_ns() // 1000)

    async def release(self, _held: Held) -> bool:
        """Say yes."""
        return True

    async def is_held(self, _held: Held) -> bool:
        """Say yes."""
        return True


class InThisProcess(NoLocks):
    """Keeps the locks in the memory of the worker."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._taken: set[str] = set()

    async def acquire(self, user: str, operation: str, expires_s: float) -> Held | None:
        """Ask the own memory."""
        if user in self._taken:
            return None
        self._taken.add(user)
        return await super().acquire(user, operation, expires_s)

    async def release(self, held: Held) -> bool:
        """Tell the own memory."""
        self._taken.discard(held.user)
        return True


class CheckThenSet(RedisLocks):
    """Looks whether the lock is free, and takes it in a second step."""

    async def acquire(self, user: str, operation: str, expires_s: float) -> Held | None:
        """Take what was free a moment ago."""
        key = self.key(user, operation)
        if await self.store.command("EXISTS", key):
            return None
        held = Held(user, os.urandom(12).hex(), time.time_ns() // 1000)
        await self.store.command("SET", key, held.holder, "PX", round(expires_s * 1000))
        return held


class ReleasedByAnyone(RedisLocks):
    """Deletes the lock without a look at whose it is."""

    async def release(self, held: Held) -> bool:
        """Delete."""
        return bool(await self.store.command("DEL", self.key(held.user, "")))


class ExpiresTooSoon(RedisLocks):
    """Takes seconds for tenths."""

    async def acquire(self, user: str, operation: str, expires_s: float) -> Held | None:
        """Take the lock for a fiftieth of the time."""
        return await super().acquire(user, operation, expires_s / 50)

    async def is_held(self, _held: Held) -> bool:
        """Do not look."""
        return True


class NeverExpires(RedisLocks):
    """Leaves the expiry out."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.acquire_script = Script(ACQUIRE.replace(", 'PX', ARGV[2]", ""))


class OneForAll(RedisLocks):
    """Forgets to say whose lock it is."""

    def key(self, _user: str, _operation: str) -> str:
        """Return the same for all."""
        return "lock:all"


class OrdersApart(RedisLocks):
    """Gives orders a lock of their own."""

    def key(self, user: str, operation: str) -> str:
        """Return another key for orders."""
        return f"lock:{user}:orders"

    async def is_held(self, _held: Held) -> bool:
        """Do not look."""
        return True


class DoesNotAskForTheLock(RedisLocks):
    """Believes the order service that it holds the lock."""

    async def is_held(self, _held: Held) -> bool:
        """Believe."""
        return True


class KeptOnError(UserLocks):
    """Releases the lock on the way of success only."""

    @asynccontextmanager
    async def hold(self, caller: Caller, operation: str, expires_s: float) -> AsyncIterator[Held]:
        """Hold the lock for the block, and beyond when the block fails."""
        held = await self.take(caller, operation, expires_s)
        yield held
        await self.give_back(held, operation)


class WrongStatus(UserLocks):
    """Lets contention out as an internal error."""

    async def take(self, caller: Caller, operation: str, expires_s: float) -> Held:
        """Answer 500 where 503 is promised."""
        try:
            return await super().take(caller, operation, expires_s)
        except ServiceError as error:
            raise ServiceError(500, "INTERNAL", "could not acquire lock") from error


class RefusesUncounted(UserLocks):
    """Counts every second refusal."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.honest, self.refusals = self.contended, 0
        self.contended = cast("Counter", self)

    def labels(self, operation: str) -> RefusesUncounted:
        """Stand in for the counter."""
        self.refusals += 1
        if self.refusals % 2:
            self.honest.labels(operation).inc()
        return self

    def inc(self) -> None:
        """Do nothing: what counts was counted."""


class WaitsSilently(UserLocks):
    """Tries again and again before it says no."""

    async def take(self, caller: Caller, operation: str, expires_s: float) -> Held:
        """Wait for up to 10 s."""
        give_up_s = time.monotonic() + 10
        while True:
            try:
                return await super().take(caller, operation, expires_s)
            except ServiceError:
                if time.monotonic() > give_up_s:
                    raise
                await asyncio.sleep(0.01)


class ContentionCountsAsDone(Money):
    """Takes contention for a double click, and the first click for enough."""

    async def locked(self, caller: Caller, change: Change) -> Entry:
        """Answer as if it were done."""
        try:
            return await super().locked(caller, change)
        except ServiceError as error:
            if error.code != "LOCK_CONTENTION":
                raise
            balance_cents = await self.ledger.balance(caller.user)
            return Entry("txn_0", change.kind, change.amount_cents, balance_cents, None, "")


class RetriesAfterTimeout(UnfencedLedger):
    """Gives a change 50 ms and then makes it again, though the first goes on."""

    async def change(self, change: Change, fence: int, pause: Pause) -> Entry:
        """Make the change once or twice."""
        first = asyncio.ensure_future(super().change(change, fence, pause))
        done, _ = await asyncio.wait([first], timeout=0.05)
        entry = await first
        if done or change.reference is not None:
            return entry
        return await super().change(change, fence + 1, _at_once)


async def _at_once() -> None:
    return None


class IgnoresIdempotencyKeys(Shop):
    """Reads the key and does nothing with it."""

    async def buy(self, caller: Caller, item: str, quantity: int, _key: str | None) -> tuple[Order, bool]:
        """Make a new order each time."""
        return await super().buy(caller, item, quantity, None)


def unlocked(locks: Callable[[Store], object]) -> Install:
    """Return an installer of wrong locks over a ledger that trusts in them."""
    return both(user(locks=locks, ledger=UnfencedLedger), order(locks=locks))


_LOCK, _ALONE = "TC-LOCK-001", "TC-NEG-007"
_FAILED, _GONE, _REPEATED = "TC-LOCK-002", "TC-LOCK-003", "TC-LOCK-004"

DEFECTS = (
    Defect(
        "lock.none",
        "There is no lock around read, compute and write.",
        "Balances changed by ORM objects: read, add, save.",
        "Concurrent deposits are acknowledged and lost; the balance is less than the acknowledged sum.",
        _LOCK,
        unlocked(NoLocks),
    ),
    Defect(
        "lock.check_then_set",
        "The lock is looked at and taken in two steps.",
        "EXISTS or GET before SET, where SET NX is one step.",
        "Two of N concurrent operations win now and then, and one of them is lost.",
        _LOCK,
        unlocked(CheckThenSet),
    ),
    Defect(
        "lock.per_process",
        "The lock lives in the memory of one worker.",
        "threading.Lock or asyncio.Lock behind several workers.",
        "Updates are lost as soon as there are two workers.",
        _LOCK,
        unlocked(InThisProcess),
    ),
    Defect(
        "lock.reads_before_locking",
        "The balance is read before the lock is taken.",
        "Validation in front of the critical section, whose values are then used inside it.",
        "Acknowledged operations are lost although each had the lock.",
        _LOCK,
        user(money=ReadsBeforeLocking, ledger=UnfencedLedger),
    ),
    Defect(
        "lock.released_by_anyone",
        "The lock is deleted without comparing its holder.",
        "The warning on Redis' own page about distributed locks.",
        "When an operation outlasts the expiry it frees the next holder's lock, and two run at once.",
        _GONE,
        unlocked(ReleasedByAnyone),
    ),
    Defect(
        "lock.expires_too_soon",
        "The lock expires before the operation is done.",
        "Expiry guessed from a fast day.",
        "Of N at once more than one succeeds; updates are lost.",
        _LOCK,
        unlocked(ExpiresTooSoon),
    ),
    Defect(
        "lock.not_released_on_error",
        "A failing operation keeps the lock.",
        "Release at the end of the block in place of finally.",
        "After INSUFFICIENT_FUNDS the user gets LOCK_CONTENTION until the lock expires.",
        _FAILED,
        both(user(user_locks=KeptOnError), order(user_locks=KeptOnError)),
    ),
    Defect(
        "lock.never_expires",
        "The lock has no expiry.",
        "SETNX without EXPIRE.",
        "After a holder was killed the user is blocked for ever.",
        _GONE,
        both(user(locks=NeverExpires), order(locks=NeverExpires)),
    ),
    Defect(
        "lock.global",
        "All users share one lock.",
        "A key without the user in it.",
        "Different users get LOCK_CONTENTION from one another.",
        _ALONE,
        both(user(locks=OneForAll), order(locks=OneForAll)),
    ),
    Defect(
        "lock.wrong_status",
        "Contention is answered with 500.",
        "The exception of the lock library reaches the framework.",
        "500 INTERNAL in place of 503 LOCK_CONTENTION.",
        _LOCK,
        both(user(user_locks=WrongStatus), order(user_locks=WrongStatus)),
    ),
    Defect(
        "lock.waits_silently",
        "Contention waits for seconds in place of an answer.",
        "Blocking acquire as the default of lock libraries.",
        "All of N at once succeed, one after another; the last takes N times as long.",
        _LOCK,
        both(user(user_locks=WaitsSilently), order(user_locks=WaitsSilently)),
    ),
    Defect(
        "lock.contention_counted_as_done",
        "Contention answers 200 and does nothing.",
        "Deduplication of double clicks that knows no difference between same and similar.",
        "The balance is less than the acknowledged sum.",
        _LOCK,
        user(money=ContentionCountsAsDone),
    ),
    Defect(
        "lock.double_apply_on_retry",
        "A slow write is made a second time.",
        "Client-side retries after a timeout on operations that are not idempotent.",
        "With an operation of more than 50 ms a deposit counts twice.",
        _LOCK,
        user(ledger=RetriesAfterTimeout),
    ),
    Defect(
        "lock.idempotency_ignored",
        "The idempotency key is accepted and ignored.",
        "A header that only the documentation knows.",
        "The same key twice makes two orders.",
        _REPEATED,
        order(shop=IgnoresIdempotencyKeys),
    ),
    Defect(
        "lock.orders_and_balance_apart",
        "Orders have a lock of their own beside the balance's.",
        "One lock for each table in place of one for each invariant.",
        "An order and a withdrawal at once spend the same money.",
        _LOCK,
        both(order(locks=OrdersApart), user(locks=DoesNotAskForTheLock, ledger=UnfencedLedger)),
    ),
    Defect(
        "lock.contention_not_counted",
        "Half of the refusals are missing from the lock's metrics.",
        "An early return before the counter, on one of two ways out.",
        "lock_contentions_total grows by less than the number of LOCK_CONTENTION answers.",
        "TC-LOCK-005",
        both(user(user_locks=RefusesUncounted), order(user_locks=RefusesUncounted)),
    ),
)

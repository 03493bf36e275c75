"""One operation on a user at a time: locks in Redis that expire, that only their holder releases, that fence writes."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

from proofload.demo.ordersystem.common.audit import Audit, AuditEvent
from proofload.demo.ordersystem.common.errors import ServiceError, StoreDownError
from proofload.demo.ordersystem.common.metrics import Metrics
from proofload.demo.ordersystem.common.service import Caller
from proofload.demo.ordersystem.common.store import Script, Store

LOG = logging.getLogger("proofload.demo.ordersystem.locks")

# The fencing token grows with every holder. It starts from Redis' clock, so that a Redis that lost its memory
# still hands out larger tokens than before.
ACQUIRE = """
if redis.replicate_commands then redis.replicate_commands() end
if not redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return false end
local clock = redis.call('TIME')
local token = clock[1] * 1000000 + clock[2]
local last = tonumber(redis.call('GET', KEYS[2]) or '0')
if token <= last then token = last + 1 end
token = string.format('%.0f', token)
redis.call('SET', KEYS[2], token)
return token
"""
RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""


@dataclass(frozen=True, slots=True)
class Held:
    """A lock that was acquired. `fence` is larger than that of every holder before."""

    user: str
    holder: str
    fence: int

    def as_text(self) -> str:
        """Return the lock as one service tells another."""
        return f"{self.holder}.{self.fence}"


def held_from_text(user: str, text: str) -> Held:
    """Return the lock that another service tells of, or raise the refusal."""
    holder, _, fence = text.partition(".")
    if not holder or not fence.isdigit() or len(fence) > 18:
        raise ServiceError(422, "INVALID_REQUEST", "X-Lock-Token is not a lock")
    return Held(user, holder, int(fence))


class Locks(Protocol):
    """Mutual exclusion by user."""

    async def acquire(self, user: str, operation: str, expires_s: float) -> Held | None:
        """Return the lock, or None when somebody has it. Raise StoreDownError when it can't be told."""

    async def release(self, held: Held) -> bool:
        """Give the lock back; False when it was not ours any more."""

    async def is_held(self, held: Held) -> bool:
        """Tell whether the lock is still in the hands of this holder."""


class RedisLocks:
    """The honest locks: set-if-absent with expiry, compare-and-delete."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.acquire_script = Script(ACQUIRE)
        self.release_script = Script(RELEASE)

    async def acquire(self, user: str, operation: str, expires_s: float) -> Held | None:
        """Take the lock in one step."""
        holder = os.urandom(12).hex()
        keys = [self.key(user, operation), f"fence:{user}"]
        token = await self.store.run(self.acquire_script, keys, [holder, max(1, round(expires_s * 1000))])
        return None if token is None else Held(user, holder, int(token))

    async def release(self, held: Held) -> bool:
        """Delete the lock if it is ours, in one step."""
        return bool(await self.store.run(self.release_script, [self.key(held.user, "")], [held.holder]))

    async def is_held(self, held: Held) -> bool:
        """Compare the holder."""
        found = await self.store.command("GET", self.key(held.user, ""))
        return found is not None and found.decode() == held.holder

    def key(self, user: str, operation: str) -> str:
        """Return the key of the lock: one for all operations on a user's money."""
        return f"lock:{user}"


class UserLocks:
    """Runs an operation under the user's lock, counts and records what happens."""

    def __init__(self, locks: Locks, hold_s: float, when_store_is_down: str, metrics: Metrics, audit: Audit) -> None:
        self.locks = locks
        self.hold_s = hold_s
        """How long an operation keeps the lock before it writes: 0 in life, more where contention is to be seen."""
        self._when_store_is_down = when_store_is_down
        self.audit = audit
        self.acquired = metrics.counter("lock_acquisitions_total", "Locks acquired.", ("operation",))
        self.contended = metrics.counter("lock_contentions_total", "Refusals: somebody else had it.", ("operation",))
        self.expired = metrics.counter("lock_expiries_total", "Locks gone before their release.", ("operation",))
        self.wait = metrics.histogram("lock_wait_seconds", "Time to acquire or be refused.", ("operation",))
        self.held = metrics.histogram("lock_hold_seconds", "Time from acquiring to releasing.", ("operation",))

    @asynccontextmanager
    async def hold(self, caller: Caller, operation: str, expires_s: float) -> AsyncIterator[Held]:
        """Hold the user's lock for the block; refuse with LOCK_CONTENTION when somebody else has it."""
        held = await self.take(caller, operation, expires_s)
        started = time.perf_counter()
        try:
            yield held
        finally:
            self.held.labels(operation).observe(time.perf_counter() - started)
            await self.give_back(held, operation)

    async def take(self, caller: Caller, operation: str, expires_s: float) -> Held:
        """Return the lock, or raise the refusal."""
        asked = time.perf_counter()
        try:
            held = await self.locks.acquire(caller.user, operation, expires_s)
        except StoreDownError as error:
            if self._when_store_is_down == "closed":
                raise
            LOG.warning("no lock for %s, going on without: %s", caller.request_id, error)
            held = Held(caller.user, "", time.time_ns() // 1000)
        self.wait.labels(operation).observe(time.perf_counter() - asked)
        if held is None:
            self.contended.labels(operation).inc()
            details: dict[str, object] = {"operation": operation}
            self.audit.write(
                AuditEvent("lock_contention", "denied", caller.user, caller.ip, caller.request_id, details)
            )
            raise ServiceError(503, "LOCK_CONTENTION", "another operation of this user is under way; try again", 1)
        self.acquired.labels(operation).inc()
        return held

    async def give_back(self, held: Held, operation: str) -> None:
        """Release the lock; that it has expired or can't be released is counted and logged, no more."""
        if not held.holder:
            return
        try:
            still_ours = await self.locks.release(held)
        except StoreDownError as error:
            LOG.warning("lock of %s not released, it will expire: %s", held.user, error)
            return
        if not still_ours:
            self.expired.labels(operation).inc()
            LOG.warning("the lock of %s expired before %s was done", held.user, operation)

"""SQLAlchemy engines fit for concurrency: SQLite with WAL and a busy timeout, PostgreSQL with a bounded pool."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from typing import Any, TypeVar

import anyio
import anyio.to_thread
from sqlalchemy import Connection, Engine, MetaData, create_engine, event, text

T = TypeVar("T")

_BUSY_TIMEOUT_S = 10.0
_THREADS = 4


class Database:
    """An engine whose blocking work runs in threads, each piece in one transaction."""

    def __init__(self, url: str, metadata: MetaData) -> None:
        self.engine = make_engine(url)
        # More threads than this only take the interpreter from one another.
        self._threads = anyio.CapacityLimiter(_THREADS)
        with self.engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                # Workers start side by side, and "create if absent" is no single step there.
                connection.execute(text("SELECT pg_advisory_xact_lock(7205)"))
            metadata.create_all(connection)

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Return what `work` returns, its changes committed; nothing is changed when it raises."""
        return await anyio.to_thread.run_sync(self._write, work, limiter=self._threads)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Return what `work` returns; it may not change anything. Readers do not wait for writers."""
        return await anyio.to_thread.run_sync(self._read, work, limiter=self._threads)

    def _write(self, work: Callable[[Connection], T]) -> T:
        with self.engine.begin() as connection:
            return work(connection)

    def _read(self, work: Callable[[Connection], T]) -> T:
        with self.engine.connect() as connection:
            return work(connection.execution_options(reads_only=True))

    def close(self) -> None:
        """Close the pool."""
        self.engine.dispose()


def make_engine(url: str) -> Engine:
    """Return an engine for a URL of SQLAlchemy's."""
    if not url.startswith("sqlite"):
        return create_engine(url, pool_size=_THREADS, max_overflow=2, pool_pre_ping=True)
    settings = {"timeout": _BUSY_TIMEOUT_S, "check_same_thread": False}
    engine = create_engine(url, pool_size=_THREADS, max_overflow=2, connect_args=settings)

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _record: Any) -> None:
        # The driver must not begin transactions by itself: it would begin them as readers.
        connection.isolation_level = None
        _into_wal(connection)
        connection.execute("PRAGMA synchronous=NORMAL")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A reader that turns writer can't wait for another writer, whatever the timeout; one that begins as writer can.
        reads_only = connection.get_execution_options().get("reads_only")
        connection.exec_driver_sql("BEGIN" if reads_only else "BEGIN IMMEDIATE")

    return engine


def _into_wal(connection: sqlite3.Connection) -> None:
    # This one change does not honour the busy timeout; two workers that open a fresh file both ask for it.
    give_up_s = time.monotonic() + _BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > give_up_s:
                raise
            time.sleep(0.01)
        else:
            return

"""SQLAlchemy engines fit for concurrency: SQLite with WAL and a busy timeout, PostgreSQL with a bounded pool."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any, TypeVar

import anyio.to_thread
from sqlalchemy import Connection, Engine, MetaData, create_engine, event

T = TypeVar("T")


class Database:
    """An engine whose blocking work runs in threads, each piece in one transaction."""

    def __init__(self, url: str, metadata: MetaData) -> None:
        self.engine = make_engine(url)
        metadata.create_all(self.engine)

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Return what `work` returns, its changes committed; nothing is changed when it raises."""
        return await anyio.to_thread.run_sync(self._in_transaction, work)

    def _in_transaction(self, work: Callable[[Connection], T]) -> T:
        with self.engine.begin() as connection:
            return work(connection)

    def close(self) -> None:
        """Close the pool."""
        self.engine.dispose()


def make_engine(url: str) -> Engine:
    """Return an engine for a URL of SQLAlchemy's."""
    if not url.startswith("sqlite"):
        return create_engine(url, pool_size=10, max_overflow=20, pool_pre_ping=True)
    engine = create_engine(
        url, pool_size=10, max_overflow=30, connect_args={"timeout": 10.0, "check_same_thread": False}
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _record: Any) -> None:
        # The driver must not begin transactions by itself: it would begin them as readers.
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A reader that turns writer can't wait for another writer, whatever the timeout; one that begins as writer can.
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine

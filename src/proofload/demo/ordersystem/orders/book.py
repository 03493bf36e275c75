"""The table of orders. An order is pending until its money is taken for certain, or for certain not."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Integer,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from proofload.demo.ordersystem.common.database import Database

METADATA = MetaData()
ORDERS = Table(
    "orders",
    METADATA,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("order_id", String(40), nullable=False, unique=True),
    Column("username", String(64), nullable=False, index=True),
    Column("item", String(32), nullable=False),
    Column("quantity", Integer, nullable=False),
    Column("total_cents", BigInteger, nullable=False),
    Column("status", String(16), nullable=False),
    Column("idempotency_key", String(160)),
    Column("request_id", String(64), nullable=False),
    Column("created_at", String(40), nullable=False),
    Column("created_us", BigInteger, nullable=False),
    UniqueConstraint("username", "idempotency_key"),
)

PENDING, CONFIRMED, REJECTED, CANCELLED = "pending", "confirmed", "rejected", "cancelled"


@dataclass(frozen=True, slots=True)
class Order:
    """One order."""

    order_id: str
    username: str
    item: str
    quantity: int
    total_cents: int
    status: str
    idempotency_key: str | None
    request_id: str
    created_at: str


class Book:
    """The orders on record."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def open(
        self, username: str, item: str, quantity: int, total_cents: int, key: str | None, request_id: str
    ) -> Order | None:
        """Return a new pending order; None when the key was used already."""
        now = datetime.now(UTC).isoformat()
        order = Order(f"ord_{uuid.uuid4()}", username, item, quantity, total_cents, PENDING, key, request_id, now)
        values = {name: getattr(order, name) for name in _NAMES}

        def work(connection: Connection) -> None:
            connection.execute(insert(ORDERS).values(**values, created_us=time.time_ns() // 1000))

        try:
            await self.database.write(work)
        except IntegrityError:
            return None
        return order

    async def close(self, order: Order, status: str) -> bool:
        """End a pending order; False when it was ended already. A cancelled one gives its key free."""
        values: dict[str, object] = {"status": status}
        if status == CANCELLED and order.idempotency_key is not None:
            values["idempotency_key"] = f"{order.idempotency_key}#{order.order_id}"
        pending = (ORDERS.c.order_id == order.order_id) & (ORDERS.c.status == PENDING)

        def work(connection: Connection) -> bool:
            return connection.execute(update(ORDERS).where(pending).values(values)).rowcount == 1

        return await self.database.write(work)

    async def find(self, username: str, order_id: str) -> Order | None:
        """Return the user's order of that id."""
        return await self._one((ORDERS.c.username == username) & (ORDERS.c.order_id == order_id))

    async def find_by_key(self, username: str, key: str) -> Order | None:
        """Return the user's order that was made with this idempotency key."""
        return await self._one((ORDERS.c.username == username) & (ORDERS.c.idempotency_key == key))

    async def of_user(self, username: str, limit: int) -> list[Order]:
        """Return the user's latest orders, the newest first."""

        def work(connection: Connection) -> list[Order]:
            query = select(ORDERS).where(ORDERS.c.username == username).order_by(ORDERS.c.number.desc()).limit(limit)
            return [_order(row) for row in connection.execute(query)]

        return await self.database.read(work)

    async def pending_since(self, seconds: float) -> list[Order]:
        """Return the orders that have been pending for so long."""
        before_us = time.time_ns() // 1000 - round(seconds * 1_000_000)

        def work(connection: Connection) -> list[Order]:
            query = select(ORDERS).where(ORDERS.c.status == PENDING, ORDERS.c.created_us <= before_us).limit(200)
            return [_order(row) for row in connection.execute(query)]

        return await self.database.read(work)

    async def _one(self, condition: object) -> Order | None:
        def work(connection: Connection) -> Order | None:
            row = connection.execute(select(ORDERS).where(condition)).one_or_none()  # type: ignore[arg-type]
            return _order(row) if row else None

        return await self.database.read(work)


_NAMES = (
    "order_id",
    "username",
    "item",
    "quantity",
    "total_cents",
    "status",
    "idempotency_key",
    "request_id",
    "created_at",
)


def _order(row: object) -> Order:
    return Order(*(getattr(row, name) for name in _NAMES))

"""The table of users. Rows are added and never deleted."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Column, Connection, MetaData, String, Table, insert, select
from sqlalchemy.exc import IntegrityError

from proofload.demo.ordersystem.common.database import Database

METADATA = MetaData()
USERS = Table(
    "auth_users",
    METADATA,
    Column("username", String(64), primary_key=True),
    Column("password_hash", String(200), nullable=False),
    Column("created_at", String(40), nullable=False),
)


@dataclass(frozen=True, slots=True)
class Account:
    """A registered user."""

    username: str
    password_hash: str
    created_at: str


class Accounts:
    """The users on record."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, username: str, password_hash: str) -> bool:
        """Add a user, and tell whether the name was free."""
        row = {"username": username, "password_hash": password_hash, "created_at": datetime.now(UTC).isoformat()}

        def work(connection: Connection) -> None:
            connection.execute(insert(USERS).values(row))

        try:
            await self._database.write(work)
        except IntegrityError:
            return False
        return True

    async def find(self, username: str) -> Account | None:
        """Return the user of that name."""

        def work(connection: Connection) -> Account | None:
            row = connection.execute(select(USERS).where(USERS.c.username == username)).one_or_none()
            return Account(row.username, row.password_hash, row.created_at) if row else None

        return await self._database.read(work)

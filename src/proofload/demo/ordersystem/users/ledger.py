"""Balances and transactions, in whole cents. Rows are added and changed, never deleted."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import BigInteger, Column, Connection, Integer, MetaData, String, Table, insert, select, update
from sqlalchemy.exc import IntegrityError

from proofload.demo.ordersystem.common.database import Database
from proofload.demo.ordersystem.common.errors import ServiceError

METADATA = MetaData()
ACCOUNTS = Table(
    "user_accounts",
    METADATA,
    Column("username", String(64), primary_key=True),
    Column("balance_cents", BigInteger, nullable=False),
    Column("fence", BigInteger, nullable=False),
)
TRANSACTIONS = Table(
    "user_transactions",
    METADATA,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("id", String(40), nullable=False, unique=True),
    Column("username", String(64), nullable=False, index=True),
    Column("kind", String(16), nullable=False),
    Column("amount_cents", BigInteger, nullable=False),
    Column("balance_cents", BigInteger, nullable=False),
    Column("reference", String(64), unique=True),
    Column("request_id", String(64), nullable=False),
    Column("created_at", String(40), nullable=False),
)
MOST_CENTS = 10**15

Pause = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Change:
    """A change of a balance that is asked for."""

    username: str
    kind: str
    amount_cents: int
    """What is added; negative for what is taken."""
    request_id: str
    reference: str | None = None
    """What the change is for. No two changes have the same."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A change that was made."""

    id: str
    kind: str
    amount_cents: int
    balance_cents: int
    reference: str | None
    created_at: str


@dataclass(frozen=True, slots=True)
class State:
    """A balance as it was read, and the fence that the last writer left."""

    balance_cents: int
    fence: int | None
    """None: there is no account yet."""


class Ledger:
    """The honest ledger: a write takes place only if nobody wrote since the read, whatever the locks do."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def balance(self, username: str) -> int:
        """Return the balance; 0 for who never had money."""
        return (await self.read(username)).balance_cents

    async def transactions(self, username: str, limit: int) -> list[Entry]:
        """Return the latest changes, the newest first."""

        def work(connection: Connection) -> list[Entry]:
            query = select(TRANSACTIONS).where(TRANSACTIONS.c.username == username, TRANSACTIONS.c.kind != "void")
            rows = connection.execute(query.order_by(TRANSACTIONS.c.number.desc()).limit(limit))
            return [_entry(row) for row in rows]

        return await self.database.read(work)

    async def entry_for(self, reference: str) -> Entry | None:
        """Return the change that was made for the reference."""

        def work(connection: Connection) -> Entry | None:
            row = connection.execute(select(TRANSACTIONS).where(TRANSACTIONS.c.reference == reference)).one_or_none()
            return _entry(row) if row else None

        return await self.database.read(work)

    async def change(self, change: Change, fence: int, pause: Pause) -> Entry:
        """Make the change under the fencing token of the user's lock, or raise the refusal."""
        state = await self.read(change.username)
        await pause()
        balance_cents = new_balance(state, change)
        return await self.write(change, state, balance_cents, fence)

    async def read(self, username: str) -> State:
        """Return balance and fence."""

        def work(connection: Connection) -> State:
            row = connection.execute(select(ACCOUNTS).where(ACCOUNTS.c.username == username)).one_or_none()
            return State(row.balance_cents, row.fence) if row else State(0, None)

        return await self.database.read(work)

    async def write(self, change: Change, state: State, balance_cents: int, fence: int) -> Entry:
        """Write what follows from the state that was read, if it is still that and the lock is not a stale one."""
        if state.fence is not None and state.fence >= fence:
            raise _lock_lost()

        def work(connection: Connection) -> Entry:
            if state.fence is None:
                row = {"username": change.username, "balance_cents": balance_cents, "fence": fence}
                connection.execute(insert(ACCOUNTS).values(row))
            else:
                unchanged = (ACCOUNTS.c.username == change.username) & (ACCOUNTS.c.fence == state.fence)
                values = {"balance_cents": balance_cents, "fence": fence}
                if connection.execute(update(ACCOUNTS).where(unchanged).values(values)).rowcount != 1:
                    raise _lock_lost()
            return record(connection, change, balance_cents)

        try:
            return await self.database.write(work)
        except IntegrityError:
            if change.reference is not None and await self.entry_for(change.reference) is not None:
                raise ServiceError(409, "REFERENCE_USED", "this reference was settled already") from None
            raise _lock_lost() from None

    async def settle(self, username: str, reference: str, request_id: str) -> bool:
        """Tell for good whether a debit of this reference took place; if not yet, it never will."""
        entry = await self.entry_for(reference)
        if entry is None:
            void = Change(username, "void", 0, request_id, reference)
            try:
                await self.database.write(lambda connection: record(connection, void, 0))
            except IntegrityError:  # the debit, or another void, came in between
                entry = await self.entry_for(reference)
        return entry is not None and entry.kind == "debit"


def new_balance(state: State, change: Change) -> int:
    """Return the balance after the change, or raise the refusal."""
    balance_cents = state.balance_cents + change.amount_cents
    if balance_cents < 0:
        raise ServiceError(409, "INSUFFICIENT_FUNDS", "the balance does not cover this")
    if balance_cents > MOST_CENTS:
        raise ServiceError(409, "BALANCE_TOO_LARGE", "no balance may be as large")
    return balance_cents


def record(connection: Connection, change: Change, balance_cents: int) -> Entry:
    """Add the row of a change."""
    entry = Entry(
        f"txn_{uuid.uuid4()}",
        change.kind,
        change.amount_cents,
        balance_cents,
        change.reference,
        datetime.now(UTC).isoformat(),
    )
    connection.execute(
        insert(TRANSACTIONS).values(
            id=entry.id,
            username=change.username,
            kind=change.kind,
            amount_cents=change.amount_cents,
            balance_cents=balance_cents,
            reference=change.reference,
            request_id=change.request_id,
            created_at=entry.created_at,
        )
    )
    return entry


def _entry(row: object) -> Entry:
    names = ("id", "kind", "amount_cents", "balance_cents", "reference", "created_at")
    return Entry(*(getattr(row, name) for name in names))


def _lock_lost() -> ServiceError:
    return ServiceError(503, "LOCK_LOST", "another operation of this user came in between; nothing was done", 1)

"""The user service's endpoints: balance, deposit, withdraw, transactions; debits for the order service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated

from fastapi import FastAPI, Header, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from proofload.demo.ordersystem.common.audit import Audit, AuditEvent
from proofload.demo.ordersystem.common.database import Database
from proofload.demo.ordersystem.common.errors import ServiceError
from proofload.demo.ordersystem.common.locks import Locks, RedisLocks, UserLocks, held_from_text
from proofload.demo.ordersystem.common.metrics import Metrics
from proofload.demo.ordersystem.common.service import (
    FROM_GATEWAY,
    Caller,
    CallerOf,
    client_ip_of,
    errors,
    new_service,
    request_id_of,
)
from proofload.demo.ordersystem.common.store import Store
from proofload.demo.ordersystem.common.whole import Whole
from proofload.demo.ordersystem.users.ledger import METADATA, Change, Entry, Ledger
from proofload.demo.ordersystem.users.settings import UserSettings

MOST_AT_ONCE_CENTS = 10**11
HELD_PATTERN = r"^[0-9a-f]{1,64}\.[0-9]{1,18}$"


class Amount(BaseModel):
    """How much, in whole cents."""

    model_config = ConfigDict(extra="forbid")
    amount_cents: Whole = Field(ge=1, le=MOST_AT_ONCE_CENTS)


class Debit(BaseModel):
    """What the order service takes for an order."""

    model_config = ConfigDict(extra="forbid")
    username: str = Field(pattern=r"^[A-Za-z0-9_.-]{3,64}$")
    amount_cents: Whole = Field(ge=1, le=MOST_AT_ONCE_CENTS)
    reference: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")


class Settle(BaseModel):
    """The question whether a debit took place."""

    model_config = ConfigDict(extra="forbid")
    username: str = Field(pattern=r"^[A-Za-z0-9_.-]{3,64}$")
    reference: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")


class Settled(BaseModel):
    """The answer, for good."""

    debited: bool


class Balance(BaseModel):
    """What a user has."""

    username: str
    balance_cents: int


class Transaction(BaseModel):
    """One change of a balance."""

    transaction_id: str
    kind: str
    amount_cents: int
    balance_cents: int
    reference: str | None
    created_at: str


class Transactions(BaseModel):
    """The latest changes, the newest first."""

    transactions: list[Transaction]


class Money:
    """Changes balances, each under the user's lock, and puts them on record."""

    def __init__(self, ledger: Ledger, locks: UserLocks, expires_s: float, audit: Audit) -> None:
        self.ledger = ledger
        self.locks = locks
        self.expires_s = expires_s
        self.audit = audit

    async def deposit(self, caller: Caller, amount_cents: int) -> Entry:
        """Add money."""
        return await self.locked(caller, Change(caller.user, "deposit", amount_cents, caller.request_id))

    async def withdraw(self, caller: Caller, amount_cents: int) -> Entry:
        """Take money."""
        return await self.locked(caller, Change(caller.user, "withdraw", -amount_cents, caller.request_id))

    async def locked(self, caller: Caller, change: Change) -> Entry:
        """Make a change under the user's lock."""
        async with self.locks.hold(caller, change.kind, self.expires_s) as held:
            entry = await self.ledger.change(change, held.fence, self.hold_time)
        self.on_record(caller, entry)
        return entry

    async def debit(self, caller: Caller, change: Change, lock_token: str) -> Entry:
        """Make a change under a lock that the order service holds; a repeated one is made once."""
        reference = change.reference or ""
        done = await self.ledger.entry_for(reference)
        if done is not None and done.kind == "debit":
            return done
        held = held_from_text(caller.user, lock_token)
        if not await self.locks.locks.is_held(held):
            raise ServiceError(409, "LOCK_LOST", "nobody holds this lock any more; nothing was taken")
        entry = await self.ledger.change(change, held.fence, _at_once)
        self.on_record(caller, entry)
        return entry

    async def hold_time(self) -> None:
        """Keep the lock for as long as the settings say."""
        if self.locks.hold_s:
            await asyncio.sleep(self.locks.hold_s)

    def on_record(self, caller: Caller, entry: Entry) -> None:
        """Put a change on record, before anybody is told of it."""
        details: dict[str, object] = {
            "kind": entry.kind,
            "amount_cents": entry.amount_cents,
            "balance_cents": entry.balance_cents,
            "transaction_id": entry.id,
        }
        if entry.reference:
            details["reference"] = entry.reference
        self.audit.write(AuditEvent("balance_changed", "success", caller.user, caller.ip, caller.request_id, details))


async def _at_once() -> None:
    return None


@dataclass(frozen=True)
class UserParts:
    """One implementation for each role in the user service. The defaults are the honest system."""

    locks: Callable[[Store], Locks] = RedisLocks
    user_locks: type[UserLocks] = UserLocks
    ledger: Callable[[Database], Ledger] = Ledger
    money: type[Money] = Money


def build_user(settings: UserSettings, parts: UserParts, store: Store, metrics: Metrics, audit: Audit) -> FastAPI:
    """Return the user service made of these parts."""
    database = Database(settings.database_url, METADATA)
    locks = parts.user_locks(parts.locks(store), settings.lock_hold_s, settings.lock_when_store_is_down, metrics, audit)
    money = parts.money(parts.ledger(database), locks, settings.lock_expires_s, audit)
    app = new_service("user", metrics, audit, settings.gateway_token)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        database.close()
        await store.close()

    app.router.lifespan_context = lifespan
    _add_public(app, money)
    _add_internal(app, money)
    return app


def _add_public(app: FastAPI, money: Money) -> None:
    @app.get("/api/v1/users/me", responses=errors(401))
    @app.get("/api/v1/balance", responses=errors(401))
    async def balance(caller: CallerOf) -> Balance:
        return Balance(username=caller.user, balance_cents=await money.ledger.balance(caller.user))

    @app.post("/api/v1/balance/deposit", responses=errors(400, 401, 409, 422, 503))
    async def deposit(amount: Amount, caller: CallerOf) -> Transaction:
        return _shown(await money.deposit(caller, amount.amount_cents))

    @app.post("/api/v1/balance/withdraw", responses=errors(400, 401, 409, 422, 503))
    async def withdraw(amount: Amount, caller: CallerOf) -> Transaction:
        return _shown(await money.withdraw(caller, amount.amount_cents))

    @app.get("/api/v1/balance/transactions", responses=errors(401, 422))
    async def transactions(caller: CallerOf, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> Transactions:
        found = await money.ledger.transactions(caller.user, limit)
        return Transactions(transactions=[_shown(entry) for entry in found])


def _add_internal(app: FastAPI, money: Money) -> None:
    @app.post("/internal/v1/debits", dependencies=[FROM_GATEWAY], responses=errors(400, 401, 409, 422, 503))
    async def debit(
        asked: Debit, request: Request, x_lock_token: Annotated[str, Header(pattern=HELD_PATTERN)]
    ) -> Transaction:
        caller = Caller(asked.username, client_ip_of(request), request_id_of(request))
        change = Change(asked.username, "debit", -asked.amount_cents, caller.request_id, asked.reference)
        return _shown(await money.debit(caller, change, x_lock_token))

    @app.post("/internal/v1/debits/settle", dependencies=[FROM_GATEWAY], responses=errors(400, 401, 422, 503))
    async def settle(asked: Settle, request: Request) -> Settled:
        debited = await money.ledger.settle(asked.username, asked.reference, request_id_of(request))
        return Settled(debited=debited)


def _shown(entry: Entry) -> Transaction:
    return Transaction(
        transaction_id=entry.id,
        kind=entry.kind,
        amount_cents=entry.amount_cents,
        balance_cents=entry.balance_cents,
        reference=entry.reference,
        created_at=entry.created_at,
    )

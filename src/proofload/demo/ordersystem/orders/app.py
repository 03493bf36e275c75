"""The order service's endpoints: create, get, list."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import FastAPI, Header, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from proofload.demo.ordersystem.common.audit import Audit
from proofload.demo.ordersystem.common.database import Database
from proofload.demo.ordersystem.common.errors import ServiceError
from proofload.demo.ordersystem.common.locks import Locks, RedisLocks, UserLocks
from proofload.demo.ordersystem.common.metrics import Metrics
from proofload.demo.ordersystem.common.service import CallerOf, errors, new_service
from proofload.demo.ordersystem.common.store import Store
from proofload.demo.ordersystem.common.upstream import Upstream
from proofload.demo.ordersystem.common.whole import Whole
from proofload.demo.ordersystem.orders.book import METADATA, Book, Order
from proofload.demo.ordersystem.orders.payments import Payments
from proofload.demo.ordersystem.orders.settings import OrderSettings
from proofload.demo.ordersystem.orders.shop import Shop


class NewOrder(BaseModel):
    """What to buy."""

    model_config = ConfigDict(extra="forbid")
    item: Literal["widget", "gadget", "gizmo"]
    quantity: Whole = Field(default=1, ge=1, le=1000)


class ShownOrder(BaseModel):
    """An order as its owner sees it."""

    order_id: str
    item: str
    quantity: int
    total_cents: int
    status: str
    created_at: str


class ShownOrders(BaseModel):
    """The latest orders, the newest first."""

    orders: list[ShownOrder]


@dataclass(frozen=True)
class OrderParts:
    """One implementation for each role in the order service. The defaults are the honest system."""

    locks: Callable[[Store], Locks] = RedisLocks
    user_locks: type[UserLocks] = UserLocks
    payments: type[Payments] = Payments
    shop: type[Shop] = Shop


def build_order(
    settings: OrderSettings, parts: OrderParts, store: Store, users: Upstream, metrics: Metrics, audit: Audit
) -> FastAPI:
    """Return the order service made of these parts."""
    database = Database(settings.database_url, METADATA)
    locks = parts.user_locks(parts.locks(store), settings.lock_hold_s, settings.lock_when_store_is_down, metrics, audit)
    payments = parts.payments(users, settings.gateway_token)
    shop = parts.shop(Book(database), payments, locks, settings.lock_expires_s, audit)
    app = new_service("order", metrics, audit, settings.gateway_token)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        settling = asyncio.create_task(shop.settle_forever(settings.settle_after_s, settings.settle_every_s))
        yield
        settling.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await settling
        await users.close()
        database.close()
        await store.close()

    app.router.lifespan_context = lifespan

    @app.post(
        "/api/v1/orders", status_code=201, responses={200: {"model": ShownOrder}, **errors(400, 401, 409, 422, 503)}
    )
    async def create(
        new: NewOrder,
        caller: CallerOf,
        response: Response,
        idempotency_key: Annotated[str | None, Header(pattern=r"^[!-~]{1,100}$")] = None,
    ) -> ShownOrder:
        order, is_new = await shop.buy(caller, new.item, new.quantity, idempotency_key)
        if not is_new:
            response.status_code = 200
        return _shown(order)

    @app.get("/api/v1/orders/{order_id}", responses=errors(401, 404, 422))
    async def get(order_id: str, caller: CallerOf) -> ShownOrder:
        order = await shop.book.find(caller.user, order_id)
        if order is None:
            raise ServiceError(404, "ORDER_UNKNOWN", "you have no such order")
        return _shown(order)

    @app.get("/api/v1/orders", responses=errors(401, 422))
    async def list_orders(caller: CallerOf, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> ShownOrders:
        return ShownOrders(orders=[_shown(order) for order in await shop.book.of_user(caller.user, limit)])

    return app


def _shown(order: Order) -> ShownOrder:
    return ShownOrder(
        order_id=order.order_id,
        item=order.item,
        quantity=order.quantity,
        total_cents=order.total_cents,
        status=order.status,
        created_at=order.created_at,
    )

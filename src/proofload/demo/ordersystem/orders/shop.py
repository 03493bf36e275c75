"""Buying: an order and its debit, both or neither, whatever dies in between."""

from __future__ import annotations

import asyncio
import logging

from proofload.demo.ordersystem.common.audit import Audit, AuditEvent
from proofload.demo.ordersystem.common.errors import ServiceError
from proofload.demo.ordersystem.common.locks import Held, UserLocks
from proofload.demo.ordersystem.common.service import Caller
from proofload.demo.ordersystem.orders.book import CANCELLED, CONFIRMED, PENDING, REJECTED, Book, Order
from proofload.demo.ordersystem.orders.payments import Payments, UnknownOutcomeError, dependency_down

LOG = logging.getLogger("proofload.demo.ordersystem.orders")

PRICES_CENTS = {"widget": 250, "gadget": 1_000, "gizmo": 9_900}


class Shop:
    """Makes orders under the user's lock."""

    def __init__(self, book: Book, payments: Payments, locks: UserLocks, expires_s: float, audit: Audit) -> None:
        self.book = book
        self.payments = payments
        self.locks = locks
        self.expires_s = expires_s
        self.audit = audit

    async def buy(self, caller: Caller, item: str, quantity: int, key: str | None) -> tuple[Order, bool]:
        """Return the confirmed order and whether it is new, or raise the refusal."""
        async with self.locks.hold(caller, "order", self.expires_s) as held:
            earlier = await self.book.find_by_key(caller.user, key) if key else None
            if earlier is not None:
                return await self.replay(earlier, item, quantity), False
            total_cents = PRICES_CENTS[item] * quantity
            order = await self.book.open(caller.user, item, quantity, total_cents, key, caller.request_id)
            if order is None:
                raise ServiceError(503, "LOCK_LOST", "an order with this key came in between; try again", 1)
            if self.locks.hold_s:
                await asyncio.sleep(self.locks.hold_s)
            await self.pay(caller, order, held)
        return await self._shown(order), True

    async def replay(self, order: Order, item: str, quantity: int) -> Order:
        """Return what became of an order whose idempotency key is used again."""
        if (order.item, order.quantity) != (item, quantity):
            raise ServiceError(409, "IDEMPOTENCY_KEY_REUSED", "this key belongs to a different order")
        if order.status == PENDING:
            order = await self.settle(order)
        if order.status == REJECTED:
            raise ServiceError(409, "INSUFFICIENT_FUNDS", "the balance did not cover this order")
        if order.status == CANCELLED:
            raise ServiceError(503, "ORDER_CANCELLED", "this order was not paid and is void; try again", 1)
        return order

    async def pay(self, caller: Caller, order: Order, held: Held) -> None:
        """Take the money for a pending order and end it; an unknown outcome leaves it pending, to be settled."""
        try:
            await self.payments.debit(caller, order.total_cents, order.order_id, held)
        except ServiceError as refused:
            await self.book.close(order, REJECTED if refused.status == 409 else CANCELLED)
            self.on_record(order, caller.ip, "order_rejected", "failure", {"reason": refused.code})
            raise
        except UnknownOutcomeError as error:
            LOG.warning("order %s stays pending: %s", order.order_id, error)
            raise dependency_down() from error
        await self.book.close(order, CONFIRMED)
        self.on_record(order, caller.ip, "order_created", "success", {})

    async def settle(self, order: Order) -> Order:
        """End a pending order by what really happened to the money."""
        try:
            debited = await self.payments.settle(order.username, order.order_id, order.request_id)
        except UnknownOutcomeError as error:
            raise ServiceError(503, "ORDER_PENDING", "this order is not settled yet; try again", 1) from error
        if await self.book.close(order, CONFIRMED if debited else CANCELLED):
            event = "order_created" if debited else "order_cancelled"
            self.on_record(order, None, event, "success" if debited else "failure", {"settled_later": True})
        return await self._shown(order)

    async def settle_forever(self, after_s: float, every_s: float) -> None:
        """Settle what crashes left behind, at the start and ever again."""
        while True:
            try:
                for order in await self.book.pending_since(after_s):
                    await self.settle(order)
            except ServiceError as error:
                LOG.warning("pending orders can't be settled yet: %s", error)
            except Exception:
                LOG.exception("settling failed")
            await asyncio.sleep(every_s)

    async def _shown(self, order: Order) -> Order:
        found = await self.book.find(order.username, order.order_id)
        assert found is not None, "orders are never deleted"
        return found

    def on_record(self, order: Order, ip: str | None, event: str, outcome: str, more: dict[str, object]) -> None:
        """Put the end of an order on record, before anybody is told of it."""
        details: dict[str, object] = {"order_id": order.order_id, "total_cents": order.total_cents, **more}
        self.audit.write(AuditEvent(event, outcome, order.username, ip, order.request_id, details))

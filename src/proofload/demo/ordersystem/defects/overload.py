"""Overload and resilience gone wrong."""

from __future__ import annotations

import asyncio
import os
import signal
import uuid
from dataclasses import replace

from proofload.demo.ordersystem.common.service import Caller
from proofload.demo.ordersystem.common.upstream import Headers, HttpUpstream, Upstream, UpstreamAnswer
from proofload.demo.ordersystem.defects.defect import Defect, gateway, order
from proofload.demo.ordersystem.gateway.app import GatewayApp
from proofload.demo.ordersystem.gateway.bulkhead import Admission, Bulkhead
from proofload.demo.ordersystem.gateway.call import Answer, Call
from proofload.demo.ordersystem.gateway.parts import http_upstreams
from proofload.demo.ordersystem.gateway.protecting import Guarding
from proofload.demo.ordersystem.gateway.settings import GatewaySettings
from proofload.demo.ordersystem.gateway.stages import Forwarding
from proofload.demo.ordersystem.orders.book import CONFIRMED, Order
from proofload.demo.ordersystem.orders.shop import PRICES_CENTS, Shop


def _endless_line(settings: GatewaySettings, service: str) -> Admission:
    return Bulkhead(settings.rooms[service].at_once, 10**9, 10**6)


class StaysDegraded(Guarding):
    """Switches to a careful mode on overload, and never back."""

    degraded = False

    async def __call__(self, call: Call) -> Answer:
        """Be careful for ever after."""
        if self.degraded:
            await asyncio.sleep(0.3)
        answer = await super().__call__(call)
        self.degraded = self.degraded or answer.code == "OVERLOADED"
        return answer


class CrashesOnOverload(Guarding):
    """Runs out of something and dies of it."""

    async def __call__(self, call: Call) -> Answer:
        """Die of the first refusal."""
        answer = await super().__call__(call)
        if answer.code == "OVERLOADED":
            os.kill(os.getpid(), signal.SIGKILL)
        return answer


class OverloadedIsOkay(Guarding):
    """Says sorry with 200."""

    async def __call__(self, call: Call) -> Answer:
        """Hide the refusal from whoever reads the status only."""
        answer = await super().__call__(call)
        return replace(answer, status=200) if answer.code == "OVERLOADED" else answer


class OneRoomForAll(Guarding):
    """Has one room for all services."""

    async def __call__(self, call: Call) -> Answer:
        """Fill the same room whatever is called."""
        service = call.route.service
        if service is not None and service not in self.rooms:
            shared = next(iter(self.rooms.values()), None)
            self.rooms[service] = shared if shared is not None else self.new_room(service)
        return await super().__call__(call)


class HealthWaitsItsTurn(GatewayApp):
    """Serves /health from the pool that serves everybody."""

    MANY = 16
    under_way = 0
    quiet = asyncio.Event()

    async def own_page(self, call: Call) -> Answer | None:
        """Wait until there is little to do."""
        if call.path == "/health" and self.under_way >= self.MANY:
            await self.quiet.wait()
        return await super().own_page(call)

    async def answer(self, call: Call) -> Answer:
        """Count what is under way."""
        self.under_way += 1
        try:
            if self.under_way >= self.MANY:
                self.quiet.clear()
            return await super().answer(call)
        finally:
            self.under_way -= 1
            if self.under_way < self.MANY:
                self.quiet.set()


class NeverCloses(HttpUpstream):
    """Opens a connection for each request and forgets it."""

    def __init__(self, address: str, connect_timeout_s: float, timeout_s: float, keep: int) -> None:
        super().__init__(address, connect_timeout_s, timeout_s, keep)
        self._forgotten: list[object] = []

    async def send(self, method: str, target: bytes, headers: Headers, body: bytes) -> UpstreamAnswer:
        """Leave the connection open for nobody."""
        answer = await super().send(method, target, headers, body)
        self._forgotten.append(self.idle.pop() if self.idle else None)
        return answer


class RetriesEverything(Forwarding):
    """Tries again, at once, up to four times."""

    async def __call__(self, call: Call) -> Answer:
        """Multiply the load on a service that fails."""
        answer = await super().__call__(call)
        for _ in range(3):
            if answer.status < 500:
                break
            answer = await super().__call__(call)
        return answer


class OrderThenMoney(Shop):
    """Takes the money first and writes the order down afterwards, with nothing that ties them together."""

    async def buy(self, caller: Caller, item: str, quantity: int, key: str | None) -> tuple[Order, bool]:
        """Lose the order when something dies in between."""
        async with self.locks.hold(caller, "order", self.expires_s) as held:
            total_cents = PRICES_CENTS[item] * quantity
            await self.payments.debit(caller, total_cents, f"ord_{uuid.uuid4()}", held)
            await asyncio.sleep(max(self.locks.hold_s, 0.02))
            made = await self.book.open(caller.user, item, quantity, total_cents, key, caller.request_id)
            assert made is not None
            await self.book.close(made, CONFIRMED)
            self.on_record(made, caller.ip, "order_created", "success", {})
        return replace(made, status=CONFIRMED), True


def _no_timeout(settings: GatewaySettings) -> dict[str, Upstream]:
    return http_upstreams(replace(settings, upstream_timeout_s=1e6))


def _leaking(settings: GatewaySettings) -> dict[str, Upstream]:
    return {
        service: NeverCloses(address, settings.connect_timeout_s, settings.upstream_timeout_s, 64)
        for service, address in settings.upstreams.items()
    }


_RES = "TC-RES-001"

DEFECTS = (
    Defect(
        "res.unbounded_queue",
        "The line is as long as it takes.",
        "Default executors and event loops queue without bound.",
        "Beyond capacity nothing is refused and latency grows without end.",
        _RES,
        gateway(room=_endless_line),
    ),
    Defect(
        "res.no_recovery",
        "After an overload the gateway stays slow.",
        "Metastable failures: a degraded mode whose cause keeps itself alive.",
        "300 ms more on every request, long after the load is gone.",
        _RES,
        gateway(guarding=StaysDegraded),
    ),
    Defect(
        "res.connection_leak",
        "Connections to services are opened for each request and never closed.",
        "Responses that are not closed; HTTP clients made in each request.",
        "The number of connections grows with the number of requests.",
        "TC-RES-002",
        gateway(upstreams=_leaking),
    ),
    Defect(
        "res.crash_on_overload",
        "A worker dies of the first refusal.",
        "Out of memory, out of file descriptors, an assertion.",
        "Connections break; the worker's pid changes.",
        _RES,
        gateway(guarding=CrashesOnOverload),
    ),
    Defect(
        "res.health_starved",
        "/health waits behind the requests.",
        "Probes served by the same thread pool; an orchestrator then restarts what is merely busy.",
        "/health takes as long as the line is.",
        _RES,
        gateway(app=HealthWaitsItsTurn),
    ),
    Defect(
        "res.errors_as_200",
        "A refusal for want of room is a 200.",
        "Friendly error pages.",
        "200 with code OVERLOADED.",
        _RES,
        gateway(guarding=OverloadedIsOkay),
    ),
    Defect(
        "res.retry_storm",
        "The gateway tries a failing service four times.",
        "Retries without a budget, as in several public outage reports.",
        "A failing service has four hits for each request; the circuit is not even known to them.",
        "TC-RES-005",
        gateway(forwarding=RetriesEverything),
    ),
    Defect(
        "res.no_timeout",
        "There is no timeout on services.",
        "The default of many HTTP clients.",
        "A hanging service holds every request until the client gives up.",
        "TC-RES-005",
        gateway(upstreams=_no_timeout),
    ),
    Defect(
        "res.cascading",
        "All services share one room.",
        "One pool for all targets, the case against which bulkheads were invented.",
        "When the user service hangs, logins are refused or slow.",
        "TC-CB-003",
        gateway(guarding=OneRoomForAll),
    ),
    Defect(
        "res.partial_order",
        "Money is taken before the order is written, with nothing to tie them together.",
        "Two writes to two services without outbox, saga or two-phase commit.",
        "Killed in between, there is a debit without an order.",
        "TC-RES-004",
        order(shop=OrderThenMoney),
    ),
)

"""The stages that protect services and the gateway itself: guarding against overload, breaking circuits."""

from __future__ import annotations

import logging
from collections.abc import Callable

from prometheus_client import Counter

from proofload.demo.ordersystem.common.audit import Audit, AuditEvent
from proofload.demo.ordersystem.common.errors import StoreDownError
from proofload.demo.ordersystem.gateway.breaker import Breaker, Move, Permit
from proofload.demo.ordersystem.gateway.bulkhead import Admission
from proofload.demo.ordersystem.gateway.call import Answer, Call, Handler, refusal

LOG = logging.getLogger("proofload.demo.ordersystem.gateway")


class Guarding:
    """Answers 503 OVERLOADED at once when a service has more calls than it can take; each service has its own room."""

    def __init__(self, inner: Handler, new_room: Callable[[str], Admission], rejections: Counter) -> None:
        self.inner = inner
        self.new_room = new_room
        self.rooms: dict[str, Admission] = {}
        self.rejections = rejections

    async def __call__(self, call: Call) -> Answer:
        """Pass the call on when there is room."""
        service = call.route.service
        if service is None:
            return await self.inner(call)
        room = self.rooms.get(service)
        if room is None:
            room = self.rooms[service] = self.new_room(service)
        if not await room.enter():
            self.rejections.labels(service).inc()
            return refusal(call, 503, "OVERLOADED", "more requests than can be served; try again", 1)
        try:
            return await self.inner(call)
        finally:
            room.leave()


class Reading:
    """Reads the body of the call, so that what comes after holds nothing while a client dawdles."""

    def __init__(self, inner: Handler) -> None:
        self.inner = inner

    async def __call__(self, call: Call) -> Answer:
        """Read, and pass the call on."""
        call.body = await call.read_body()
        return await self.inner(call)


class FailureRules:
    """Which answers are failures of a service: 5xx and no answer at all, a few codes excepted."""

    def __init__(self, ignored_codes: tuple[str, ...]) -> None:
        self._ignored = frozenset(ignored_codes)

    def __call__(self, answer: Answer) -> bool:
        """Tell whether the answer counts as a failure of the service."""
        return answer.status >= 500 and answer.code not in self._ignored


class Breaking:
    """Calls no service whose circuit is open, and reports how each call went."""

    def __init__(
        self,
        inner: Handler,
        breaker: Breaker,
        is_failure: Callable[[Answer], bool],
        transitions: Counter,
        rejections: Counter,
        audit: Audit,
    ) -> None:
        self.inner = inner
        self.breaker = breaker
        self.is_failure = is_failure
        self.transitions = transitions
        self.rejections = rejections
        self.audit = audit

    async def __call__(self, call: Call) -> Answer:
        """Pass the call on, or answer 503 CIRCUIT_OPEN."""
        service = call.route.service
        if service is None:
            return await self.inner(call)
        try:
            permit = await self.breaker.enter(service)
        except StoreDownError as error:
            # A breaker protects; it must not be what takes a healthy service away.
            LOG.warning("circuit of %s unknown, calling it for %s: %s", service, call.request_id, error)
            return await self.inner(call)
        self.moved(call, service, permit.move)
        if not permit.admitted:
            self.rejections.labels(service).inc()
            return self.reject(call, service, permit)
        return await self.observed(call, service, permit)

    async def observed(self, call: Call, service: str, permit: Permit) -> Answer:
        """Pass the call on and report its outcome before the answer leaves."""
        outcome = "neither"
        try:
            answer = await self.inner(call)
            outcome = "failure" if self.is_failure(answer) else "success"
        finally:
            try:
                self.moved(call, service, await self.breaker.leave(service, permit, outcome))
            except StoreDownError as error:
                LOG.warning("outcome for the circuit of %s not kept: %s", service, error)
        return answer

    def reject(self, call: Call, service: str, permit: Permit) -> Answer:
        """Return the answer to a call whose service is not to be called."""
        wait_s = max(1, -(-permit.retry_after_us // 1_000_000))
        return refusal(call, 503, "CIRCUIT_OPEN", f"{service} is failing and is left alone for a while", wait_s)

    def moved(self, call: Call, service: str, move: Move | None) -> None:
        """Put a change of state on record and count it."""
        if move is None:
            return
        self.transitions.labels(service, move.before, move.after).inc()
        names = {"open": "circuit_opened", "half_open": "circuit_half_opened", "closed": "circuit_closed"}
        details: dict[str, object] = {"circuit": service, "from": move.before, "to": move.after}
        event = AuditEvent(names[move.after], "changed", call.user, call.client_ip, call.request_id, details)
        self.audit.write(event)
        LOG.warning("circuit of %s: %s -> %s", service, move.before, move.after)

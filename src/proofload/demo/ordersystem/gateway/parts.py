"""The composition root of the gateway: which implementation stands where, and how they are put together.

The defaults are the honest system. A defect is another value for one of these fields, chosen before anything is built.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from proofload.demo.ordersystem.common.audit import Audit
from proofload.demo.ordersystem.common.errors import StoreDownError
from proofload.demo.ordersystem.common.metrics import Metrics
from proofload.demo.ordersystem.common.store import Store
from proofload.demo.ordersystem.common.upstream import HttpUpstream, Upstream
from proofload.demo.ordersystem.gateway.app import GatewayApp
from proofload.demo.ordersystem.gateway.breaker import CLOSED, HALF_OPEN, OPEN, Breaker, BreakerRules, RedisBreaker
from proofload.demo.ordersystem.gateway.bulkhead import Admission, Bulkhead
from proofload.demo.ordersystem.gateway.call import Answer, Handler
from proofload.demo.ordersystem.gateway.identity import ClientIp, TrustedProxies
from proofload.demo.ordersystem.gateway.limiter import FixedWindows, Limiter
from proofload.demo.ordersystem.gateway.protecting import Breaking, FailureRules, Guarding, Reading
from proofload.demo.ordersystem.gateway.settings import GatewaySettings
from proofload.demo.ordersystem.gateway.stages import (
    Authorising,
    Catching,
    Forwarding,
    KeyOf,
    LimitHeaders,
    Limiting,
    LimitPlan,
    key_of_client,
    limit_headers,
)
from proofload.demo.ordersystem.gateway.tokens import TokenChecker


def http_upstreams(settings: GatewaySettings) -> dict[str, Upstream]:
    """Return every configured service, reached over TCP."""
    return {
        service: HttpUpstream(
            address, settings.connect_timeout_s, settings.upstream_timeout_s, settings.upstream_connections
        )
        for service, address in settings.upstreams.items()
    }


def bulkhead(settings: GatewaySettings, service: str) -> Admission:
    """Return room for the calls of one service."""
    room = settings.rooms[service]
    return Bulkhead(room.at_once, room.in_line, room.patience_s)


_STATE_VALUES = {CLOSED: 0, OPEN: 1, HALF_OPEN: 2}


class CircuitGauge:
    """The state of every circuit as it is now, read where all workers keep it."""

    def __init__(self, breaker: Breaker, services: tuple[str, ...]) -> None:
        self._breaker = breaker
        self._services = services

    async def __call__(self) -> bytes:
        """Return the lines for the metrics page; none when the states can't be had."""
        try:
            states = await self._breaker.states(self._services)
        except StoreDownError:
            return b""
        lines = [
            "# HELP circuit_breaker_state 0 closed, 1 open, 2 half-open.",
            "# TYPE circuit_breaker_state gauge",
            *(f'circuit_breaker_state{{service="{name}"}} {_STATE_VALUES[state]}.0' for name, state in states.items()),
        ]
        return ("\n".join(lines) + "\n").encode()


@dataclass(frozen=True)
class Chain:
    """The stages of the gateway, ready to be put around one another."""

    settings: GatewaySettings
    parts: GatewayParts
    store: Store
    breaker: Breaker
    metrics: Metrics
    audit: Audit

    def __call__(self, forwarding: Handler) -> Handler:
        """Return the honest order: room first, then the allowance, then who it is, then the circuit."""
        inner = Catching(self.authorising(Reading(self.breaking(forwarding))))
        return Catching(self.guarding(self.limiting(inner)))

    def guarding(self, inner: Handler) -> Handler:
        """Return the stage that keeps room."""
        rejections = self.metrics.counter("overload_rejections_total", "Calls refused for want of room.", ("service",))
        return self.parts.guarding(inner, lambda service: self.parts.room(self.settings, service), rejections)

    def limiting(self, inner: Handler) -> Handler:
        """Return the stage that keeps to the allowance."""
        return self.parts.limiting(
            inner,
            self.parts.limiter(self.store),
            LimitPlan(self.settings, self.parts.key_of),
            self.parts.limit_headers,
            self.settings.when_store_is_down,
            self.metrics.counter("rate_limit_decisions_total", "What the rate limiter decided.", ("decision",)),
            self.audit,
        )

    def authorising(self, inner: Handler) -> Handler:
        """Return the stage that asks who it is."""
        tokens = TokenChecker(self.settings.jwt_secret)
        return self.parts.authorising(inner, tokens, self.store, self.settings.when_store_is_down, self.audit)

    def breaking(self, inner: Handler) -> Handler:
        """Return the stage that leaves failing services alone."""
        counter = self.metrics.counter
        return self.parts.breaking(
            inner,
            self.breaker,
            self.parts.is_failure(self.settings.breaker_ignored_codes),
            counter("circuit_breaker_transitions_total", "Changes of state.", ("service", "before", "after")),
            counter("circuit_breaker_rejections_total", "Calls not made: the circuit was open.", ("service",)),
            self.audit,
        )


@dataclass(frozen=True)
class GatewayParts:
    """One implementation for each role in the gateway, in the order in which a call meets them."""

    app: type[GatewayApp] = GatewayApp
    chain: type[Chain] = Chain
    client_ip: Callable[[GatewaySettings], ClientIp] = lambda settings: TrustedProxies(settings.trusted_proxies)
    guarding: type[Guarding] = Guarding
    room: Callable[[GatewaySettings, str], Admission] = bulkhead
    limiting: type[Limiting] = Limiting
    limiter: Callable[[Store], Limiter] = FixedWindows
    key_of: KeyOf = key_of_client
    limit_headers: LimitHeaders = limit_headers
    authorising: type[Authorising] = Authorising
    breaking: type[Breaking] = Breaking
    breaker: Callable[[Store, BreakerRules], Breaker] = RedisBreaker
    is_failure: Callable[[tuple[str, ...]], Callable[[Answer], bool]] = FailureRules
    forwarding: type[Forwarding] = Forwarding
    upstreams: Callable[[GatewaySettings], dict[str, Upstream]] = http_upstreams
    circuit_gauge: Callable[[Breaker, tuple[str, ...]], Callable[[], Awaitable[bytes]]] = CircuitGauge


def build_gateway(
    settings: GatewaySettings,
    parts: GatewayParts,
    store: Store,
    upstreams: dict[str, Upstream],
    metrics: Metrics,
    audit: Audit,
) -> GatewayApp:
    """Return the gateway made of these parts."""
    breaker = parts.breaker(store, settings.breaker)
    forwarding = parts.forwarding(upstreams, settings.gateway_token)

    async def close() -> None:
        for upstream in upstreams.values():
            await upstream.close()
        await store.close()

    return parts.app(
        limited=parts.chain(settings, parts, store, breaker, metrics, audit)(forwarding),
        unlimited=Catching(forwarding),
        client_ip=parts.client_ip(settings),
        metrics=metrics,
        max_body_bytes=settings.max_body_bytes,
        gauges=parts.circuit_gauge(breaker, tuple(upstreams)),
        close=close,
    )

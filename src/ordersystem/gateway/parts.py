"""The composition root of the gateway: which implementation stands where, and how they are put together.

The defaults are the honest system. A defect is another value for one of these fields, chosen before anything is built.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from ordersystem.common.audit import Audit
from ordersystem.common.errors import StoreDownError
from ordersystem.common.metrics import Metrics
from ordersystem.common.store import Store
from ordersystem.common.upstream import HttpUpstream, Upstream
from ordersystem.gateway.app import GatewayApp
from ordersystem.gateway.breaker import CLOSED, HALF_OPEN, OPEN, Breaker, BreakerRules, RedisBreaker
from ordersystem.gateway.bulkhead import Admission, Bulkhead
from ordersystem.gateway.call import Answer, Handler
from ordersystem.gateway.identity import ClientIp, TrustedProxies
from ordersystem.gateway.limiter import FixedWindows, Limiter
from ordersystem.gateway.protecting import Breaking, FailureRules, Guarding, Reading
from ordersystem.gateway.settings import GatewaySettings
from ordersystem.gateway.stages import (
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
from ordersystem.gateway.tokens import TokenChecker


def http_upstreams(settings: GatewaySettings) -> dict[str, Upstream]:
    """Return every configured service, reached over TCP."""
    return {
        service: HttpUpstream(
            address, settings.connect_timeout_s, settings.upstream_timeout_s, settings.upstream_connections
        )
        for service, address in settings.upstreams.items()
    }


def bulkhead(settings: GatewaySettings) -> Admission:
    """Return room for the calls of one service."""
    return Bulkhead(settings.max_concurrency, settings.max_queue, settings.queue_patience_s)


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
class GatewayParts:
    """One implementation for each role in the gateway, in the order in which a call meets them."""

    app: type[GatewayApp] = GatewayApp
    client_ip: Callable[[GatewaySettings], ClientIp] = lambda settings: TrustedProxies(settings.trusted_proxies)
    guarding: type[Guarding] = Guarding
    room: Callable[[GatewaySettings], Admission] = bulkhead
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

    async def close() -> None:
        for upstream in upstreams.values():
            await upstream.close()
        await store.close()

    forwarding = parts.forwarding(upstreams, settings.gateway_token)
    return parts.app(
        limited=_limited(settings, parts, store, breaker, forwarding, metrics, audit),
        unlimited=Catching(forwarding),
        client_ip=parts.client_ip(settings),
        metrics=metrics,
        max_body_bytes=settings.max_body_bytes,
        gauges=parts.circuit_gauge(breaker, tuple(upstreams)),
        close=close,
    )


def _limited(
    settings: GatewaySettings,
    parts: GatewayParts,
    store: Store,
    breaker: Breaker,
    forwarding: Handler,
    metrics: Metrics,
    audit: Audit,
) -> Handler:
    breaking = parts.breaking(
        forwarding,
        breaker,
        parts.is_failure(settings.breaker_ignored_codes),
        metrics.counter("circuit_breaker_transitions_total", "Changes of state.", ("service", "before", "after")),
        metrics.counter("circuit_breaker_rejections_total", "Calls not made: the circuit was open.", ("service",)),
        audit,
    )
    authorising = parts.authorising(
        Reading(breaking), TokenChecker(settings.jwt_secret), store, settings.when_store_is_down, audit
    )
    limiting = parts.limiting(
        Catching(authorising),
        parts.limiter(store),
        LimitPlan(settings, parts.key_of),
        parts.limit_headers,
        settings.when_store_is_down,
        metrics.counter("rate_limit_decisions_total", "What the rate limiter decided.", ("decision",)),
        audit,
    )
    guarding = parts.guarding(
        limiting,
        lambda: parts.room(settings),
        metrics.counter("overload_rejections_total", "Calls refused for want of room.", ("service",)),
    )
    return Catching(guarding)

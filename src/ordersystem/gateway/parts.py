"""The composition root of the gateway: which implementation stands where, and how they are put together.

The defaults are the honest system. A defect is another value for one of these fields, chosen before anything is built.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ordersystem.common.audit import Audit
from ordersystem.common.metrics import Metrics
from ordersystem.common.store import Store
from ordersystem.gateway.app import GatewayApp
from ordersystem.gateway.identity import ClientIp, TrustedProxies
from ordersystem.gateway.limiter import FixedWindows, Limiter
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
from ordersystem.gateway.upstream import HttpUpstream, Upstream


@dataclass(frozen=True)
class GatewayParts:
    """One implementation for each role in the gateway."""

    client_ip: Callable[[GatewaySettings], ClientIp] = lambda settings: TrustedProxies(settings.trusted_proxies)
    key_of: KeyOf = key_of_client
    limiter: Callable[[Store], Limiter] = FixedWindows
    limit_headers: LimitHeaders = limit_headers
    limiting: type[Limiting] = Limiting
    authorising: type[Authorising] = Authorising
    forwarding: type[Forwarding] = Forwarding


def http_upstreams(settings: GatewaySettings) -> dict[str, Upstream]:
    """Return every configured service, reached over TCP."""
    return {
        service: HttpUpstream(
            address, settings.connect_timeout_s, settings.upstream_timeout_s, settings.upstream_connections
        )
        for service, address in settings.upstreams.items()
    }


def build_gateway(
    settings: GatewaySettings,
    parts: GatewayParts,
    store: Store,
    upstreams: dict[str, Upstream],
    metrics: Metrics,
    audit: Audit,
) -> GatewayApp:
    """Return the gateway made of these parts."""
    decisions = metrics.counter("rate_limit_decisions_total", "What the rate limiter decided.", ("decision",))
    forwarding = parts.forwarding(upstreams, settings.gateway_token)
    authorising = parts.authorising(
        forwarding, TokenChecker(settings.jwt_secret), store, settings.when_store_is_down, audit
    )
    limiting = parts.limiting(
        Catching(authorising),
        parts.limiter(store),
        LimitPlan(settings, parts.key_of),
        parts.limit_headers,
        settings.when_store_is_down,
        decisions,
        audit,
    )

    async def gauges() -> bytes:
        return b""

    async def close() -> None:
        for upstream in upstreams.values():
            await upstream.close()
        await store.close()

    return GatewayApp(
        limited=Catching(limiting),
        unlimited=Catching(forwarding),
        client_ip=parts.client_ip(settings),
        metrics=metrics,
        max_body_bytes=settings.max_body_bytes,
        gauges=gauges,
        close=close,
    )

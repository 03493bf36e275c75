"""Everything about the gateway that can be set, and how it is called in the environment."""

from __future__ import annotations

from dataclasses import dataclass

from proofload.demo.ordersystem.common.environment import Environment
from proofload.demo.ordersystem.gateway.breaker import BreakerRules
from proofload.demo.ordersystem.gateway.routes import SERVICES


@dataclass(frozen=True, slots=True)
class RateLimit:
    """So many requests in so many microseconds."""

    limit: int
    window_us: int


@dataclass(frozen=True, slots=True)
class Room:
    """So many calls at a time, so many in line, each for so long at the most; by worker."""

    at_once: int
    in_line: int
    patience_s: float


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """The gateway's settings, read once at the start."""

    upstreams: dict[str, str]
    redis_url: str
    key_prefix: str
    jwt_secret: str
    gateway_token: str
    rate_limit: RateLimit
    service_limits: dict[str, RateLimit]
    trusted_proxies: tuple[str, ...]
    when_store_is_down: str
    store_timeout_s: float
    upstream_timeout_s: float
    connect_timeout_s: float
    upstream_connections: int
    max_body_bytes: int
    rooms: dict[str, Room]
    """The room of each service's calls."""
    breaker: BreakerRules
    breaker_ignored_codes: tuple[str, ...]


def gateway_settings(env: Environment) -> GatewaySettings:
    """Return the settings, or raise SettingError for the first that can't be used."""
    window_us = round(env.seconds("GATEWAY_RATE_WINDOW", 60.0, 0.01) * 1_000_000)
    limits = {}
    for service in SERVICES:
        own = env.whole(f"GATEWAY_RATE_LIMIT_{service.upper()}", 0, 0, 1_000_000)
        if own:
            own_window = env.seconds(f"GATEWAY_RATE_WINDOW_{service.upper()}", window_us / 1_000_000, 0.01)
            limits[service] = RateLimit(own, round(own_window * 1_000_000))
    return GatewaySettings(
        upstreams={
            service: address
            for service in SERVICES
            if (address := env.text(f"GATEWAY_UPSTREAM_{service.upper()}", "").rstrip("/"))
        },
        redis_url=env.text("REDIS_URL", "redis://127.0.0.1:6379/0"),
        key_prefix=env.text("ORDERSYSTEM_KEY_PREFIX", "ordersystem:"),
        jwt_secret=env.text("JWT_SECRET", ""),
        gateway_token=env.text("GATEWAY_TOKEN", ""),
        rate_limit=RateLimit(env.whole("GATEWAY_RATE_LIMIT", 100, 1, 1_000_000), window_us),
        service_limits=limits,
        trusted_proxies=env.listed("GATEWAY_TRUSTED_PROXIES"),
        when_store_is_down=env.one_of("GATEWAY_WHEN_STORE_IS_DOWN", ("closed", "open"), "closed"),
        store_timeout_s=env.seconds("REDIS_TIMEOUT", 1.0, 0.01),
        upstream_timeout_s=env.seconds("GATEWAY_UPSTREAM_TIMEOUT", 5.0, 0.01),
        connect_timeout_s=env.seconds("GATEWAY_CONNECT_TIMEOUT", 1.0, 0.01),
        upstream_connections=env.whole("GATEWAY_UPSTREAM_CONNECTIONS", 64, 1, 4096),
        max_body_bytes=env.whole("GATEWAY_MAX_BODY_BYTES", 1_000_000, 1),
        rooms={service: _room(env, service) for service in SERVICES},
        breaker=_breaker_rules(env),
        breaker_ignored_codes=env.listed(
            "BREAKER_IGNORED_CODES", ("LOCK_CONTENTION", "LOCK_LOST", "ORDER_PENDING", "DEPENDENCY_UNAVAILABLE")
        ),
    )


def _room(env: Environment, service: str) -> Room:
    """Return the room of a service: its own where that is set, else what is set for all of them."""
    own = f"_{service.upper()}"
    at_once = env.whole("GATEWAY_MAX_CONCURRENCY", 64, 1, 10_000)
    in_line = env.whole("GATEWAY_MAX_QUEUE", 1000, 0, 100_000)
    patience_s = env.seconds("GATEWAY_QUEUE_PATIENCE", 1.0)
    return Room(
        env.whole(f"GATEWAY_MAX_CONCURRENCY{own}", at_once, 1, 10_000),
        env.whole(f"GATEWAY_MAX_QUEUE{own}", in_line, 0, 100_000),
        env.seconds(f"GATEWAY_QUEUE_PATIENCE{own}", patience_s),
    )


def _breaker_rules(env: Environment) -> BreakerRules:
    longest_call_s = env.seconds("GATEWAY_UPSTREAM_TIMEOUT", 5.0, 0.01) + env.seconds(
        "GATEWAY_CONNECT_TIMEOUT", 1.0, 0.01
    )
    return BreakerRules(
        failures=env.whole("BREAKER_FAILURES", 5, 1, 1_000_000),
        open_us=round(env.seconds("BREAKER_OPEN", 60.0, 0.01) * 1_000_000),
        successes=env.whole("BREAKER_SUCCESSES", 3, 1, 1_000_000),
        trial_lease_us=round((longest_call_s + 1.0) * 1_000_000),
    )

"""One worker of one service: reads its settings, picks its parts, serves on a socket until it is told to stop."""

from __future__ import annotations

import gc
import logging
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import uvicorn

from proofload.demo.ordersystem.auth.app import build_auth
from proofload.demo.ordersystem.auth.settings import auth_settings
from proofload.demo.ordersystem.common import switches
from proofload.demo.ordersystem.common.audit import Audit
from proofload.demo.ordersystem.common.environment import Environment
from proofload.demo.ordersystem.common.loki import LokiCopy
from proofload.demo.ordersystem.common.metrics import Metrics
from proofload.demo.ordersystem.common.store import RedisStore, Store
from proofload.demo.ordersystem.common.upstream import HttpUpstream
from proofload.demo.ordersystem.compose import Parts
from proofload.demo.ordersystem.gateway.parts import build_gateway
from proofload.demo.ordersystem.gateway.settings import gateway_settings
from proofload.demo.ordersystem.orders.app import build_order
from proofload.demo.ordersystem.orders.settings import order_settings
from proofload.demo.ordersystem.users.app import build_user
from proofload.demo.ordersystem.users.settings import user_settings

SERVICE_NAMES = ("auth", "user", "order")
"""The services behind the gateway, in the order in which they start."""


def check_settings(values: Mapping[str, str]) -> None:
    """Raise SettingError when a setting of any service can't be used."""
    env = Environment(values)
    for read in (gateway_settings, auth_settings, user_settings, order_settings):
        read(env)
    _rotate_bytes(env)


def build(service: str, values: Mapping[str, str], parts: Parts) -> Any:
    """Return the ASGI application of a service, made of these parts and settings."""
    env = Environment(values)
    metrics = parts.metrics(service)
    path = Path(env.text("AUDIT_DIR", "audit")) / f"{service}.jsonl"
    audit: Audit = CountedAudit(parts.audit(service, path, _rotate_bytes(env)), metrics)
    loki = env.text("AUDIT_LOKI_URL", "")
    if loki:
        audit = LokiCopy(audit, loki, service, metrics)
    if service == "gateway":
        gateway = gateway_settings(env)
        return build_gateway(gateway, parts.gateway, _store(gateway), parts.gateway.upstreams(gateway), metrics, audit)
    if service == "auth":
        auth = auth_settings(env)
        return parts.edge(build_auth(auth, parts.auth, _store(auth), metrics, audit), metrics)
    if service == "user":
        user = user_settings(env)
        return parts.edge(build_user(user, parts.user, _store(user), metrics, audit), metrics)
    order = order_settings(env)
    users = HttpUpstream(order.user_service, order.user_timeout_s, order.user_timeout_s, keep=64)
    return parts.edge(build_order(order, parts.order, _store(order), users, metrics, audit), metrics)


class CountedAudit:
    """Counts what is written to an audit log."""

    def __init__(self, audit: Audit, metrics: Metrics) -> None:
        switches.AUDIT.open()
        self._audit = audit
        self._written = metrics.counter("audit_events_total", "Security events put on record.", ("event",))

    def write(self, event: Any) -> None:
        """Write, then count."""
        if switches.AUDIT.is_off:
            return
        self._audit.write(event)
        self._written.labels(event.event).inc()


def _store(settings: Any) -> Store:
    return RedisStore(settings.redis_url, settings.key_prefix, settings.store_timeout_s)


def _rotate_bytes(env: Environment) -> int:
    return env.whole("AUDIT_ROTATE_BYTES", 64_000_000, 256)


def serve(service: str, values: Mapping[str, str], parts: Parts, listener: socket.socket) -> None:
    """Serve until a signal ends it."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(process)d %(levelname)s %(name)s %(message)s")
    app = build(service, values, parts)
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        # The peer of the connection is the client: uvicorn would otherwise believe X-Forwarded-For from loopback.
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_config=None,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=2,
        backlog=4096,
    )
    # What exists by now lives as long as the worker; the collector need not walk it again and again.
    gc.collect()
    gc.freeze()
    uvicorn.Server(config).run(sockets=[listener])

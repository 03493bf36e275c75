"""One worker of one service: reads its settings, picks its parts, serves on a socket until it is told to stop."""

from __future__ import annotations

import gc
import logging
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import uvicorn

from ordersystem.auth.app import build_auth
from ordersystem.auth.settings import auth_settings
from ordersystem.common.audit import AuditFile
from ordersystem.common.environment import Environment
from ordersystem.common.metrics import Metrics
from ordersystem.common.service import Edge
from ordersystem.common.store import RedisStore
from ordersystem.compose import Parts
from ordersystem.gateway.parts import build_gateway, http_upstreams
from ordersystem.gateway.settings import gateway_settings

SERVICE_NAMES = ("auth",)
"""The services behind the gateway, in the order in which they start."""


def build(service: str, values: Mapping[str, str], parts: Parts) -> Any:
    """Return the ASGI application of a service, made of these parts and settings."""
    env = Environment(values)
    metrics = Metrics(service)
    rotate_bytes = env.whole("AUDIT_ROTATE_BYTES", 64_000_000, 256)
    audit = AuditFile(service, Path(env.text("AUDIT_DIR", "audit")) / f"{service}.jsonl", rotate_bytes)
    if service == "gateway":
        gateway = gateway_settings(env)
        store = RedisStore(gateway.redis_url, gateway.key_prefix, gateway.store_timeout_s)
        return build_gateway(gateway, parts.gateway, store, http_upstreams(gateway), metrics, audit)
    auth = auth_settings(env)
    store = RedisStore(auth.redis_url, auth.key_prefix, auth.store_timeout_s)
    return Edge(build_auth(auth, parts.auth, store, metrics, audit), metrics)


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

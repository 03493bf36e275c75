"""How the proxy is ruled: `PUT /faults/NAME`, `DELETE /faults/NAME`, `PUT /upstream`, `GET /hits`, `GET /metrics`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Protocol
from urllib.parse import urlsplit

from proofload.faults.http_proxy.hits import HitCounter
from proofload.faults.http_proxy.messages import MessageError, ProxiedRequest, answer, requests
from proofload.faults.http_proxy.rules import Rule


class Ruled(Protocol):
    """What orders are carried out on: a proxy before one service."""

    upstream: str | None

    @property
    def rules(self) -> Mapping[str, Rule]:
        """The faults in force, by name."""
        ...

    @property
    def hits(self) -> HitCounter:
        """What came through."""
        ...

    def set_rule(self, name: str, rule: Rule) -> None:
        """Put a fault in force."""
        ...

    def lift(self, name: str) -> None:
        """End a fault."""
        ...


class Control:
    """Carries out orders on a proxy."""

    def __init__(self, proxy: Ruled) -> None:
        self._proxy = proxy

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the orders of one connection."""
        try:
            async for request in requests(reader, writer):
                try:
                    reply = self._carry_out(request)
                except ValueError as error:
                    reply = answer(400, {"error": str(error)})
                writer.write(reply)
                await writer.drain()
                if not request.keep_alive:
                    return
        except (MessageError, OSError):
            return
        finally:
            writer.close()

    def _carry_out(self, request: ProxiedRequest) -> bytes:
        proxy, method = self._proxy, request.method.decode("latin-1")
        words = request.path.strip("/").split("/")
        match (method, *words):
            case ("GET", "health"):
                return answer(200, {"upstream": proxy.upstream})
            case ("GET", "faults"):
                return answer(200, {name: rule.to_json() for name, rule in proxy.rules.items()})
            case ("PUT", "faults", name):
                proxy.set_rule(name, Rule.of_json(json.loads(request.body)))
                return answer(200, proxy.rules[name].to_json())
            case ("DELETE", "faults", name):
                proxy.lift(name)
                return answer(200, {})
            case ("PUT", "upstream"):
                proxy.upstream = _upstream_of(json.loads(request.body))
                return answer(200, {"upstream": proxy.upstream})
            case ("GET", "hits"):
                return answer(200, {"total": proxy.hits.total, "hits": proxy.hits.to_json()})
            case ("GET", "metrics"):
                return answer(200, proxy.hits.to_metrics(), b"text/plain; version=0.0.4; charset=utf-8")
            case _:
                return answer(404, {"error": f"{method} {request.path}: expected /faults/NAME, /upstream, /hits"})


def _upstream_of(told: object) -> str:
    url = told.get("url") if isinstance(told, dict) else None
    parts = urlsplit(url) if isinstance(url, str) else None
    if not isinstance(url, str) or parts is None or parts.scheme != "http" or not parts.hostname:
        raise ValueError('expected {"url": "http://host:port"}')
    return url.rstrip("/")

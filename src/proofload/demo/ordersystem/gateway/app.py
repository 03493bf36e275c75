"""The edge of the gateway: ASGI in, a call through the stages, ASGI out. Everything answered here is counted."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from proofload.demo.ordersystem.common.metrics import Metrics
from proofload.demo.ordersystem.common.request_id import request_id_from
from proofload.demo.ordersystem.gateway.call import Answer, BodyTooLargeError, Call, ClientGoneError, Handler
from proofload.demo.ordersystem.gateway.identity import ClientIp
from proofload.demo.ordersystem.gateway.routes import NOWHERE, is_limited, route_of

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class GatewayApp:
    """The ASGI application."""

    def __init__(
        self,
        limited: Handler,
        unlimited: Handler,
        client_ip: ClientIp,
        metrics: Metrics,
        max_body_bytes: int,
        gauges: Callable[[], Awaitable[bytes]],
        close: Callable[[], Awaitable[None]],
    ) -> None:
        self.limited = limited
        self._unlimited = unlimited
        self._client_ip = client_ip
        self.metrics = metrics
        self._max_body_bytes = max_body_bytes
        self._gauges = gauges
        self._close = close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection scope."""
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        call = self._call(scope, receive)
        answer = await self.own_page(call)
        if answer is None:
            answer = await self.answer(call)
            # Counted before it leaves: whoever has the answer in hand finds it in the metrics.
            self.count(call, answer, time.perf_counter() - started)
        await self._reply(send, call, answer)

    async def own_page(self, call: Call) -> Answer | None:
        """Return the pages about the gateway itself: never limited, never counted as traffic."""
        if call.path == "/health":
            return Answer(200, [(b"content-type", b"application/json")], b'{"status":"ok"}')
        if call.path == "/metrics":
            page = self.metrics.page(await self._gauges())
            return Answer(200, [(b"content-type", b"text/plain; version=0.0.4; charset=utf-8")], page)
        return None

    async def answer(self, call: Call) -> Answer:
        """Return the answer to a call for somebody else."""
        return await (self.limited if is_limited(call.path) else self._unlimited)(call)

    def count(self, call: Call, answer: Answer, seconds: float) -> None:
        """Count an answer, whoever gave it."""
        self.metrics.answered(call.route.template, call.method, answer.status, seconds)

    def request_id(self, offered: str | None) -> str:
        """Return the id of a call."""
        return request_id_from(offered)

    def _call(self, scope: Scope, receive: Receive) -> Call:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        peer = scope.get("client") or ("unknown", 0)
        path = scope["path"]
        raw_path = scope.get("raw_path") or path.encode()
        query = scope["query_string"]
        offered = headers.get(b"x-request-id")
        return Call(
            method=scope["method"],
            path=path,
            target=raw_path + b"?" + query if query else raw_path,
            query=query,
            headers=headers,
            peer=peer,
            client_ip=self._client_ip(peer, headers),
            request_id=self.request_id(offered.decode("latin-1") if offered else None),
            route=route_of(path) if is_limited(path) else NOWHERE,
            read_body=lambda: self._read_body(headers, receive),
        )

    async def _read_body(self, headers: dict[bytes, bytes], receive: Receive) -> bytes:
        declared = headers.get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > self._max_body_bytes:
            raise BodyTooLargeError(self._max_body_bytes)
        parts: list[bytes] = []
        size = 0
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            part = message.get("body", b"")
            parts.append(part)
            size += len(part)
            if size > self._max_body_bytes:
                raise BodyTooLargeError(self._max_body_bytes)
            more = message.get("more_body", False)
        return b"".join(parts)

    async def _reply(self, send: Send, call: Call, answer: Answer) -> None:
        headers = answer.headers
        headers.append((b"x-request-id", call.request_id.encode()))
        if answer.status not in (204, 304):
            headers.append((b"content-length", b"%d" % len(answer.body)))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if call.method == "HEAD" else answer.body})

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                await self._close()
                await send({"type": "lifespan.shutdown.complete"})
                return

"""The proxy: passes requests on to one service, except those that a rule takes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Coroutine
from typing import Any
from urllib.parse import urlsplit

from proofload.faults.http_proxy.control import Control
from proofload.faults.http_proxy.hits import HitCounter
from proofload.faults.http_proxy.messages import MessageError, ProxiedRequest, answer, pass_answer, requests
from proofload.faults.http_proxy.rules import Rule

_CONNECT_TIMEOUT_S = 5.0
_NO_LINGER = struct.pack("ii", 1, 0)

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class FaultProxy:
    """Stands before one service. `start` it, give its `url` to the gateway, and rule it over `control`."""

    def __init__(self, upstream: str | None = None) -> None:
        self.upstream = upstream
        """The service, as `http://host:port`."""
        self.rules: dict[str, Rule] = {}
        self.hits = HitCounter()
        self.url = ""
        self.control = ""
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, host: str = "127.0.0.1", port: int = 0, control_port: int = 0) -> None:
        """Listen for the gateway, and on loopback for whoever rules the faults."""
        data = await asyncio.start_server(lambda r, w: self._track(_ProxiedConnection(self, r, w).serve()), host, port)
        self._servers.append(data)
        self.url = _url(data)
        control = Control(self)
        ruled = await asyncio.start_server(lambda r, w: self._track(control.serve(r, w)), "127.0.0.1", control_port)
        self._servers.append(ruled)
        self.control = _url(ruled)

    async def close(self) -> None:
        """Let go of everything."""
        for server in self._servers:
            server.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        for server in self._servers:
            await server.wait_closed()

    def set_rule(self, name: str, rule: Rule) -> None:
        """Put a fault in force, in place of the one of that name."""
        self.lift(name)
        self.rules[name] = rule

    def lift(self, name: str) -> None:
        """Mend a fault, and let go of the requests that wait because of it. One that is not in force is fine."""
        rule = self.rules.pop(name, None)
        if rule is not None:
            rule.lifted.set()

    def _track(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _ProxiedConnection:
    """One connection of the gateway, and the connection behind it that serves it."""

    def __init__(self, proxy: FaultProxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._proxy, self._reader, self._writer = proxy, reader, writer
        self._behind: Streams | None = None

    async def serve(self) -> None:
        """Serve its requests until it ends."""
        try:
            async for request in requests(self._reader, self._writer):
                if not (await self._handle(request) and request.keep_alive):
                    break
        except (MessageError, OSError):
            _reset(self._writer)
        finally:
            self._let_go()
            self._writer.close()

    async def _handle(self, request: ProxiedRequest) -> bool:
        """Break a request or pass it on; return whether the connection can go on."""
        proxy = self._proxy
        rule = next((one for one in proxy.rules.values() if one.takes(request.path)), None)
        proxy.hits.count(request.method.decode("latin-1"), request.path, rule.kind if rule else "none")
        if rule is None:
            return await self._pass(request)
        if rule.kind == "delay":
            # Whoever asked may be gone by then: a slow service does the work all the same.
            await _either(asyncio.sleep(rule.delay_ns / 1e9), rule.lifted.wait())
            return await self._pass(request)
        if rule.kind in ("status", "fail_n"):
            return await self._say(rule.status, "INJECTED_FAULT", "broken on purpose")
        if rule.kind == "black_hole":
            await _either(_until_end(self._reader), rule.lifted.wait())
        _reset(self._writer)
        return False

    async def _pass(self, request: ProxiedRequest) -> bool:
        """Pass a request on and its answer back; return whether the connection can go on.

        A service that can't be reached or ends too soon is a connection cut, not an answer of ours.
        """
        if self._proxy.upstream is None:
            return await self._say(502, "NO_UPSTREAM", "no service was named yet")
        if self._behind is not None and self._behind[0].at_eof():
            self._let_go()
        if self._behind is None:
            parts = urlsplit(self._proxy.upstream)
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                self._behind = await asyncio.open_connection(parts.hostname or "127.0.0.1", parts.port or 80)
        reader, writer = self._behind
        writer.write(request.to_bytes())
        return await pass_answer(reader, self._writer, request.method == b"HEAD")

    async def _say(self, status: int, code: str, message: str) -> bool:
        self._writer.write(answer(status, {"error": {"code": code, "message": message}}))
        await self._writer.drain()
        return True

    def _let_go(self) -> None:
        if self._behind is not None:
            self._behind[1].close()
            self._behind = None


async def _either(*works: Coroutine[Any, Any, object]) -> None:
    tasks = {asyncio.ensure_future(work) for work in works}
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _until_end(reader: asyncio.StreamReader) -> None:
    while await reader.read(1 << 16):
        pass


def _reset(writer: asyncio.StreamWriter) -> None:
    # Without lingering the kernel says RST in place of FIN: a crash, not a farewell.
    with contextlib.suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    writer.transport.abort()


def _url(server: asyncio.Server) -> str:
    host, port = server.sockets[0].getsockname()[:2]
    return f"http://{host}:{port}"

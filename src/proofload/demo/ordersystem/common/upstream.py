"""HTTP/1.1 to the services over kept connections: one request at a time on each, no retries, an end to every wait."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Protocol, TypeAlias, cast
from urllib.parse import urlsplit

import httptools

Headers: TypeAlias = list[tuple[bytes, bytes]]


class UpstreamError(Exception):
    """The service gave no whole answer. Whether it acted on the request is unknown, unless it was never sent."""

    def __init__(self, message: str, was_sent: bool = True) -> None:
        super().__init__(message)
        self.was_sent = was_sent


class UpstreamTimeoutError(UpstreamError):
    """The service took longer than it may."""


@dataclass(slots=True)
class UpstreamAnswer:
    """What a service answered, whole."""

    status: int
    headers: Headers
    body: bytes


class Upstream(Protocol):
    """One service, as the gateway sees it."""

    async def send(self, method: str, target: bytes, headers: Headers, body: bytes) -> UpstreamAnswer:
        """Return the answer of the service, or raise UpstreamError."""

    async def close(self) -> None:
        """Let go of all connections."""


class _Connection(asyncio.Protocol):
    """A connection to a service and the answer that is being read from it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[UpstreamAnswer] | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._headers: Headers = []
        self._body: list[bytes] = []
        self._is_head = False
        self._head_is_whole = False
        self.reusable = False
        self.idle_since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own, which is no subclass
        self.reusable = True

    def connection_lost(self, exc: Exception | None) -> None:
        self.reusable = False
        if self._waiter is None or self._waiter.done():
            return
        if self._parser is not None and exc is None and self._head_is_whole and self._ends_with_connection():
            self._finish()
        else:
            self._fail(UpstreamError(f"the connection was lost before the answer was whole: {exc or 'closed'}"))

    def data_received(self, data: bytes) -> None:
        if self._parser is None:
            self.abort()  # bytes that nobody asked for: the next answer could not be trusted
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(UpstreamError(f"the answer is no HTTP: {error}"))
            self.abort()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self._head_is_whole = True
        if self._is_head:
            self.reusable = False  # the parser would wait for the body that a HEAD never gets
            self._finish()

    def on_body(self, data: bytes) -> None:
        self._body.append(data)

    def on_message_complete(self) -> None:
        assert self._parser is not None
        if self._parser.get_status_code() < 200:
            self._headers, self._head_is_whole = [], False
            return
        self.reusable = self.reusable and self._parser.should_keep_alive()
        self._finish()

    async def exchange(self, request: bytes, is_head: bool, timeout_s: float) -> UpstreamAnswer:
        """Send one request and return its answer."""
        assert self._transport is not None
        self._parser, self._headers, self._body = httptools.HttpResponseParser(self), [], []
        self._is_head, self._head_is_whole = is_head, False
        self._waiter = self._loop.create_future()
        timer = self._loop.call_later(timeout_s, self._time_out)
        self._transport.write(request)
        try:
            return await self._waiter
        except asyncio.CancelledError:
            self.abort()
            raise
        finally:
            timer.cancel()

    def abort(self) -> None:
        """Close without ceremony; what was being read is lost."""
        self.reusable = False
        if self._transport is not None:
            self._transport.abort()

    def _time_out(self) -> None:
        self._fail(UpstreamTimeoutError("the service took longer than it may"))
        self.abort()

    def _ends_with_connection(self) -> bool:
        names = {name for name, _ in self._headers}
        return b"content-length" not in names and b"transfer-encoding" not in names

    def _finish(self) -> None:
        if self._waiter is not None and not self._waiter.done() and self._parser is not None:
            status = self._parser.get_status_code()
            self._waiter.set_result(UpstreamAnswer(status, self._headers, b"".join(self._body)))
        self._parser = None

    def _fail(self, error: UpstreamError) -> None:
        self.reusable = False
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)


class HttpUpstream:
    """A service reached over TCP. Connections are kept for `idle_s` at the most, the warmest used first."""

    def __init__(
        self, address: str, connect_timeout_s: float, timeout_s: float, keep: int, idle_s: float = 30.0
    ) -> None:
        parts = urlsplit(address)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self._authority = parts.netloc.encode()
        self._connect_timeout_s = connect_timeout_s
        self._timeout_s = timeout_s
        self._keep = keep
        self._idle_s = idle_s
        self.idle: list[_Connection] = []

    async def send(self, method: str, target: bytes, headers: Headers, body: bytes) -> UpstreamAnswer:
        """Return the answer of the service, or raise UpstreamError."""
        request = [b"%s %s HTTP/1.1\r\nhost: %s\r\n" % (method.encode(), target, self._authority)]
        request += [b"%s: %s\r\n" % pair for pair in headers]
        if body or method in ("POST", "PUT", "PATCH"):
            request.append(b"content-length: %d\r\n" % len(body))
        request += [b"\r\n", body]
        connection = await self._connection()
        answer = await connection.exchange(b"".join(request), method == "HEAD", self._timeout_s)
        if connection.reusable and len(self.idle) < self._keep:
            connection.idle_since = asyncio.get_running_loop().time()
            self.idle.append(connection)
        else:
            connection.abort()
        return answer

    async def close(self) -> None:
        """Close the kept connections."""
        while self.idle:
            self.idle.pop().abort()

    async def _connection(self) -> _Connection:
        loop = asyncio.get_running_loop()
        while self.idle:
            kept = self.idle.pop()
            if kept.reusable and loop.time() - kept.idle_since < self._idle_s:
                return kept
            kept.abort()
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                _, made = await loop.create_connection(lambda: _Connection(loop), self._host, self._port)
        except TimeoutError as error:
            raise UpstreamTimeoutError(f"no connection within {self._connect_timeout_s:g} s", was_sent=False) from error
        except OSError as error:
            raise UpstreamError(f"no connection: {error}", was_sent=False) from error
        return made

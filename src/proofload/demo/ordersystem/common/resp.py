"""One connection to Redis that many requests share: commands leave as they come, answers are matched in order.

It is lean because every request of the gateway waits for it several times. A connection whose server is gone is known
to be gone at once, so the first command after a restart of Redis already goes over a new one.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from typing import Any, cast
from urllib.parse import unquote, urlsplit

from proofload.demo.ordersystem.common.errors import StoreDownError


class ReplyError(Exception):
    """Redis answered with an error."""


class _Incomplete(Exception):  # noqa: N818 - a signal within this module, no error
    """The answer has not come whole yet."""


def parse_reply(data: bytes, start: int) -> tuple[Any, int]:
    r"""Return one RESP2 value and where the next begins. Raise _Incomplete when more must come.

    >>> parse_reply(b"*2\r\n:1\r\n$-1\r\n", 0)
    ([1, None], 13)
    """
    end = data.find(b"\r\n", start)
    if end < 0:
        raise _Incomplete
    kind, rest, after = data[start], data[start + 1 : end], end + 2
    if kind == 36:  # $ bulk string
        size = int(rest)
        if size < 0:
            return None, after
        if len(data) < after + size + 2:
            raise _Incomplete
        return data[after : after + size], after + size + 2
    if kind == 58:  # : whole number
        return int(rest), after
    if kind == 42:  # * array
        if int(rest) < 0:
            return None, after
        values = []
        for _ in range(int(rest)):
            value, after = parse_reply(data, after)
            values.append(value)
        return values, after
    if kind == 45:  # - error
        return ReplyError(rest.decode(errors="replace")), after
    return rest, after  # + simple string


def encode(parts: tuple[str | int | bytes, ...]) -> bytes:
    r"""Return a command as Redis reads it.

    >>> encode(("GET", "a"))
    b'*2\r\n$3\r\nGET\r\n$1\r\na\r\n'
    """
    out = [b"*%d\r\n" % len(parts)]
    for part in parts:
        raw = part if isinstance(part, bytes) else str(part).encode()
        out.append(b"$%d\r\n%b\r\n" % (len(raw), raw))
    return b"".join(out)


class _Line(asyncio.Protocol):
    """One TCP or Unix connection."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.is_open = False
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.is_open = True

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_exception(StoreDownError(f"the connection to Redis was lost: {exc or 'closed'}"))

    def data_received(self, data: bytes) -> None:
        self._buffer = data = self._buffer + data if self._buffer else data
        position = 0
        try:
            while position < len(data):
                value, position = parse_reply(data, position)
                waiter = self._waiting.popleft()
                if not waiter.done():
                    waiter.set_result(value)
        except _Incomplete:
            pass
        self._buffer = data[position:]

    def send(self, command: bytes, waiter: asyncio.Future[Any]) -> None:
        assert self.transport is not None
        self._waiting.append(waiter)
        self.transport.write(command)

    def abort(self) -> None:
        self.is_open = False
        if self.transport is not None:
            self.transport.abort()


class RedisConnection:
    """A connection that is made when it is first needed, and again after it was lost."""

    def __init__(self, url: str, timeout_s: float) -> None:
        self._url = urlsplit(url)
        self._timeout_s = timeout_s
        self._line: _Line | None = None
        self._connecting: asyncio.Lock | None = None

    async def call(self, *parts: str | int | bytes) -> Any:
        """Return the answer to a command. Raise StoreDownError when none comes in time, ReplyError as Redis says."""
        line = self._line
        if line is None or not line.is_open:
            line = await self._connect()
        return await self._ask(line, parts)

    async def close(self) -> None:
        """Close the connection."""
        if self._line is not None:
            self._line.abort()

    async def _ask(self, line: _Line, parts: tuple[str | int | bytes, ...]) -> Any:
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[Any] = loop.create_future()
        # An answer that comes after we gave up must not be taken for the next one's: the whole line is given up.
        timer = loop.call_later(self._timeout_s, self._give_up, line, waiter)
        line.send(encode(parts), waiter)
        try:
            value = await waiter
        finally:
            timer.cancel()
        if isinstance(value, ReplyError):
            raise value
        return value

    def _give_up(self, line: _Line, waiter: asyncio.Future[Any]) -> None:
        if not waiter.done():
            waiter.set_exception(StoreDownError(f"Redis did not answer within {self._timeout_s:g} s"))
        line.abort()

    async def _connect(self) -> _Line:
        if self._connecting is None:
            self._connecting = asyncio.Lock()
        async with self._connecting:
            if self._line is not None and self._line.is_open:
                return self._line
            try:
                async with asyncio.timeout(self._timeout_s):
                    line = await self._open()
                    await self._greet(line)
            except (OSError, TimeoutError, ReplyError) as error:
                raise StoreDownError(f"no connection to Redis: {error}") from error
            self._line = line
            return line

    async def _open(self) -> _Line:
        loop = asyncio.get_running_loop()
        if self._url.scheme == "unix":
            return (await loop.create_unix_connection(_Line, self._url.path))[1]
        tls = ssl.create_default_context() if self._url.scheme == "rediss" else None
        host, port = self._url.hostname or "127.0.0.1", self._url.port or 6379
        return (await loop.create_connection(_Line, host, port, ssl=tls))[1]

    async def _greet(self, line: _Line) -> None:
        if self._url.password:
            user = (unquote(self._url.username),) if self._url.username else ()
            await self._ask(line, ("AUTH", *user, unquote(self._url.password)))
        database = self._url.path.strip("/") if self._url.scheme != "unix" else ""
        if database and database != "0":
            await self._ask(line, ("SELECT", database))

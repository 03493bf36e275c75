"""HTTP/1.1 messages of one connection, as the proxy needs them: requests whole, answers as they come."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httptools

LONGEST_BODY_BYTES = 64 << 20
_CHUNK_BYTES = 1 << 16
_HOP_BY_HOP = {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade", b"content-length"}


class MessageError(Exception):
    """What came over the connection is no HTTP that we can use."""


@dataclass(slots=True)
class ProxiedRequest:
    """One request, whole."""

    method: bytes = b""
    target: bytes = b""
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    keep_alive: bool = True

    @property
    def path(self) -> str:
        """Return the path without the query."""
        return self.target.partition(b"?")[0].decode("latin-1")

    def to_bytes(self) -> bytes:
        """Return the request for the next hop: the body with its length, nothing that was meant for us alone."""
        lines = [b"%s %s HTTP/1.1\r\n" % (self.method, self.target)]
        lines += [b"%s: %s\r\n" % pair for pair in self.headers if pair[0].lower() not in _HOP_BY_HOP]
        if self.body or self.method in (b"POST", b"PUT", b"PATCH"):
            lines.append(b"content-length: %d\r\n" % len(self.body))
        return b"".join((*lines, b"\r\n", self.body))


class _RequestParser:
    """Collects whole requests from bytes."""

    def __init__(self) -> None:
        self.whole: deque[ProxiedRequest] = deque()
        self._parser = httptools.HttpRequestParser(self)
        self._now = ProxiedRequest()
        self._body: list[bytes] = []
        self._length = 0

    def feed(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            raise MessageError(str(error)) from error

    @property
    def expects_continue(self) -> bool:
        """Return whether the sender waits for `100 Continue` before it sends its body."""
        return any(name.lower() == b"expect" for name, _ in self._now.headers)

    def on_message_begin(self) -> None:
        self._now, self._body, self._length = ProxiedRequest(), [], 0

    def on_url(self, url: bytes) -> None:
        self._now.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._now.headers.append((name, value))

    def on_body(self, data: bytes) -> None:
        self._length += len(data)
        if self._length > LONGEST_BODY_BYTES:
            raise MessageError("the body is too long")
        self._body.append(data)

    def on_message_complete(self) -> None:
        now = self._now
        now.method, now.body = self._parser.get_method(), b"".join(self._body)
        now.keep_alive = self._parser.should_keep_alive()
        self.whole.append(now)
        self._now = ProxiedRequest()


async def requests(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> AsyncIterator[ProxiedRequest]:
    """Yield the requests of a connection, one after the other, until it ends. Raises MessageError for no HTTP."""
    parser = _RequestParser()
    while True:
        while parser.whole:
            yield parser.whole.popleft()
        data = await reader.read(_CHUNK_BYTES)
        if not data:
            return
        parser.feed(data)
        if not parser.whole and parser.expects_continue:
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")


class _AnswerParser:
    """Knows where an answer ends."""

    def __init__(self, is_head: bool) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._is_head = is_head
        self.status = 0
        self.ended = False
        self.keep_alive = False
        self.has_length = False

    def feed(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            if not self.ended:
                raise MessageError(str(error)) from error

    def on_header(self, name: bytes, value: bytes) -> None:
        self.has_length |= name.lower() in (b"content-length", b"transfer-encoding")

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        if self._is_head and self.status >= 200:
            self.ended = True

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() >= 200:
            self.keep_alive = self._parser.should_keep_alive() and not self._is_head
            self.ended = True


async def pass_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, is_head: bool) -> bool:
    """Pass one answer on as it comes; return whether both connections may be used again.

    Raises MessageError where it is no HTTP or ends too soon.
    """
    parser = _AnswerParser(is_head)
    while not parser.ended:
        data = await reader.read(_CHUNK_BYTES)
        if not data:
            if parser.status and not parser.has_length:
                return False  # this answer's end was the connection's
            raise MessageError("the service ended the connection before its answer was whole")
        parser.feed(data)
        writer.write(data)
        await writer.drain()
    return parser.keep_alive


def answer(status: int, body: Any, content_type: bytes = b"application/json") -> bytes:
    """Return an answer of our own."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = b"HTTP/1.1 %d %s\r\ncontent-type: %s\r\ncontent-length: %d\r\n\r\n"
    return head % (status, b"OK" if status < 400 else b"Fault", content_type, len(data)) + data

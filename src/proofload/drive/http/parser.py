"""HTTP/1.1 responses from bytes: a quick way for what servers usually send, a parser library for the rest. No I/O."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from functools import cached_property
from types import MappingProxyType

import httptools

from proofload.record.exchange import Fault

UNTIL_CLOSE = -1
"""In place of a body length: the body ends where the connection does."""
LIBRARY = -2
"""In place of a body length: chunked, or odd enough that the parser library shall decide."""

# RFC 9112 section 4 and 5, without obsolete line folding. Possessive: a bad head must not cost more than a good one.
_HEAD = re.compile(
    rb"HTTP/1\.[01] [1-9][0-9]{2}(?: [^\r\n\0]*+)?\r\n(?:[!#$%&'*+.^_`|~0-9A-Za-z-]++:[^\r\n\0]*+\r\n)*+\r\n"
)
_CACHED_HEADS = 256
_MAX_LENGTH_DIGITS = 15
_QUICK_BODY = 8_192


class BadResponseError(Exception):
    """What came back is no HTTP response, or exceeds a limit; `fault` says which."""

    def __init__(self, fault: Fault, text: str) -> None:
        self.fault = fault
        super().__init__(text)


class Head:
    """One response head, understood. `size` is that of the whole response, or -1 where it must be read."""

    __slots__ = ("__dict__", "keep_alive", "kept", "length", "raw", "size", "status")

    def __init__(
        self, raw: bytes, status: int, length: int, keep_alive: bool, kept: tuple[tuple[int, str], ...]
    ) -> None:
        self.raw = raw
        self.status = status
        self.length = length
        # An interim response is whole too, but not the answer; and what is huge is for the reader, with its limit.
        self.size = len(raw) + length if 0 <= length <= _QUICK_BODY and status >= 200 else -1
        self.keep_alive = keep_alive
        self.kept = kept

    @cached_property
    def headers(self) -> Mapping[str, str]:
        """All headers by lower-case name; values of a repeated name are joined by a comma."""
        found: dict[str, str] = {}
        for line in self.raw.split(b"\r\n")[1:-2]:
            name, _, value = line.partition(b":")
            key, text = name.decode("latin-1").lower(), value.strip(b" \t").decode("latin-1")
            found[key] = f"{found[key]}, {text}" if key in found else text
        return MappingProxyType(found)


class Heads:
    """Understands heads, and remembers them: a server's next head is often the same, byte for byte."""

    __slots__ = ("_keep", "known")

    def __init__(self, keep_headers: Collection[str] = ()) -> None:
        self._keep = tuple((index, b"\n" + name.lower().encode() + b":") for index, name in enumerate(keep_headers))
        self.known: dict[bytes, Head] = {}

    def learn(self, raw: bytes) -> Head:
        """Return what a head (with its empty line) says. Raises BadResponseError for what is no response head."""
        if not _HEAD.fullmatch(raw):
            # The library may be milder than we are (obsolete folding): it has the last word.
            return Head(raw, _status(raw), LIBRARY, keep_alive=False, kept=())
        lower = raw.lower()
        status = int(raw[9:12])
        connection = _value(lower, b"\nconnection:") or b""
        # Only tokens count: `Connection: close-notify` closes nothing.
        tokens = [token.strip() for token in connection.split(b",")] if connection else []
        keep_alive = b"close" not in tokens if raw[7] == 0x31 else b"keep-alive" in tokens
        if lower.count(b"\nconnection:") > 1:
            keep_alive = False
        kept = tuple((index, _text(raw, lower, name)) for index, name in self._keep if name in lower)
        head = Head(raw, status, _length(lower, status), keep_alive, kept)
        if len(self.known) >= _CACHED_HEADS:
            self.known.clear()
        self.known[raw] = head
        return head


class ResponseReader:
    """One response from pieces of any size: for all that did not come whole in one piece, or is unusual.

    Feed it until it returns True. Then `head` and `body` stand, `size` counts the bytes of the response, and `excess`
    says that more came than belongs to it, so that the connection can't be trusted with another request.
    """

    __slots__ = (
        "_body", "_buffer", "_heads", "_keep_body", "_library", "_max_body", "_max_head", "_no_body", "_searched",
        "excess", "head", "size",
    )  # fmt: skip

    def __init__(
        self,
        heads: Heads,
        *,
        no_body: bool = False,
        keep_body: bool = True,
        max_head: int = 65_536,
        max_body: int = 2**24,
    ) -> None:
        self._heads = heads
        self._no_body = no_body
        self._keep_body = keep_body
        self._max_head = max_head
        self._max_body = max_body
        self._buffer = bytearray()
        self._searched = 0
        self._body = bytearray()
        self._library: _Library | None = None
        self.head: Head | None = None
        self.size = 0
        self.excess = False

    @property
    def body(self) -> bytes:
        """The body, with the chunks put together; empty where it was not to be kept."""
        return bytes(self._body)

    def feed(self, data: bytes) -> bool:
        """Take in the next bytes; return whether the response is whole. Raises BadResponseError."""
        head = self.head
        while head is None:
            rest = self._feed_head(data)
            if rest is None:
                return False
            data, head = rest
            if 100 <= head.status < 200:
                self._skip_interim(head)
                head = None
                continue
            self.head = head
            self.size = len(head.raw)
            if self._no_body or head.status in (204, 304) or head.length == 0:
                self.excess = bool(data)
                return True
            if head.length == LIBRARY:
                self._library = _Library(self._max_head)
                self._library.feed(head.raw)
        return self._feed_body(head, data)

    def eof(self) -> bool:
        """Return whether the response is whole now that the peer has closed."""
        if self.head is None:
            return False
        return self._library.ends_by_close if self._library else self.head.length == UNTIL_CLOSE

    def _feed_head(self, data: bytes) -> tuple[bytes, Head] | None:
        """Return what follows the head, and the head, or None while it is not whole."""
        buffer = self._buffer
        buffer += data
        if not buffer.startswith(b"HTTP/1."[: len(buffer)]):
            raise BadResponseError(Fault.BAD_RESPONSE, f"no HTTP/1 response: it begins with {bytes(buffer[:16])!r}")
        end = buffer.find(b"\r\n\r\n", max(0, self._searched - 3))
        self._searched = len(buffer)
        if end > self._max_head or (end < 0 and len(buffer) > self._max_head):
            raise BadResponseError(Fault.TOO_LARGE, f"the response head exceeds {self._max_head} bytes")
        if end < 0:
            return None
        raw, rest = bytes(buffer[: end + 4]), bytes(buffer[end + 4 :])
        return rest, self._heads.known.get(raw) or self._heads.learn(raw)

    def _skip_interim(self, head: Head) -> None:
        if head.status == 101:
            raise BadResponseError(Fault.BAD_RESPONSE, "the server switched protocols, which nobody asked for")
        self._buffer.clear()
        self._searched = 0

    def _feed_body(self, head: Head, data: bytes) -> bool:
        self.size += len(data)
        if self._library is not None:
            whole = self._library.feed(data)
            self._take(self._library.take_body())
            self.excess = self._library.excess
            return whole
        if head.length >= 0:
            over = self.size - len(head.raw) - head.length
            if over > 0:
                self.size -= over
                self.excess = True
                data = data[:-over]
        self._take(data)
        return head.length >= 0 and self.size == len(head.raw) + head.length

    def _take(self, data: bytes) -> None:
        if self._keep_body:
            self._body += data
            if len(self._body) > self._max_body:
                raise BadResponseError(Fault.TOO_LARGE, f"the response body exceeds {self._max_body} bytes")


class _Library:
    """The parser library, made to answer three questions: is it whole, what is its body, is there more than one."""

    def __init__(self, max_overhead: int) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._pieces: list[bytes] = []
        self._whole = False
        self._framed = False
        # Chunk sizes, extensions and trailers are not the body, and not without limit either.
        self._overhead_left = max_overhead * 2
        self.excess = False

    @property
    def ends_by_close(self) -> bool:
        return not self._framed and not self._whole

    def feed(self, data: bytes) -> bool:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self._whole:
                raise BadResponseError(Fault.BAD_RESPONSE, f"the response can't be parsed: {error}") from error
            self.excess = True
        if not self._whole:
            self._overhead_left -= max(0, len(data) - sum(map(len, self._pieces)) - 32 * len(self._pieces))
            if self._overhead_left < 0:
                raise BadResponseError(Fault.TOO_LARGE, "chunk extensions or trailers without end")
        return self._whole

    def take_body(self) -> bytes:
        body = b"".join(self._pieces)
        self._pieces.clear()
        return body

    def on_message_begin(self) -> None:
        if self._whole:
            self.excess = True

    def on_header(self, name: bytes, value: bytes) -> None:
        lower = name.lower()
        if lower == b"content-length" or (
            lower == b"transfer-encoding" and value.lower().rsplit(b",", 1)[-1].strip() == b"chunked"
        ):
            self._framed = True

    def on_body(self, body: bytes) -> None:
        if not self._whole:
            self._pieces.append(body)

    def on_message_complete(self) -> None:
        self._whole = True


def _status(raw: bytes) -> int:
    digits = raw[9:12]
    if not raw.startswith((b"HTTP/1.1 ", b"HTTP/1.0 ")) or not digits.isdigit() or raw[12:13] not in (b" ", b"\r"):
        raise BadResponseError(Fault.BAD_RESPONSE, f"no HTTP/1 status line: {raw[:40]!r}")
    return int(digits)


def _length(lower: bytes, status: int) -> int:
    if status < 200 or status in (204, 304):
        return 0
    if b"\ntransfer-encoding:" in lower:
        return LIBRARY
    declared = lower.count(b"\ncontent-length:")
    if declared == 0:
        return UNTIL_CLOSE
    digits = _value(lower, b"\ncontent-length:")
    if declared > 1 or digits is None or not digits.isdigit():
        return LIBRARY
    if len(digits) > _MAX_LENGTH_DIGITS:
        raise BadResponseError(Fault.TOO_LARGE, f"a declared length of {digits.decode()} bytes")
    return int(digits)


def _value(lower: bytes, name: bytes) -> bytes | None:
    at = lower.find(name)
    if at < 0:
        return None
    at += len(name)
    return lower[at : lower.find(b"\r", at)].strip(b" \t")


def _text(raw: bytes, lower: bytes, name: bytes) -> str:
    values = []
    at = lower.find(name)
    while at >= 0:
        at += len(name)
        values.append(raw[at : raw.find(b"\r", at)].strip(b" \t").decode("latin-1"))
        at = lower.find(name, at)
    return ", ".join(values)

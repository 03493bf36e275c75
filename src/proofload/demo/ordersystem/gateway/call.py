"""A request on its way through the gateway, and the answer on its way back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from proofload.demo.ordersystem.common.errors import error_body
from proofload.demo.ordersystem.common.upstream import Headers
from proofload.demo.ordersystem.gateway.routes import Route


class BodyTooLargeError(Exception):
    """The client sends more bytes than the number that this carries."""


class ClientGoneError(Exception):
    """The client hung up before its request was whole."""


@dataclass(slots=True)
class Call:
    """One request. `user` is set by the stage that authorises, `body` by the one that reads it."""

    method: str
    path: str
    target: bytes
    """Path and query as they came, for forwarding."""
    query: bytes
    headers: dict[bytes, bytes]
    """Names in lower case; of a name that occurs twice the last one is kept."""
    peer: tuple[str, int]
    """The other end of the connection."""
    client_ip: str
    """Whose request it is: the peer, or whom a trusted proxy names."""
    request_id: str
    route: Route
    read_body: Callable[[], Awaitable[bytes]]
    user: str | None = None
    body: bytes = b""


@dataclass(slots=True)
class Answer:
    """A whole answer. `headers` are the gateway's to extend; `code` names the error, where it is one."""

    status: int
    headers: Headers = field(default_factory=list)
    body: bytes = b""
    code: str | None = None


Handler: TypeAlias = Callable[[Call], Awaitable[Answer]]


def refusal(call: Call, status: int, code: str, message: str, retry_after_s: int | None = None) -> Answer:
    """Return an error answer of the gateway's own."""
    headers = [(b"content-type", b"application/json"), (b"x-error-code", code.encode())]
    if retry_after_s is not None:
        headers.append((b"retry-after", b"%d" % retry_after_s))
    return Answer(status, headers, error_body(code, message, call.request_id), code)

"""One HTTP exchange that ends in time: a deadline for the whole of it, a limit on its bytes, no redirect, no proxy."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from proofload.core.text import visible


@dataclass(frozen=True, slots=True)
class Exchanged:
    """What came back, whatever the status."""

    status: int
    reason: str
    headers: Mapping[str, str]
    """By lower-case name."""
    body: bytes


def exchange(
    method: str,
    url: str,
    *,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    deadline_s: float,
    most_bytes: int,
) -> Exchanged:
    """Return the answer. Raises OSError, HTTPException or ValueError; TimeoutError once the deadline is over.

    A time limit on each read is not enough: who sends a byte now and then, or one 100 Continue after the other, keeps
    such a reader for ever. At the deadline the socket is shut down, whatever it is doing.
    """
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"got {url!r}, expected an http or https URL")
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=deadline_s)
    is_over = threading.Event()
    held: list[socket.socket] = []
    timer = threading.Timer(deadline_s, _end, (is_over, held))
    timer.daemon = True
    timer.start()
    try:
        with contextlib.closing(connection):
            connection.connect()
            held.append(connection.sock)
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.request(method, target, body, {"Connection": "close", **(headers or {})})
            with connection.getresponse() as answer:
                return _whole(answer, most_bytes, is_over, deadline_s)
    except (OSError, http.client.HTTPException, ValueError) as error:
        # Each read has the same limit, and may be the first to notice.
        if is_over.is_set() or isinstance(error, TimeoutError):
            raise _too_late(deadline_s) from error
        raise
    finally:
        timer.cancel()


def _whole(answer: http.client.HTTPResponse, most_bytes: int, is_over: threading.Event, deadline_s: float) -> Exchanged:
    body = answer.read(most_bytes + 1)
    if is_over.is_set():
        raise _too_late(deadline_s)
    if len(body) > most_bytes:
        raise ValueError(f"got more than {most_bytes >> 20} MiB")
    if answer.length:
        raise http.client.IncompleteRead(body, answer.length)
    found = {name.lower(): value for name, value in answer.headers.items()}
    return Exchanged(answer.status, visible(answer.reason, 100), found, body)


def _end(is_over: threading.Event, held: list[socket.socket]) -> None:
    is_over.set()
    for one in held:
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


def _too_late(deadline_s: float) -> TimeoutError:
    return TimeoutError(f"timed out: no whole answer within {deadline_s:g} s")

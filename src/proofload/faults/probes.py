"""Looks at a service from outside: is it there, and does it answer? What they saw is the evidence of a fault.

A URL is http, https, or tcp for a service such as a store, of which no more is asked than that it takes a connection.

Each function returns a probe: a function that returns what it saw, or None where it saw something else.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection
from urllib.parse import urlsplit

Probe = Callable[[], Awaitable[str | None]]
"""Returns what it saw where the target is in the state that it looks for, None where it is not."""

_CONNECT_TIMEOUT_S = 2.0


def answers(url: str, statuses: Collection[int] = (200,), wait_s: float = 2.0) -> Probe:
    """Return a probe that sees a GET of `url` answered with one of these statuses."""

    async def look() -> str | None:
        seen = await _get(url, wait_s)
        return f"GET {url}: {seen}" if seen in statuses else None

    return look


def refuses(url: str) -> Probe:
    """Return a probe that sees no connection to be had: nobody listens there."""

    async def look() -> str | None:
        seen = await _get(url, _CONNECT_TIMEOUT_S)
        return f"{url}: {seen}" if isinstance(seen, str) and seen.startswith("no connection") else None

    return look


def silent(url: str, wait_s: float = 1.0) -> Probe:
    """Return a probe that sees a connection taken and a GET left without an answer for `wait_s`."""

    async def look() -> str | None:
        seen = await _get(url, wait_s)
        return f"{url}: {seen}" if isinstance(seen, str) and seen.startswith("no answer") else None

    return look


def down(url: str) -> Probe:
    """Return a probe that sees no connection to be had, or one that is cut before an answer. Slowness is not enough."""

    async def look() -> str | None:
        seen = await _get(url, _CONNECT_TIMEOUT_S)
        return f"{url}: {seen}" if isinstance(seen, str) and not seen.startswith("no answer") else None

    return look


def fails(url: str, wait_s: float = 2.0) -> Probe:
    """Return a probe that sees a GET answered with 5xx."""
    return answers(url, range(500, 600), wait_s)


def held_by(kind: str, url: str) -> Probe:
    """Return the probe that sees a fault of this kind hold, looking at a URL that the service itself answers.

    Raises KeyError for `restart` and `fail_n`: what is over by itself can't be seen to hold.
    """
    seen = {
        "stop": down,
        "kill": down,
        "disconnect": down,
        "reset": down,
        "pause": silent,
        "black_hole": silent,
        "delay": silent,
        "status": fails,
    }
    return seen[kind](url)


async def _get(url: str, wait_s: float) -> int | str:
    """Return the status of a GET, or in words why there is none."""
    parts = urlsplit(url)
    host, port = parts.hostname or "127.0.0.1", parts.port or (443 if parts.scheme == "https" else 80)
    try:
        async with asyncio.timeout(_CONNECT_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(host, port, ssl=parts.scheme == "https" or None)
    except TimeoutError:
        return f"no connection within {_CONNECT_TIMEOUT_S:g} s"
    except OSError as error:
        return f"no connection ({error.strerror or error})"
    if parts.scheme == "tcp":
        # All that is asked of such a service is that it takes a connection.
        writer.close()
        return 200
    try:
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n".encode())
        async with asyncio.timeout(wait_s):
            line = await reader.readline()
    except TimeoutError:
        return f"no answer within {wait_s * 1000:.0f} ms"
    except (OSError, ValueError) as error:
        return f"connection lost ({error})"
    finally:
        writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            await asyncio.wait_for(writer.wait_closed(), 1.0)
    words = line.split()
    known = len(words) >= 2 and words[0].startswith(b"HTTP/") and words[1].isdigit()
    return int(words[1]) if known else f"connection lost (no status line, {len(line)} bytes)"


def said(what: str) -> Probe:
    """Return a probe that looks at nothing: for what only the evidence of the run itself can show."""

    async def probe() -> str | None:
        return what

    return probe

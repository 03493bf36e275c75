"""Circuit breakers of PyPI in a gateway: `python breakers.py CONTROL PORT BACKEND_PORT OPEN_S` forwards /api/thing."""

from __future__ import annotations

import datetime
import sys
import urllib.request
from collections.abc import Awaitable, Callable
from typing import Any

import anyio.to_thread
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

CONTROL, PORT, BACKEND, OPEN_S = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
URL = f"http://127.0.0.1:{BACKEND}/thing"


def ask() -> str:
    with urllib.request.urlopen(URL, timeout=2) as answer:
        return str(answer.read())


async def ask_async() -> str:
    return await anyio.to_thread.run_sync(ask)


def pybreaker() -> tuple[Callable[[], Awaitable[str]], type[Exception]]:
    import pybreaker as library

    breaker = library.CircuitBreaker(fail_max=5, reset_timeout=OPEN_S)

    async def call() -> str:
        return str(await anyio.to_thread.run_sync(lambda: breaker.call(ask)))

    return call, library.CircuitBreakerError


def aiobreaker() -> tuple[Callable[[], Awaitable[str]], type[Exception]]:
    import aiobreaker as library

    breaker = library.CircuitBreaker(fail_max=5, timeout_duration=datetime.timedelta(seconds=OPEN_S))

    async def call() -> str:
        return str(await breaker.call_async(ask_async))

    return call, library.CircuitBreakerError


def purgatory() -> tuple[Callable[[], Awaitable[str]], type[Exception]]:
    from purgatory import AsyncCircuitBreakerFactory
    from purgatory.domain.model import OpenedState

    factory = AsyncCircuitBreakerFactory(default_threshold=5, default_ttl=OPEN_S)

    async def call() -> str:
        async with await factory.get_breaker("backend"):
            return await ask_async()

    return call, OpenedState


def app() -> Starlette:
    makers: dict[str, Callable[[], Any]] = {"pybreaker": pybreaker, "aiobreaker": aiobreaker, "purgatory": purgatory}
    call, opened = makers[CONTROL]()

    async def thing(_: Request) -> JSONResponse:
        try:
            return JSONResponse({"it": await call()})
        except opened:
            return JSONResponse({"code": "CIRCUIT_OPEN"}, 503)
        except OSError:
            return JSONResponse({"code": "BAD_GATEWAY"}, 502)

    async def health(_: Request) -> JSONResponse:
        return JSONResponse({"status": "ok"})

    return Starlette(routes=[Route("/api/thing", thing), Route("/health", health)])


uvicorn.run(app(), host="127.0.0.1", port=PORT, log_level="warning")

"""Limiters of PyPI as people mount them: `python limiters.py CONTROL PORT LIMIT WINDOW_S` serves /api/thing."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

CONTROL, PORT, LIMIT, WINDOW_S = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
RATE = f"{LIMIT} per {WINDOW_S} second"


def slowapi(strategy: str) -> Any:
    from fastapi import FastAPI, Request, Response
    from slowapi import Limiter, _rate_limit_exceeded_handler
    from slowapi.errors import RateLimitExceeded
    from slowapi.util import get_remote_address

    # FastAPI reads annotations, which are texts here, among the module's names.
    globals().update(Request=Request, Response=Response)
    limiter = Limiter(key_func=get_remote_address, headers_enabled=True, strategy=strategy)
    app = FastAPI()
    app.state.limiter = limiter
    app.add_exception_handler(RateLimitExceeded, _rate_limit_exceeded_handler)

    @app.get("/api/thing")
    @limiter.limit(RATE)
    async def thing(request: Request, response: Response) -> dict[str, str]:
        return {"it": "is"}

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    return app


def flask_limiter(strategy: str) -> Any:
    from flask import Flask
    from flask_limiter import Limiter
    from flask_limiter.util import get_remote_address

    app = Flask(__name__)
    limiter = Limiter(get_remote_address, app=app, strategy=strategy, storage_uri="memory://", headers_enabled=True)

    @app.get("/api/thing")
    @limiter.limit(RATE)
    def thing() -> dict[str, str]:
        return {"it": "is"}

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    return app


def django_ratelimit() -> Any:
    import django
    from django.conf import settings
    from django.core.wsgi import get_wsgi_application
    from django.http import HttpRequest, JsonResponse
    from django.urls import path

    settings.configure(
        ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="x", DEBUG=False, MIDDLEWARE=[],
        CACHES={"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}},
        SILENCED_SYSTEM_CHECKS=["django_ratelimit.E003", "django_ratelimit.W001"],
    )  # fmt: skip
    django.setup()
    from django_ratelimit.decorators import ratelimit

    @ratelimit(key="ip", rate=f"{LIMIT}/{WINDOW_S}s", block=True)
    def thing(_: HttpRequest) -> JsonResponse:
        return JsonResponse({"it": "is"})

    globals()["urlpatterns"] = [path("api/thing", thing), path("health", lambda _: JsonResponse({"status": "ok"}))]
    return get_wsgi_application()


def limits_middleware(strategy: str) -> Any:
    """`limits` itself, under a hand-written ASGI middleware with headers of its own."""
    import time

    from fastapi import FastAPI, Request
    from fastapi.responses import JSONResponse
    from limits import RateLimitItemPerSecond, storage, strategies

    counting = getattr(strategies, strategy)(storage.MemoryStorage())
    item = RateLimitItemPerSecond(LIMIT, WINDOW_S)
    globals().update(Request=Request)
    app = FastAPI()

    @app.middleware("http")
    async def limited(request: Request, call_next: Callable[[Request], Any]) -> Any:
        key = request.client.host if request.client else "?"
        if not request.url.path.startswith("/api") or counting.hit(item, key):
            answer = await call_next(request)
        else:
            answer = JSONResponse({"error": "slow down"}, 429)
        stats = counting.get_window_stats(item, key)
        answer.headers["RateLimit-Limit"] = str(LIMIT)
        answer.headers["RateLimit-Remaining"] = str(stats.remaining)
        answer.headers["RateLimit-Reset"] = str(max(0, round(stats.reset_time - time.time())))
        return answer

    @app.get("/api/thing")
    async def thing() -> dict[str, str]:
        return {"it": "is"}

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    return app


ASGI = {
    "slowapi-fixed": lambda: slowapi("fixed-window"),
    "slowapi-moving": lambda: slowapi("moving-window"),
    "limits-fixed": lambda: limits_middleware("FixedWindowRateLimiter"),
    "limits-moving": lambda: limits_middleware("MovingWindowRateLimiter"),
    "limits-counter": lambda: limits_middleware("SlidingWindowCounterRateLimiter"),
}
WSGI = {
    "flask-limiter-fixed": lambda: flask_limiter("fixed-window"),
    "flask-limiter-moving": lambda: flask_limiter("moving-window"),
    "flask-limiter-counter": lambda: flask_limiter("sliding-window-counter"),
    "django-ratelimit": django_ratelimit,
}

if CONTROL in ASGI:
    import uvicorn

    uvicorn.run(ASGI[CONTROL](), host="127.0.0.1", port=PORT, log_level="warning")
else:
    import logging

    from werkzeug.serving import WSGIRequestHandler, run_simple

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    WSGIRequestHandler.protocol_version = "HTTP/1.1"
    run_simple("127.0.0.1", PORT, WSGI[CONTROL](), threaded=True)

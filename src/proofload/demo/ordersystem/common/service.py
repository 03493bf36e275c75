"""What the three services have in common: the edge that counts, the errors, and who the gateway says is calling."""

from __future__ import annotations

import hmac
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from proofload.demo.ordersystem.common.audit import Audit, AuditEvent
from proofload.demo.ordersystem.common.errors import ERROR_CODE_HEADER, ServiceError, StoreDownError, error_body
from proofload.demo.ordersystem.common.metrics import Metrics
from proofload.demo.ordersystem.common.request_id import request_id_from

LOG = logging.getLogger("proofload.demo.ordersystem.service")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

UNCOUNTED = frozenset(("/health", "/metrics"))
_CODES = {404: "NO_ROUTE", 405: "METHOD_NOT_ALLOWED"}


class ErrorBody(BaseModel):
    """What every error answer holds."""

    code: str
    message: str
    request_id: str


@dataclass(frozen=True, slots=True)
class Caller:
    """On whose behalf a request runs, as the gateway says."""

    user: str
    ip: str | None
    request_id: str


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI responses for error statuses."""
    return {status: {"model": ErrorBody} for status in statuses}


def error_response(status: int, code: str, message: str, request_id: str, retry_after_s: int | None = None) -> Response:
    """Return an error answer."""
    headers = {ERROR_CODE_HEADER: code}
    if retry_after_s is not None:
        headers["retry-after"] = str(retry_after_s)
    body = error_body(code, message, request_id)
    return Response(body, status, headers=headers, media_type="application/json")


class Edge:
    """The outermost layer of a service: gives a request id, counts every answer, turns a crash into a plain 500."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection scope."""
        if scope["type"] != "http" or scope["path"] in UNCOUNTED:
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        offered = dict(scope["headers"]).get(b"x-request-id")
        request_id = request_id_from(offered.decode("latin-1") if offered else None)
        scope.setdefault("state", {})["request_id"] = request_id
        begun = False

        async def counted(message: MutableMapping[str, Any]) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
                seconds = time.perf_counter() - started
                self._metrics.answered(route_template(scope), scope["method"], message["status"], seconds)
            await send(message)

        try:
            await self._app(scope, receive, counted)
        except Exception:
            LOG.exception("unhandled error, request %s", request_id)
            if begun:
                raise
            sorry = error_response(500, "INTERNAL", "something broke; the request id finds it in the logs", request_id)
            await sorry(scope, receive, counted)


def route_template(scope: Scope) -> str:
    """Return the template of the route that served a request; never the path itself, which has no bound."""
    route = scope.get("route")
    return str(getattr(route, "path", "unmatched"))


class Gatekeeper:
    """Believes headers about the user only from who knows the gateway's token."""

    def __init__(self, gateway_token: str, audit: Audit) -> None:
        self._token = gateway_token.encode()
        self._audit = audit

    def require_gateway(self, request: Request) -> None:
        """Refuse whoever is neither the gateway nor a service of ours."""
        given = request.headers.get("x-gateway-token", "").encode("latin-1")
        if not hmac.compare_digest(given, self._token):
            ip = request.client.host if request.client else None
            details: dict[str, object] = {"path": request.url.path, "reason": "NOT_FROM_GATEWAY"}
            self._audit.write(AuditEvent("access_denied", "denied", None, ip, request_id_of(request), details))
            raise ServiceError(401, "NOT_FROM_GATEWAY", "requests for users come through the gateway")

    def caller(self, request: Request) -> Caller:
        """Return the user whom the gateway vouches for."""
        self.require_gateway(request)
        user = request.headers.get("x-user")
        if not user:
            raise ServiceError(401, "TOKEN_MISSING", "this needs a user")
        return Caller(user, request.headers.get("x-client-ip"), request_id_of(request))


def request_id_of(request: Request) -> str:
    """Return the id that the edge gave the request."""
    return str(request.state.request_id)


def client_ip_of(request: Request) -> str | None:
    """Return the client's address as the gateway says, else the peer's."""
    return request.headers.get("x-client-ip") or (request.client.host if request.client else None)


def _gatekeeper(request: Request) -> Gatekeeper:
    keeper = request.app.state.gatekeeper
    assert isinstance(keeper, Gatekeeper)
    return keeper


def _caller(request: Request) -> Caller:
    return _gatekeeper(request).caller(request)


def _from_gateway(request: Request) -> None:
    _gatekeeper(request).require_gateway(request)


CallerOf = Annotated[Caller, Depends(_caller)]
FROM_GATEWAY = Depends(_from_gateway)


def new_service(title: str, metrics: Metrics, audit: Audit, gateway_token: str) -> FastAPI:
    """Return a FastAPI application with the endpoints and error answers that all services share."""
    app = FastAPI(title=title, docs_url=None, redoc_url=None)
    app.state.gatekeeper = Gatekeeper(gateway_token, audit)

    @app.get("/health", include_in_schema=False)
    async def health() -> JSONResponse:
        return JSONResponse({"status": "ok"})

    @app.get("/metrics", include_in_schema=False)
    async def metrics_page() -> PlainTextResponse:
        return PlainTextResponse(metrics.page(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.exception_handler(ServiceError)
    async def refused(request: Request, error: ServiceError) -> Response:
        return error_response(error.status, error.code, error.message, request_id_of(request), error.retry_after_s)

    @app.exception_handler(StoreDownError)
    async def store_down(request: Request, error: StoreDownError) -> Response:
        LOG.error("store down, request %s: %s", request_id_of(request), error)
        message = "a store that this needs is down; try again"
        return error_response(503, "STORE_UNAVAILABLE", message, request_id_of(request), 1)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        # Neither the values that were sent nor pydantic's contexts are repeated: a password may be among them.
        problems = "; ".join(f"{'.'.join(str(part) for part in e['loc'])}: {e['msg']}" for e in error.errors())
        return error_response(422, "INVALID_REQUEST", problems, request_id_of(request))

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        code = _CODES.get(error.status_code, "INVALID_REQUEST" if error.status_code < 500 else "INTERNAL")
        answer = error_response(error.status_code, code, str(error.detail), request_id_of(request))
        answer.headers.update(error.headers or {})
        return answer

    return app

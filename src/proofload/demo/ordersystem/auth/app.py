"""The auth service's endpoints: register, log in, log out, profile."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import jwt
from fastapi import FastAPI, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from proofload.demo.ordersystem.auth.accounts import METADATA, Accounts
from proofload.demo.ordersystem.auth.passwords import Passwords
from proofload.demo.ordersystem.auth.settings import AuthSettings
from proofload.demo.ordersystem.common.audit import Audit, AuditEvent
from proofload.demo.ordersystem.common.database import Database
from proofload.demo.ordersystem.common.errors import ServiceError
from proofload.demo.ordersystem.common.metrics import Metrics
from proofload.demo.ordersystem.common.service import CallerOf, client_ip_of, errors, new_service, request_id_of
from proofload.demo.ordersystem.common.store import Script, Store

COUNT_FAILURE = Script("""
local failures = redis.call('INCR', KEYS[1])
if failures == 1 then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end
return failures
""")


class Registration(BaseModel):
    """A new user."""

    model_config = ConfigDict(extra="forbid")
    username: str = Field(pattern=r"^[A-Za-z0-9_.-]{3,64}$")
    password: str = Field(min_length=8, max_length=128)


class Credentials(BaseModel):
    """A user who logs in. Any name may be tried: the failure is on record under it."""

    model_config = ConfigDict(extra="forbid")
    username: str = Field(max_length=128)
    password: str = Field(max_length=128)


class Registered(BaseModel):
    """The name that was registered."""

    username: str


class Token(BaseModel):
    """What a login gives."""

    access_token: str
    token_type: str
    expires_in: int


class Profile(BaseModel):
    """What a user may see of itself."""

    username: str
    created_at: str


class AuthEvents:
    """What the auth service puts on record."""

    def __init__(self, audit: Audit) -> None:
        self.audit = audit

    def logged_in(self, request: Request, given: Credentials) -> None:
        """Record a login."""
        self.audit.write(self.event(request, "login_succeeded", "success", given.username, {}))

    def login_failed(self, request: Request, given: Credentials, reason: str) -> None:
        """Record a failed login, under the name that was tried."""
        self.audit.write(self.event(request, "login_failed", "failure", given.username, {"reason": reason}))

    def logged_out(self, request: Request, username: str) -> None:
        """Record a logout."""
        self.audit.write(self.event(request, "logout", "success", username, {}))

    def registered(self, request: Request, username: str) -> None:
        """Record a new user."""
        self.audit.write(self.event(request, "user_registered", "success", username, {}))

    def event(self, request: Request, event: str, outcome: str, user: str, details: dict[str, object]) -> AuditEvent:
        """Return an event of this request."""
        return AuditEvent(event, outcome, user, client_ip_of(request), request_id_of(request), details)


class Lockout:
    """Slows down whoever guesses passwords: after so many failures a name is locked for a while. Optional."""

    def __init__(self, store: Store, failures: int, lock_s: float) -> None:
        self._store = store
        self._failures = failures
        self._lock_ms = round(lock_s * 1000)

    async def refuse_when_locked(self, username: str) -> None:
        """Raise the refusal for a locked name."""
        if self._failures and int(await self._store.command("GET", f"failures:{username}") or 0) >= self._failures:
            retry_after_s = -(-self._lock_ms // 1000)
            raise ServiceError(429, "TOO_MANY_FAILURES", "too many failed logins; try again later", retry_after_s)

    async def failed(self, username: str) -> None:
        """Count one failure."""
        if self._failures:
            await self._store.run(COUNT_FAILURE, [f"failures:{username}"], [self._lock_ms])


@dataclass(frozen=True)
class AuthParts:
    """One implementation for each role in the auth service. The defaults are the honest system."""

    events: type[AuthEvents] = AuthEvents


def build_auth(settings: AuthSettings, parts: AuthParts, store: Store, metrics: Metrics, audit: Audit) -> FastAPI:
    """Return the auth service made of these parts."""
    database = Database(settings.database_url, METADATA)
    accounts = Accounts(database)
    passwords = Passwords(settings.kdf_time_cost, settings.kdf_memory_kib)
    lockout = Lockout(store, settings.lockout_failures, settings.lockout_s)
    events = parts.events(audit)
    app = new_service("auth", metrics, audit, settings.gateway_token)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        database.close()
        await store.close()

    app.router.lifespan_context = lifespan

    @app.post("/api/v1/auth/register", status_code=201, responses=errors(400, 409, 413, 422, 503))
    async def register(new: Registration, request: Request) -> Registered:
        if not await accounts.add(new.username, await passwords.hash(new.password)):
            raise ServiceError(409, "USERNAME_TAKEN", "this name is taken")
        events.registered(request, new.username)
        return Registered(username=new.username)

    @app.post("/api/v1/auth/login", responses=errors(400, 401, 413, 422, 429, 503))
    async def login(given: Credentials, request: Request) -> Token:
        try:
            await lockout.refuse_when_locked(given.username)
        except ServiceError as error:
            events.login_failed(request, given, error.code)
            raise
        account = await accounts.find(given.username)
        if not await passwords.matches(account.password_hash if account else None, given.password):
            await lockout.failed(given.username)
            events.login_failed(request, given, "INVALID_CREDENTIALS")
            raise ServiceError(401, "INVALID_CREDENTIALS", "name or password is wrong")
        events.logged_in(request, given)
        return issue_token(settings, given.username)

    @app.post("/api/v1/auth/logout", status_code=204, responses=errors(400, 401, 503))
    async def logout(caller: CallerOf, request: Request) -> Response:
        claims = read_token(settings, request.headers.get("authorization", ""))
        left_ms = max(1, round((claims["exp"] - time.time()) * 1000))
        await store.command("SET", f"revoked:{claims['jti']}", 1, "PX", left_ms)
        events.logged_out(request, caller.user)
        return Response(status_code=204)

    @app.get("/api/v1/auth/profile", responses=errors(401, 404, 503))
    async def profile(caller: CallerOf) -> Profile:
        account = await accounts.find(caller.user)
        if account is None:
            raise ServiceError(404, "USER_UNKNOWN", "there is no such user")
        return Profile(username=account.username, created_at=account.created_at)

    return app


def issue_token(settings: AuthSettings, username: str) -> Token:
    """Return a fresh signed token for the user."""
    now = time.time()
    claims = {
        "iss": "ordersystem",
        "sub": username,
        "jti": uuid.uuid4().hex,
        "iat": int(now),
        "exp": now + settings.token_lifetime_s,
    }
    token = jwt.encode(claims, settings.jwt_secret, algorithm="HS256")
    return Token(access_token=token, token_type="bearer", expires_in=int(settings.token_lifetime_s))  # noqa: S106


def read_token(settings: AuthSettings, authorization: str) -> dict[str, float]:
    """Return the claims of a bearer token, or raise the refusal."""
    try:
        claims: dict[str, float] = jwt.decode(
            authorization.partition(" ")[2], settings.jwt_secret, algorithms=["HS256"], issuer="ordersystem"
        )
    except jwt.InvalidTokenError:
        raise ServiceError(401, "TOKEN_INVALID", "the token is not one of ours") from None
    return claims

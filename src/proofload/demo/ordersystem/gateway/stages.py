"""The stages that a call passes, outermost first: limiting, authorising, forwarding.

Each stage is a handler around the next. What a stage needs stands in its constructor; how they are put together is said
in `parts.py` alone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from prometheus_client import Counter

from proofload.demo.ordersystem.common.audit import Audit, AuditEvent
from proofload.demo.ordersystem.common.errors import StoreDownError
from proofload.demo.ordersystem.common.store import Store
from proofload.demo.ordersystem.common.upstream import (
    Headers,
    Upstream,
    UpstreamAnswer,
    UpstreamError,
    UpstreamTimeoutError,
)
from proofload.demo.ordersystem.gateway.call import Answer, BodyTooLargeError, Call, ClientGoneError, Handler, refusal
from proofload.demo.ordersystem.gateway.limiter import Decision, Limit, Limiter
from proofload.demo.ordersystem.gateway.settings import GatewaySettings
from proofload.demo.ordersystem.gateway.tokens import TokenChecker, TokenError

LOG = logging.getLogger("proofload.demo.ordersystem.gateway")

KeyOf = Callable[[Call], str]
LimitHeaders = Callable[[Decision], Headers]


def key_of_client(call: Call) -> str:
    """Return what the allowance of a call belongs to: the address of the client."""
    return call.client_ip


def limit_headers(decision: Decision) -> Headers:
    """Return what the client is told of its allowance, on every answer."""
    return [
        (b"x-ratelimit-limit", b"%d" % decision.limit),
        (b"x-ratelimit-remaining", b"%d" % decision.remaining),
        (b"x-ratelimit-reset", b"%d" % decision.reset_epoch_s),
    ]


class LimitPlan:
    """Which limits a call falls under: the gateway's, and its service's own where one is set."""

    def __init__(self, settings: GatewaySettings, key_of: KeyOf) -> None:
        self._settings = settings
        self._key_of = key_of

    def __call__(self, call: Call) -> list[Limit]:
        """Return the limits of the call."""
        key = self._key_of(call)
        overall = self._settings.rate_limit
        limits = [Limit(f"rate:{key}", overall.limit, overall.window_us)]
        own = self._settings.service_limits.get(call.route.service or "")
        if own is not None:
            limits.append(Limit(f"rate:{call.route.service}:{key}", own.limit, own.window_us))
        return limits


class Limiting:
    """Refuses what exceeds the allowance, before anything else is spent on it."""

    def __init__(
        self,
        inner: Handler,
        limiter: Limiter,
        plan: Callable[[Call], list[Limit]],
        headers_of: LimitHeaders,
        when_store_is_down: str,
        decisions: Counter,
        audit: Audit,
    ) -> None:
        self.inner = inner
        self.limiter = limiter
        self.plan = plan
        self.headers_of = headers_of
        self._when_store_is_down = when_store_is_down
        self.decisions = decisions
        # Found once: to find a labelled series takes longer than to count in it.
        self._admitted = decisions.labels("admitted")
        self._rejected = decisions.labels("rejected")
        self.audit = audit

    async def __call__(self, call: Call) -> Answer:
        """Pass the call on, or answer 429."""
        try:
            decision = await self.limiter.decide(self.plan(call))
        except StoreDownError as error:
            return await self.without_store(call, error)
        if decision.admitted:
            self._admitted.inc()
            answer = await self.inner(call)
        else:
            self._rejected.inc()
            answer = self.reject(call, decision)
        answer.headers += self.headers_of(decision)
        return answer

    def reject(self, call: Call, decision: Decision) -> Answer:
        """Return the answer to a request beyond the allowance, and put it on record."""
        details: dict[str, object] = {"path": call.path, "limit": decision.limit}
        self.audit.write(AuditEvent("rate_limited", "denied", None, call.client_ip, call.request_id, details))
        message = f"more than {decision.limit} requests in one window; try again in {decision.retry_after_s} s"
        return refusal(call, 429, "RATE_LIMITED", message, decision.retry_after_s)

    async def without_store(self, call: Call, error: StoreDownError) -> Answer:
        """Fail closed or open, as the settings say, and log it."""
        self.decisions.labels("store_down").inc()
        LOG.warning("rate limit of %s undecided, failing %s: %s", call.request_id, self._when_store_is_down, error)
        if self._when_store_is_down == "open":
            return await self.inner(call)
        return refusal(call, 503, "STORE_UNAVAILABLE", "requests can't be counted at the moment; try again", 1)


class Catching:
    """Turns whatever breaks further in into an answer, so that the stages further out still see one."""

    def __init__(self, inner: Handler) -> None:
        self.inner = inner

    async def __call__(self, call: Call) -> Answer:
        """Pass the call on; never raise."""
        try:
            return await self.inner(call)
        except BodyTooLargeError as error:
            return refusal(call, 413, "BODY_TOO_LARGE", f"a request may hold {error} bytes")
        except ClientGoneError:
            return refusal(call, 400, "BODY_INCOMPLETE", "the request ended before its body did")
        except Exception:
            LOG.exception("unhandled error, request %s", call.request_id)
            return refusal(call, 500, "INTERNAL", "something broke; the request id finds it in the logs")


class Authorising:
    """Lets pass who holds a valid token that has not been logged out, and public routes."""

    def __init__(
        self, inner: Handler, tokens: TokenChecker, store: Store, when_store_is_down: str, audit: Audit
    ) -> None:
        self.inner = inner
        self.tokens = tokens
        self.store = store
        self._when_store_is_down = when_store_is_down
        self.audit = audit

    async def __call__(self, call: Call) -> Answer:
        """Set the user of the call, or answer 401."""
        if call.route.service is None or call.route.public:
            return await self.inner(call)
        try:
            claims = self.tokens.check(call.headers.get(b"authorization"))
            await self._refuse_revoked(claims.token_id)
        except TokenError as error:
            details: dict[str, object] = {"path": call.path, "reason": error.code}
            self.audit.write(AuditEvent("access_denied", "denied", None, call.client_ip, call.request_id, details))
            answer = refusal(call, 401, error.code, str(error))
            answer.headers.append((b"www-authenticate", b"Bearer"))
            return answer
        except StoreDownError:
            return refusal(call, 503, "STORE_UNAVAILABLE", "the token can't be checked at the moment; try again", 1)
        call.user = claims.user
        return await self.inner(call)

    async def _refuse_revoked(self, token_id: str) -> None:
        try:
            revoked = await self.store.command("EXISTS", f"revoked:{token_id}")
        except StoreDownError:
            if self._when_store_is_down == "open":
                return
            raise
        if revoked:
            raise TokenError("TOKEN_REVOKED", "the token was logged out")


# Hop-by-hop headers concern one connection only (RFC 9110, 7.6.1); the rest of each set is the gateway's to say.
_NOT_FORWARDED = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization te trailer transfer-encoding upgrade host "
    b"content-length expect x-forwarded-for x-forwarded-host x-forwarded-proto forwarded x-request-id x-user "
    b"x-client-ip x-gateway-token x-lock-token".split()
)
_NOT_RETURNED = frozenset(
    b"connection keep-alive proxy-authenticate te trailer transfer-encoding upgrade content-length date server "
    b"x-request-id x-ratelimit-limit x-ratelimit-remaining x-ratelimit-reset".split()
)


class Forwarding:
    """Hands the call to its service, with headers about the user that no client can forge."""

    def __init__(self, upstreams: Mapping[str, Upstream], gateway_token: str) -> None:
        self.upstreams = upstreams
        self._token = gateway_token.encode()

    async def __call__(self, call: Call) -> Answer:
        """Return the service's answer without what is the gateway's to say."""
        upstream = self.upstreams.get(call.route.service or "")
        if upstream is None:
            return refusal(call, 404, "NO_ROUTE", "there is nothing at this path")
        try:
            given = await upstream.send(call.method, call.target, self.headers_for(call), call.body)
        except UpstreamTimeoutError as error:
            return refusal(call, 504, "UPSTREAM_TIMEOUT", f"{call.route.service}: {error}")
        except UpstreamError as error:
            LOG.warning("%s unreachable for %s: %s", call.route.service, call.request_id, error)
            return refusal(call, 502, "UPSTREAM_UNREACHABLE", f"{call.route.service} gave no answer")
        return self.answer_from(given)

    def headers_for(self, call: Call) -> Headers:
        """Return the headers of the request to the service."""
        headers = [(name, value) for name, value in call.headers.items() if name not in _NOT_FORWARDED]
        client = call.client_ip.encode()
        headers += [
            (b"x-request-id", call.request_id.encode()),
            (b"x-client-ip", client),
            (b"x-forwarded-for", client),
            (b"x-gateway-token", self._token),
        ]
        if call.user is not None:
            headers.append((b"x-user", call.user.encode()))
        return headers

    def answer_from(self, given: UpstreamAnswer) -> Answer:
        """Return the service's answer as the gateway's."""
        headers = [(name, value) for name, value in given.headers if name not in _NOT_RETURNED]
        code = next((value.decode("latin-1") for name, value in headers if name == b"x-error-code"), None)
        return Answer(given.status, headers, given.body, code)

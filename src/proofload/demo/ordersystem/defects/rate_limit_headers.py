"""Rate limits that count right and tell it wrong, or limit what is exempt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from proofload.demo.ordersystem.common.upstream import Headers
from proofload.demo.ordersystem.defects.defect import Defect, gateway
from proofload.demo.ordersystem.defects.rate_limit import rewritten
from proofload.demo.ordersystem.gateway.app import GatewayApp
from proofload.demo.ordersystem.gateway.call import Answer, Call
from proofload.demo.ordersystem.gateway.limiter import Decision
from proofload.demo.ordersystem.gateway.stages import Limiting, limit_headers


def told(change: Callable[[Decision], Decision]) -> Callable[[Decision], Headers]:
    """Return headers that tell a changed decision."""
    return lambda decision: limit_headers(change(decision))


def _delta(decision: Decision) -> Decision:
    return replace(decision, reset_epoch_s=decision.retry_after_s)


def _milliseconds(decision: Decision) -> Decision:
    return replace(decision, reset_epoch_s=decision.reset_epoch_s * 1000)


def _too_early(decision: Decision) -> Decision:
    early_s = max(1, decision.retry_after_s // 2)
    return replace(decision, reset_epoch_s=decision.reset_epoch_s - early_s)


def negative_headers(decision: Decision) -> Headers:
    """Return headers that go below zero."""
    left = -1 if not decision.admitted else decision.remaining
    return limit_headers(replace(decision, remaining=left))


class HeadersLostOnProxied(Limiting):
    """Copies the backend's headers over its own: only the gateway's own refusals still tell the allowance."""

    async def __call__(self, call: Call) -> Answer:
        """Pass the call on, or answer 429."""
        answer = await super().__call__(call)
        if answer.code != "RATE_LIMITED":
            answer.headers = [pair for pair in answer.headers if not pair[0].startswith(b"x-ratelimit-")]
        return answer


class HeadersMissingOn429(Limiting):
    """Sets the headers on the way of success only."""

    async def __call__(self, call: Call) -> Answer:
        """Pass the call on, or answer 429."""
        answer = await super().__call__(call)
        if answer.code == "RATE_LIMITED":
            answer.headers = [pair for pair in answer.headers if not pair[0].startswith(b"x-ratelimit-")]
        return answer


class NoRetryAfter(Limiting):
    """Says no, and not until when."""

    def reject(self, call: Call, decision: Decision) -> Answer:
        """Leave Retry-After out."""
        answer = super().reject(call, decision)
        answer.headers = [pair for pair in answer.headers if pair[0] != b"retry-after"]
        return answer


class RetryAfterTooShort(Limiting):
    """Rounds down, generously."""

    def reject(self, call: Call, decision: Decision) -> Answer:
        """Invite the client too early."""
        return super().reject(call, replace(decision, retry_after_s=decision.retry_after_s // 2))


class HealthIsLimited(GatewayApp):
    """Puts the limiter in front of everything."""

    async def own_page(self, call: Call) -> Answer | None:
        """Ask the limiter for /health too."""
        page = await super().own_page(call)
        if page is not None and call.path == "/health":
            asked = await self.limited(call)
            if asked.code == "RATE_LIMITED":
                return asked
        return page


_HEADERS = "TC-RL-002"

DEFECTS = (
    Defect(
        "rl.headers_lost_on_proxied",
        "The backend's headers replace the gateway's on every answer that was forwarded.",
        "Gateways whose proxy step writes a fresh header set after the limiter's filter has run.",
        "No X-RateLimit-* on answers that came through the backend, while a 429 has them.",
        _HEADERS,
        gateway(limiting=HeadersLostOnProxied),
    ),
    Defect(
        "rl.headers_missing_on_429",
        "The headers are set on success only.",
        "Middleware that returns early when it rejects.",
        "A 429 has no X-RateLimit-*.",
        _HEADERS,
        gateway(limiting=HeadersMissingOn429),
    ),
    Defect(
        "rl.remaining_stuck",
        "Remaining always shows a full allowance.",
        "The header is computed from the configuration, not from the count.",
        "X-RateLimit-Remaining does not go down.",
        _HEADERS,
        gateway(limit_headers=told(lambda decision: replace(decision, remaining=decision.limit - 1))),
    ),
    Defect(
        "rl.remaining_negative",
        "Remaining goes below zero on rejections.",
        "limit - count, without a floor.",
        "X-RateLimit-Remaining: -1 on a 429.",
        _HEADERS,
        gateway(limit_headers=negative_headers),
    ),
    Defect(
        "rl.reset_in_milliseconds",
        "Reset is in milliseconds.",
        "Clocks of JavaScript and Java.",
        "X-RateLimit-Reset lies thousands of years ahead.",
        _HEADERS,
        gateway(limit_headers=told(_milliseconds)),
    ),
    Defect(
        "rl.reset_is_delta",
        "Reset is a number of seconds from now, where an epoch second is promised.",
        "Both meanings are in public use under one header name.",
        "X-RateLimit-Reset lies in 1970.",
        _HEADERS,
        gateway(limit_headers=told(_delta)),
    ),
    Defect(
        "rl.reset_untrue",
        "Reset comes before the window really ends.",
        "Rounding down, or a clock that differs from the store's.",
        "A request at X-RateLimit-Reset is still rejected.",
        _HEADERS,
        gateway(limit_headers=told(_too_early)),
    ),
    Defect(
        "rl.retry_after_missing",
        "A 429 has no Retry-After.",
        "The header is optional in RFC 6585, and often left out where it was promised.",
        "No Retry-After on a 429.",
        _HEADERS,
        gateway(limiting=NoRetryAfter),
    ),
    Defect(
        "rl.retry_after_too_short",
        "Retry-After is half of what it should be.",
        "Rounding down, or the refill time of one token where a whole window is meant.",
        "A request after Retry-After seconds is still rejected.",
        _HEADERS,
        gateway(limiting=RetryAfterTooShort),
    ),
    Defect(
        "rl.health_limited",
        "/health falls under the limit.",
        "A limiter in front of the router; an orchestrator then kills what is merely busy.",
        "429 on /health once the allowance is used up.",
        "TC-NEG-009",
        gateway(app=HealthIsLimited),
    ),
    Defect(
        "rl.remaining_one_too_many",
        "Remaining tells the count from before this request.",
        "The header is taken from the value that was read, not from the one that was written.",
        "The last admitted request still shows 1 left.",
        _HEADERS,
        gateway(limiter=rewritten(("answer[i] = {used, string", "answer[i] = {used - admitted, string"))),
    ),
)

"""Rate limits gone wrong."""

from __future__ import annotations

from ordersystem.common.store import Script, Store
from ordersystem.defects.defect import Defect, gateway
from ordersystem.gateway.call import Answer, Call
from ordersystem.gateway.limiter import FIXED_WINDOWS, FixedWindows
from ordersystem.gateway.stages import Limiting


class LimitPlusOne(FixedWindows):
    """Compares with the wrong sign: the request after the last is let in."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._script = Script(FIXED_WINDOWS.replace("used >= limit", "used > limit"))


class HeadersLostOnProxied(Limiting):
    """Copies the backend's headers over its own, so that only the gateway's own refusals still tell the allowance."""

    async def __call__(self, call: Call) -> Answer:
        """Pass the call on, or answer 429."""
        answer = await super().__call__(call)
        if answer.code != "RATE_LIMITED":
            answer.headers = [pair for pair in answer.headers if not pair[0].startswith(b"x-ratelimit-")]
        return answer


DEFECTS = (
    Defect(
        "rl.limit_plus_one",
        "rate_limit",
        "The limiter compares with > where >= is meant.",
        "An off-by-one of hand-written counters: INCR is compared before or after the count that it returns.",
        "Of 101 requests in a window all are admitted; the 102nd is the first 429.",
        "TC-RL-001",
        gateway(limiter=LimitPlusOne),
    ),
    Defect(
        "rl.headers_lost_on_proxied",
        "rate_limit",
        "The backend's headers replace the gateway's on every answer that was forwarded.",
        "Gateways whose proxy step writes a fresh header set after the limiter's filter has run.",
        "No X-RateLimit-* on answers that came through the backend, while a 429 has them.",
        "TC-RL-002",
        gateway(limiting=HeadersLostOnProxied),
    ),
)

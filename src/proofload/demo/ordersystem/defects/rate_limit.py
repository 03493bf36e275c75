"""Rate limits gone wrong: how requests are counted, and whose they are."""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import jwt

from proofload.demo.ordersystem.common.errors import StoreDownError
from proofload.demo.ordersystem.common.store import Script, Store
from proofload.demo.ordersystem.defects.defect import Defect, gateway
from proofload.demo.ordersystem.gateway.call import Answer, Call
from proofload.demo.ordersystem.gateway.limiter import FIXED_WINDOWS, Decision, FixedWindows, Limit
from proofload.demo.ordersystem.gateway.settings import GatewaySettings
from proofload.demo.ordersystem.gateway.stages import Limiting

BACKWARDS = "used, ends = 0, now + window end"


def rewritten(*changes: tuple[str, str]) -> Callable[[Store], FixedWindows]:
    """Return a limiter whose script differs from the honest one in these places."""
    source = FIXED_WINDOWS
    for honest, wrong in changes:
        assert honest in source, honest
        source = source.replace(honest, wrong)

    def make(store: Store) -> FixedWindows:
        limiter = FixedWindows(store)
        limiter.script = Script(source)
        return limiter

    return make


def wrong_decision(limit: Limit, used: int, ends_us: int, now_us: int, admitted: bool) -> Decision:
    """Return a decision as limiters that count outside of Redis make it."""
    return Decision(
        admitted,
        limit.limit,
        max(0, limit.limit - used),
        -(-ends_us // 1_000_000),
        max(1, -(-(ends_us - now_us) // 1_000_000)),
    )


class GetThenSet:
    """Reads the count, compares it, and writes it back: three steps that others come between."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def decide(self, limits: Sequence[Limit]) -> Decision:
        """Decide by what was read a moment ago."""
        limit, now_us = limits[0], time.time_ns() // 1000
        used, ends_us = (int(part or 0) for part in await self._store.command("HMGET", limit.key, "used", "ends"))
        if ends_us <= now_us:
            used, ends_us = 0, now_us + limit.window_us
        admitted = used < limit.limit
        if admitted:
            used += 1
            await self._store.command("HSET", limit.key, "used", used, "ends", ends_us)
            await self._store.command("PEXPIREAT", limit.key, -(-ends_us // 1000))
        return wrong_decision(limit, used, ends_us, now_us, admitted)


class CountsInThisProcess:
    """Counts in the memory of the worker."""

    def __init__(self, _store: Store) -> None:
        self._held: dict[str, tuple[int, int]] = {}

    async def decide(self, limits: Sequence[Limit]) -> Decision:
        """Decide by what this worker has seen."""
        limit, now_us = limits[0], time.time_ns() // 1000
        used, ends_us = self._held.get(limit.key, (0, 0))
        if ends_us <= now_us:
            used, ends_us = 0, now_us + limit.window_us
        admitted = used < limit.limit
        used += admitted
        self._held[limit.key] = (used, ends_us)
        return wrong_decision(limit, used, ends_us, now_us, admitted)


def trusts_forwarded_for(_settings: GatewaySettings) -> Callable[[tuple[str, int], Mapping[bytes, bytes]], str]:
    """Return a rule that believes whoever writes X-Forwarded-For."""

    def client_ip(peer: tuple[str, int], headers: Mapping[bytes, bytes]) -> str:
        return headers.get(b"x-forwarded-for", peer[0].encode()).decode("latin-1").partition(",")[0].strip()

    return client_ip


class OnlyGetIsLimited(Limiting):
    """Was written when there was nothing but GET."""

    async def __call__(self, call: Call) -> Answer:
        """Pass other methods by."""
        return await (super().__call__(call) if call.method == "GET" else self.inner(call))


class LimitsBesideTheBackend(Limiting):
    """Asks limiter and backend at the same time, and takes the limiter's word afterwards."""

    async def __call__(self, call: Call) -> Answer:
        """Forward whatever the decision will be."""
        decision, answer = await asyncio.gather(self.limiter.decide(self.plan(call)), self.inner(call))
        if not decision.admitted:
            answer = self.reject(call, decision)
        answer.headers += self.headers_of(decision)
        return answer


class SilentlyOpen(Limiting):
    """Catches the store's error where it should not."""

    async def without_store(self, call: Call, _error: StoreDownError) -> Answer:
        """Let everything in when nothing can be counted, and say nothing."""
        return await self.inner(call)


class SlowReject(Limiting):
    """Looks up a page, a template and a translation for every rejection."""

    async def __call__(self, call: Call) -> Answer:
        """Take as long for a no as for a yes, or longer."""
        answer = await super().__call__(call)
        if answer.code == "RATE_LIMITED":
            await asyncio.sleep(0.3)
        return answer


class WrongStatus(Limiting):
    """Calls it forbidden."""

    def reject(self, call: Call, decision: Decision) -> Answer:
        """Answer 403."""
        return replace(super().reject(call, decision), status=403)


class IgnoresServiceLimits(Limiting):
    """Reads the limits of single services, and never looks at them again."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        honest = self.plan
        self.plan = lambda call: honest(call)[:1]


class OneServiceCountForAll(Limiting):
    """Counts a service's own limit once for all clients."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        honest = self.plan

        def plan(call: Call) -> list[Limit]:
            overall, *own = honest(call)
            return [overall, *(replace(limit, key=f"rate:{call.route.service}") for limit in own)]

        self.plan = plan


class ByClaimedUser:
    """Takes the user's name from a token that nobody has checked yet."""

    def __call__(self, call: Call) -> str:
        """Return the name that the token claims, else the address."""
        token = call.headers.get(b"authorization", b"").partition(b" ")[2]
        try:
            return str(jwt.decode(token, options={"verify_signature": False})["sub"])
        except (jwt.InvalidTokenError, KeyError):
            return call.client_ip


_ENFORCEMENT = "TC-RL-001"

DEFECTS = (
    Defect(
        "rl.limit_plus_one",
        "The limiter compares with > where >= is meant.",
        "An off-by-one of hand-written counters, which compare before or after the count that INCR returns.",
        "Of 101 requests in a window all are admitted; the 102nd is the first 429.",
        _ENFORCEMENT,
        gateway(limiter=rewritten(("used >= limit", "used > limit"))),
    ),
    Defect(
        "rl.limit_minus_one",
        "The limiter admits one request too few.",
        "The same off-by-one the other way: the count is compared after it was raised.",
        "The 100th request of a window is a 429.",
        _ENFORCEMENT,
        gateway(limiter=rewritten(("used >= limit", "used + 1 >= limit"))),
    ),
    Defect(
        "rl.race_get_then_set",
        "The count is read, compared and written in three steps.",
        "The first pitfall that Redis' own documentation of INCR names for rate limiters built on GET.",
        "A concurrent burst gets more than the limit through, and Remaining values repeat; a sequence is right.",
        _ENFORCEMENT,
        gateway(limiter=GetThenSet),
    ),
    Defect(
        "rl.per_process_counter",
        "Every worker counts by itself.",
        "In-memory stores behind several workers: documented as a limitation by most rate-limit middleware.",
        "With two workers up to twice the limit is admitted.",
        _ENFORCEMENT,
        gateway(limiter=CountsInThisProcess),
    ),
    Defect(
        "rl.immortal_key",
        "The count is raised, and its expiry is lost.",
        "INCR and EXPIRE as two commands; a crash in between leaves a key that never goes (Redis' INCR page).",
        "After the window has ended, requests are still rejected.",
        _ENFORCEMENT,
        gateway(
            limiter=rewritten(
                ("if ends <= now then", "if ends == 0 then"),
                ("redis.call('PEXPIREAT', key, string.format('%.0f', math.ceil(ends / 1000)))", ""),
            )
        ),
    ),
    Defect(
        "rl.ttl_refreshed",
        "Every request renews the expiry of the count.",
        "EXPIRE after each INCR, without NX.",
        "Under steady traffic, well below the limit, the window never ends and requests get rejected.",
        _ENFORCEMENT,
        gateway(limiter=rewritten(("    used = used + 1", "    used, ends = used + 1, now + tonumber(ARGV[2 * i])"))),
    ),
    Defect(
        "rl.no_expiry_on_reject",
        "Rejected requests prolong the window.",
        "Counting before deciding, with a renewed expiry.",
        "A client that keeps trying is never admitted again.",
        _ENFORCEMENT,
        gateway(
            limiter=rewritten(
                (
                    "  answer[i] = {used, string.format('%.0f', ends)}",
                    "  if admitted == 0 then\n    ends = now + tonumber(ARGV[2 * i])\n"
                    "    redis.call('HSET', key, 'ends', string.format('%.0f', ends))\n    redis.call('PERSIST', key)\n"
                    "  end\n  answer[i] = {used, string.format('%.0f', ends)}",
                )
            )
        ),
    ),
    Defect(
        "rl.window_on_the_clock",
        "Windows begin at whole multiples of their length on the clock, not at a client's first request.",
        "Keys such as rate:IP:MINUTE; twice the limit passes around the turn of the minute.",
        "A burst across the turn of a window gets up to twice the limit within one window's time.",
        _ENFORCEMENT,
        gateway(limiter=rewritten((BACKWARDS, "used, ends = 0, (math.floor(now / window) + 1) * window end"))),
    ),
    Defect(
        "rl.window_too_short",
        "The window ends after 80 % of its time.",
        "A unit mix-up, or a safety margin on the wrong side.",
        "Requests are admitted again before the promised window is over; Reset says so too.",
        _ENFORCEMENT,
        gateway(limiter=rewritten((BACKWARDS, "used, ends = 0, now + math.floor(window * 0.8) end"))),
    ),
    Defect(
        "rl.trusts_forwarded_for",
        "The key is taken from X-Forwarded-For, whoever sent it.",
        "A classic of gateways and frameworks behind no proxy, or behind one that appends.",
        "A client with a new X-Forwarded-For on each request is never limited.",
        "TC-NEG-003",
        gateway(client_ip=trusts_forwarded_for),
    ),
    Defect(
        "rl.key_ignores_ip",
        "All clients share one count.",
        "Limiters behind a proxy that see the proxy's address as everybody's.",
        "A second address is limited by the first one's requests.",
        "TC-NEG-002",
        gateway(key_of=lambda _call: "everybody"),
    ),
    Defect(
        "rl.keys_collide",
        "Addresses are folded into four counts.",
        "Fixed tables of counters, indexed by a hash: cheap, and right as long as there are few clients.",
        "Some clients are limited by the requests of others, which ones is a matter of luck.",
        "TC-RL-004",
        gateway(key_of=lambda call: f"bucket-{zlib.crc32(call.client_ip.encode()) % 4}"),
    ),
    Defect(
        "rl.ignores_service_limits",
        "Limits of single services are read and never applied.",
        "Settings that survive a refactoring of the code which looked at them.",
        "A service gets as much as the gateway's own limit lets through.",
        "TC-RL-003",
        gateway(limiting=IgnoresServiceLimits),
    ),
    Defect(
        "rl.service_limit_shared",
        "A service's own limit has one count for all clients.",
        "Keys that hold the route, where they should hold the route and the client.",
        "A second address finds the service's allowance spent by the first.",
        "TC-RL-003",
        gateway(limiting=OneServiceCountForAll),
    ),
    Defect(
        "rl.key_per_connection",
        "The key holds the client's port.",
        "Remote addresses used as host:port.",
        "A new connection opens a new allowance.",
        _ENFORCEMENT,
        gateway(key_of=lambda call: f"{call.peer[0]}:{call.peer[1]}"),
    ),
    Defect(
        "rl.key_per_path",
        "Each path has a count of its own.",
        "Per-route decorators where the policy means the sum.",
        "The limit times the number of paths is admitted.",
        _ENFORCEMENT,
        gateway(key_of=lambda call: f"{call.client_ip}{call.path}"),
    ),
    Defect(
        "rl.query_string_in_key",
        "The key holds the query.",
        "Cache keys reused as limiter keys.",
        "Requests with ?x=1, ?x=2, ... are never limited.",
        _ENFORCEMENT,
        gateway(key_of=lambda call: f"{call.client_ip}?{call.query!r}" if call.query else call.client_ip),
    ),
    Defect(
        "rl.method_not_counted",
        "Only GET is limited.",
        "Limits written for reads, before there were writes.",
        "POST passes without limit and without headers.",
        _ENFORCEMENT,
        gateway(limiting=OnlyGetIsLimited),
    ),
    Defect(
        "rl.rejected_reaches_backend",
        "The limiter runs beside the backend, not before it.",
        "Limits applied in a response filter.",
        "The backend has more hits than requests were admitted.",
        _ENFORCEMENT,
        gateway(limiting=LimitsBesideTheBackend),
    ),
    Defect(
        "rl.fail_open",
        "Without its store the limiter lets everything in, where the policy says closed.",
        "The default of many limiters: an exception of the store is caught and forgotten.",
        "While Redis is down there are neither 429s nor 503s from the limiter.",
        "TC-INT-006",
        gateway(limiting=SilentlyOpen),
    ),
    Defect(
        "rl.slow_reject",
        "A rejection costs more than an answer.",
        "Error pages rendered by the slow path of the application.",
        "429s take 300 ms.",
        _ENFORCEMENT,
        gateway(limiting=SlowReject),
    ),
    Defect(
        "rl.wrong_status",
        "Rejections are 403.",
        "Firewalls and older gateways; GitHub's API used 403 for years.",
        "The status beyond the limit is 403.",
        _ENFORCEMENT,
        gateway(limiting=WrongStatus),
    ),
    Defect(
        "int.limit_before_auth_leaks",
        "The allowance belongs to the user whom an unchecked token names.",
        "Per-user limits placed before authentication.",
        "A stranger at another address spends a user's allowance with a forged token.",
        "TC-INT-007",
        gateway(key_of=ByClaimedUser()),
    ),
)

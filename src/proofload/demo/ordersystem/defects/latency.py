"""Latency gone wrong, and controls that get in one another's way."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import cast

from proofload.demo.ordersystem.common.store import Script
from proofload.demo.ordersystem.common.upstream import Upstream
from proofload.demo.ordersystem.defects.defect import Defect, gateway
from proofload.demo.ordersystem.gateway.call import Answer, Call, Handler
from proofload.demo.ordersystem.gateway.limiter import FixedWindows
from proofload.demo.ordersystem.gateway.parts import Chain
from proofload.demo.ordersystem.gateway.protecting import FailureRules, Reading
from proofload.demo.ordersystem.gateway.stages import Catching, Forwarding, Limiting


class Slowed(Forwarding):
    """Waits before it forwards."""

    def __init__(self, upstreams: Mapping[str, Upstream], gateway_token: str) -> None:
        super().__init__(upstreams, gateway_token)
        self.calls = 0

    async def __call__(self, call: Call) -> Answer:
        """Wait as long as the defect says, then forward."""
        self.calls += 1
        await self.wait(call)
        return await super().__call__(call)

    async def wait(self, _call: Call) -> None:
        """Wait."""


class SlowOnePercent(Slowed):
    """Has one slow request in a hundred."""

    async def wait(self, _call: Call) -> None:
        """Wait with every hundredth."""
        if self.calls % 100 == 0:
            await asyncio.sleep(0.4)


class SlowFirst(Slowed):
    """Does at the first request what belongs to the start."""

    async def wait(self, _call: Call) -> None:
        """Wait with the first."""
        if self.calls == 1:
            await asyncio.sleep(1.0)


class Stalls(Slowed):
    """Stands still for a second in every ten."""

    def __init__(self, upstreams: Mapping[str, Upstream], gateway_token: str) -> None:
        super().__init__(upstreams, gateway_token)
        self._begun_s = time.monotonic()

    async def wait(self, _call: Call) -> None:
        """Wait for the end of the stall that is on."""
        phase_s = (time.monotonic() - self._begun_s) % 10
        if 1 <= phase_s < 2:
            await asyncio.sleep(2 - phase_s)


class SerializedByUser(Slowed):
    """Takes one request of a user after another, reads included."""

    def __init__(self, upstreams: Mapping[str, Upstream], gateway_token: str) -> None:
        super().__init__(upstreams, gateway_token)
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def wait(self, call: Call) -> None:
        """Wait for the user's other requests."""
        if call.user is not None:
            async with self._locks[call.user]:
                await asyncio.sleep(0.03)


class GrowsWithTime(Slowed):
    """Walks through everything it has ever seen."""

    async def wait(self, _call: Call) -> None:
        """Wait longer each time."""
        await asyncio.sleep(min(1.0, self.calls * 0.0005))


class BreakerOutside(Chain):
    """Puts the circuit around the limiter."""

    def __call__(self, forwarding: Handler) -> Handler:
        """Return the wrong order."""
        inner = Catching(self.authorising(Reading(forwarding)))
        return Catching(self.guarding(self.breaking(self.limiting(inner))))


def _counts_rejections(ignored: tuple[str, ...]) -> Callable[[Answer], bool]:
    honest = FailureRules(ignored)
    return lambda answer: answer.status == 429 or honest(answer)


class Refunding(FixedWindows):
    """Can give back."""

    REFUND = Script("return redis.call('HINCRBY', KEYS[1], 'used', -1)")

    async def refund(self, key: str) -> None:
        """Give one request back."""
        await self.store.run(self.REFUND, [key], [])


class ErrorsAreFree(Limiting):
    """Charges for success only."""

    async def __call__(self, call: Call) -> Answer:
        """Give the request back when it failed."""
        answer = await super().__call__(call)
        if answer.status >= 400 and answer.code != "RATE_LIMITED":
            await cast("Refunding", self.limiter).refund(self.plan(call)[0].key)
        return answer


_LAT = "TC-LATENCY-001"
_ONE_USER, _START, _STALLS = "TC-LATENCY-004", "TC-LATENCY-005", "TC-LATENCY-006"

DEFECTS = (
    Defect(
        "lat.slow_one_percent",
        "One request in a hundred takes 400 ms more.",
        "Garbage collection, cache misses, a slow replica: what averages hide.",
        "P99 is high, P90 and the mean are not.",
        _LAT,
        gateway(forwarding=SlowOnePercent),
    ),
    Defect(
        "lat.slow_first_request",
        "The first request of a worker takes a second more.",
        "Lazy imports, cold pools, just-in-time compilation.",
        "The first answer after a start is slow.",
        _START,
        gateway(forwarding=SlowFirst),
    ),
    Defect(
        "lat.periodic_stall",
        "For one second in ten everything stands still.",
        "Checkpoints, compaction, CPU quotas.",
        "From intended time a tenth of all requests is slow; a closed loop hardly sees it.",
        _STALLS,
        gateway(forwarding=Stalls),
    ),
    Defect(
        "lat.serialized_by_lock",
        "All requests of one user run one after another, reads too.",
        "Session locks, as in PHP's default session handler.",
        "P99 is high for one user with many requests, low for many users.",
        _ONE_USER,
        gateway(forwarding=SerializedByUser),
    ),
    Defect(
        "lat.grows_with_time",
        "Every request takes a little longer than the one before.",
        "Lists that are searched and never shortened.",
        "Latency grows with the number of requests served.",
        _LAT,
        gateway(forwarding=GrowsWithTime),
    ),
    Defect(
        "int.rejected_trips_breaker",
        "A 429 counts as a failure of the service behind.",
        "A breaker around the limiter, or rules that call every 4xx and 5xx a failure.",
        "After 5 rejections of one client the circuit opens for all.",
        "TC-INT-003",
        gateway(chain=BreakerOutside, is_failure=_counts_rejections),
    ),
    Defect(
        "int.error_skips_limit",
        "Requests that fail are given back to the allowance.",
        "Limits that count successes only, as some limiters offer by option.",
        "Failing requests, such as guessed passwords, are never limited.",
        "TC-INT-001",
        gateway(limiting=ErrorsAreFree, limiter=Refunding),
    ),
)

"""Fixed windows in Redis: at most `limit` requests of a key in each window, over all workers together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from proofload.demo.ordersystem.common.store import Script, Store

# A window begins with the first request of its key and is gone when it ends: [start, start + window). All keys of a
# request are looked at first and spent together, so that a request refused by one limit spends nothing of another.
# Times are whole microseconds on Redis' clock, the only one that all workers share.
FIXED_WINDOWS = """
if redis.replicate_commands then redis.replicate_commands() end
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local admitted = 1
local answer = {}
for i, key in ipairs(KEYS) do
  local limit, window = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])
  local held = redis.call('HMGET', key, 'used', 'ends')
  local used, ends = tonumber(held[1]) or 0, tonumber(held[2]) or 0
  if ends <= now then used, ends = 0, now + window end
  if used >= limit then admitted = 0 end
  answer[i] = {used, ends}
end
for i, key in ipairs(KEYS) do
  local used, ends = answer[i][1], answer[i][2]
  if admitted == 1 then
    used = used + 1
    redis.call('HSET', key, 'used', used, 'ends', string.format('%.0f', ends))
    redis.call('PEXPIREAT', key, string.format('%.0f', math.ceil(ends / 1000)))
  end
  answer[i] = {used, string.format('%.0f', ends)}
end
return {admitted, string.format('%.0f', now), answer}
"""


@dataclass(frozen=True, slots=True)
class Limit:
    """A promise for one key: no more than `limit` requests a window."""

    key: str
    limit: int
    window_us: int


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided, and what the client is told about it."""

    admitted: bool
    limit: int
    remaining: int
    reset_epoch_s: int
    """The first whole second at which a request is surely admitted again."""
    retry_after_s: int


class Limiter(Protocol):
    """Decides whether a request may pass."""

    async def decide(self, limits: Sequence[Limit]) -> Decision:
        """Spend one request of every limit, or none; report the limit that has least left.

        Raise StoreDownError when it can't be told.
        """


class FixedWindows:
    """The honest limiter: one script decides and counts in one step."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.script = Script(FIXED_WINDOWS)

    async def decide(self, limits: Sequence[Limit]) -> Decision:
        """Ask Redis once for all limits of the request."""
        args = [number for limit in limits for number in (limit.limit, limit.window_us)]
        admitted, now, held = await self.store.run(self.script, [limit.key for limit in limits], args)
        states = [(limit.limit, int(used), int(ends)) for limit, (used, ends) in zip(limits, held, strict=True)]
        limit, used, ends_us = min(states, key=lambda state: (state[0] - state[1], -state[2]))
        return Decision(
            admitted=bool(admitted),
            limit=limit,
            remaining=max(0, limit - used),
            reset_epoch_s=-(-ends_us // 1_000_000),
            retry_after_s=max(1, math.ceil((ends_us - int(now)) / 1_000_000)),
        )

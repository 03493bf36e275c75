"""A circuit breaker for each service, its state in Redis, so that all workers act as one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from proofload.demo.ordersystem.common.store import Script, Store

CLOSED, OPEN, HALF_OPEN = "closed", "open", "half_open"

# Every change of state begins a new generation. The outcome of a request that was let through in an earlier one says
# nothing of the present and is not looked at; so neither late failures nor late successes disturb an open circuit.
ENTER = """
if redis.replicate_commands then redis.replicate_commands() end
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local lease = tonumber(ARGV[1])
local held = redis.call('HMGET', KEYS[1], 'state', 'until', 'trial', 'generation')
local state, till = held[1] or 'closed', tonumber(held[2]) or 0
local trial, generation = tonumber(held[3]) or 0, tonumber(held[4]) or 0
local moved = ''
if state == 'open' then
  if now < till then return {'reject', generation, string.format('%.0f', till - now), ''} end
  state, trial, generation, moved = 'half_open', 0, generation + 1, 'open half_open'
  redis.call('HSET', KEYS[1], 'state', state, 'successes', 0, 'generation', generation)
end
if state == 'half_open' then
  if now < trial then return {'reject', generation, string.format('%.0f', trial - now), moved} end
  redis.call('HSET', KEYS[1], 'trial', string.format('%.0f', now + lease))
  return {'trial', generation, '0', moved}
end
return {'pass', generation, '0', moved}
"""
LEAVE = """
if redis.replicate_commands then redis.replicate_commands() end
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local generation, outcome = tonumber(ARGV[1]), ARGV[2]
local threshold, open_us, needed = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local held = redis.call('HMGET', KEYS[1], 'state', 'failures', 'successes', 'generation')
local state, current = held[1] or 'closed', tonumber(held[4]) or 0
if generation ~= current then return '' end
local function open()
  redis.call('HSET', KEYS[1], 'state', 'open', 'until', string.format('%.0f', now + open_us), 'failures', 0,
    'successes', 0, 'trial', 0, 'generation', current + 1)
  return state .. ' open'
end
if state == 'closed' then
  local failures = tonumber(held[2]) or 0
  if outcome == 'failure' then
    if failures + 1 >= threshold then return open() end
    redis.call('HSET', KEYS[1], 'failures', failures + 1)
  elseif outcome == 'success' and failures > 0 then
    redis.call('HSET', KEYS[1], 'failures', 0)
  end
  return ''
end
if state ~= 'half_open' then return '' end
redis.call('HSET', KEYS[1], 'trial', 0)
if outcome == 'failure' then return open() end
if outcome == 'success' then
  local successes = (tonumber(held[3]) or 0) + 1
  if successes >= needed then
    redis.call('HSET', KEYS[1], 'state', 'closed', 'failures', 0, 'successes', 0, 'generation', current + 1)
    return 'half_open closed'
  end
  redis.call('HSET', KEYS[1], 'successes', successes)
end
return ''
"""


@dataclass(frozen=True, slots=True)
class BreakerRules:
    """When a circuit opens, for how long, and what closes it."""

    failures: int
    open_us: int
    successes: int
    trial_lease_us: int
    """After so long a trial whose outcome nobody reported makes room for another: its worker may be dead."""


@dataclass(frozen=True, slots=True)
class Move:
    """A change of state."""

    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Permit:
    """What the circuit says to one request."""

    admitted: bool
    generation: int
    retry_after_us: int = 0
    move: Move | None = None


class Breaker(Protocol):
    """Decides whether a service may be called, and learns from how it went."""

    async def enter(self, service: str) -> Permit:
        """Ask to call the service. Raise StoreDownError when it can't be told."""

    async def leave(self, service: str, permit: Permit, outcome: str) -> Move | None:
        """Report `success`, `failure` or `neither` of a call that was admitted."""

    async def states(self, services: tuple[str, ...]) -> dict[str, str]:
        """Return the state of each circuit."""


class RedisBreaker:
    """The honest breaker: two scripts, each one step."""

    def __init__(self, store: Store, rules: BreakerRules) -> None:
        self.store = store
        self.rules = rules
        self.enter_script = Script(ENTER)
        self.leave_script = Script(LEAVE)

    async def enter(self, service: str) -> Permit:
        """Ask Redis."""
        said, generation, wait_us, moved = await self.store.run(
            self.enter_script, [self.key(service)], [self.rules.trial_lease_us]
        )
        return Permit(said != b"reject", int(generation), int(wait_us), _move(moved))

    async def leave(self, service: str, permit: Permit, outcome: str) -> Move | None:
        """Tell Redis."""
        rules = self.rules
        args: list[str | int] = [permit.generation, outcome, rules.failures, rules.open_us, rules.successes]
        return _move(await self.store.run(self.leave_script, [self.key(service)], args))

    async def states(self, services: tuple[str, ...]) -> dict[str, str]:
        """Read the states as stored: an open circuit turns half-open with the first request after its period."""
        found = [await self.store.command("HGET", self.key(service), "state") for service in services]
        return {s: (state.decode() if state else CLOSED) for s, state in zip(services, found, strict=True)}

    def key(self, service: str) -> str:
        """Return where the state of a service's circuit lies."""
        return f"circuit:{service}"


def _move(text: bytes) -> Move | None:
    before, _, after = text.decode().partition(" ")
    return Move(before, after) if after else None

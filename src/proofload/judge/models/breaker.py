"""Circuit breaker: closed, open, half-open, as a pure step. Counts consecutive failures."""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace


class Mode(enum.Enum):
    """The three states of a circuit."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class CallOutcome(enum.Enum):
    """What a call that was let through told of the service."""

    SUCCESS = "success"
    FAILURE = "failure"
    NEITHER = "neither"
    """A 4xx, a contention: the service works, and it proves no recovery."""


@dataclass(frozen=True, slots=True)
class BreakerState:
    """A circuit at an instant. `generation` counts changes of state: older calls' outcomes say nothing any more."""

    mode: Mode = Mode.CLOSED
    count: int = 0
    """Consecutive failures while closed, successes while half-open."""
    until_ns: int = 0
    """When an open circuit may be tried again."""
    in_flight: int = 0
    """Trials that have not reported."""
    generation: int = 0


@dataclass(frozen=True, slots=True)
class Breaker:
    """The promise of a circuit breaker."""

    failures: int
    open_ns: int
    successes: int
    trials: int = 1

    def enter(self, state: BreakerState, at_ns: int) -> tuple[bool, BreakerState]:
        """Return whether a call asked for at `at_ns` is let through, and the state after it.

        >>> breaker = Breaker(failures=2, open_ns=10, successes=1)
        >>> opened = BreakerState(Mode.OPEN, until_ns=10)
        >>> breaker.enter(opened, 9)[0], breaker.enter(opened, 10)[0]
        (False, True)
        """
        if state.mode is Mode.OPEN and at_ns >= state.until_ns:
            state = BreakerState(Mode.HALF_OPEN, generation=state.generation + 1)
        if state.mode is Mode.CLOSED:
            return True, state
        if state.mode is Mode.OPEN or state.in_flight >= self.trials:
            return False, state
        return True, replace(state, in_flight=state.in_flight + 1)

    def leave(self, state: BreakerState, at_ns: int, generation: int, outcome: CallOutcome) -> BreakerState:
        """Return the state after a call, let through in `generation`, told its outcome at `at_ns`."""
        if generation != state.generation:
            return state
        opened = BreakerState(Mode.OPEN, until_ns=at_ns + self.open_ns, generation=generation + 1)
        if state.mode is Mode.HALF_OPEN:
            if outcome is CallOutcome.FAILURE:
                return opened
            count = state.count + (outcome is CallOutcome.SUCCESS)
            if count >= self.successes:
                return BreakerState(generation=generation + 1)
            return replace(state, count=count, in_flight=state.in_flight - 1)
        if outcome is CallOutcome.FAILURE:
            return opened if state.count + 1 >= self.failures else replace(state, count=state.count + 1)
        return replace(state, count=0) if outcome is CallOutcome.SUCCESS else state

"""Leaky bucket as a meter: each admission pours one in, one leaks every `window_ns / limit`, full means rejected."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True, slots=True)
class LeakyBucketState:
    """How full the bucket is at an instant."""

    level: Fraction
    at_ns: int


@dataclass(frozen=True, slots=True)
class LeakyBucket:
    """The promise: never more than `burst` in the bucket."""

    limit: int
    window_ns: int
    burst: int

    def admit(self, state: LeakyBucketState | None, at_ns: int) -> tuple[bool, LeakyBucketState]:
        """Return whether a request decided at `at_ns` is admitted, and the state after it.

        >>> model = LeakyBucket(limit=1, window_ns=10, burst=1)
        >>> model.admit(LeakyBucketState(Fraction(1), 0), 9)[0], model.admit(LeakyBucketState(Fraction(1), 0), 10)[0]
        (False, True)
        """
        level = Fraction(0)
        if state is not None:
            leaked = Fraction((at_ns - state.at_ns) * self.limit, self.window_ns)
            level = max(level, state.level - leaked)
        admitted = level + 1 <= self.burst
        return admitted, LeakyBucketState(level + 1 if admitted else level, at_ns)

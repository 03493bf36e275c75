"""Token bucket: `burst` tokens at first, one more every `window_ns / limit`, one spent for each admission."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True, slots=True)
class TokenBucketState:
    """Tokens in the bucket at an instant."""

    tokens: Fraction
    at_ns: int


@dataclass(frozen=True, slots=True)
class TokenBucket:
    """The promise: over every span, no more admissions than `burst` and what was refilled meanwhile."""

    limit: int
    window_ns: int
    burst: int

    def admit(self, state: TokenBucketState | None, at_ns: int) -> tuple[bool, TokenBucketState]:
        """Return whether a request decided at `at_ns` is admitted, and the state after it.

        >>> model = TokenBucket(limit=1, window_ns=10, burst=1)
        >>> model.admit(TokenBucketState(Fraction(0), 0), 9)[0], model.admit(TokenBucketState(Fraction(0), 0), 10)[0]
        (False, True)
        """
        tokens = Fraction(self.burst)
        if state is not None:
            refilled = state.tokens + Fraction((at_ns - state.at_ns) * self.limit, self.window_ns)
            tokens = min(tokens, refilled)
        admitted = tokens >= 1
        return admitted, TokenBucketState(tokens - 1 if admitted else tokens, at_ns)

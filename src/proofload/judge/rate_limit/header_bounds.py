"""One key's answers beside what an honest limiter can have said on each: what every check of headers starts from."""

from __future__ import annotations

from dataclasses import dataclass

from proofload.judge.models.attempts import Flags, Ints
from proofload.judge.rate_limit.context import Keyed, RateLimitContext
from proofload.judge.rate_limit.models import tell


@dataclass(frozen=True, slots=True)
class ToldKey:
    """One key's answered attempts that passed the limiter, beside what an honest limiter can have said on each."""

    key: str
    rows: Ints
    rejected: Flags
    sent_ns: Ints
    done_ns: Ints
    remaining_lo: Ints
    remaining_hi: Ints
    end_lo_ns: Ints
    end_hi_ns: Ints
    window: Ints


def tell_key(scene: RateLimitContext, keyed: Keyed) -> ToldKey:
    """Return a key's answers that passed the limiter, with the bounds that the model sets for them."""
    attempts = keyed.attempts
    bounds = tell(scene, attempts)
    use = attempts.admitted | attempts.rejected
    return ToldKey(
        keyed.key,
        attempts.row[use],
        attempts.rejected[use],
        attempts.sent_ns[use],
        attempts.done_ns[use],
        bounds.remaining_lo[use],
        bounds.remaining_hi[use],
        bounds.end_lo_ns[use],
        bounds.end_hi_ns[use],
        bounds.window[use],
    )

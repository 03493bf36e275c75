"""One key's answers beside what an honest limiter can have said on each: what every check of headers starts from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

import numpy as np

from proofload.judge.models.attempts import Flags, Ints
from proofload.judge.rate_limit.conjunction import explained_by_others
from proofload.judge.rate_limit.context import Keyed, RateLimitContext, by_key, covered
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

    def only(self, chosen: Flags) -> ToldKey:
        """Return the answers that a mask chooses."""
        columns = {one.name: getattr(self, one.name)[chosen] for one in fields(self) if one.name != "key"}
        return replace(self, **columns)


def told_of(scene: RateLimitContext, rows: Ints) -> Iterator[ToldKey]:
    """Yield each key's answers that speak of this limit, where others are declared that they may speak of instead."""
    if not scene.also:
        yield from (tell_key(scene, keyed) for keyed in by_key(scene, rows))
        return
    counting = replace(scene, unsure=rows[explained_by_others(scene, rows)])
    for keyed in by_key(counting, rows):
        told = tell_key(counting, keyed)
        yield told.only(_speak_of_this(scene, told.rows))


def _speak_of_this(scene: RateLimitContext, rows: Ints) -> Flags:
    """Return which answers name this limit and no other one that covers them."""
    name, mine = scene.policy.headers.limit, scene.policy
    others = [(one, covered(scene, one, rows)) for one in scene.also]
    alone = ~np.any([covers for _, covers in others], axis=0)
    if name is None:
        return np.asarray(alone, dtype=np.bool_)
    named = scene.fields.names_limit(name, mine.window, mine.told_limits, rows)
    for one, covers in others:
        named &= ~(covers & scene.fields.names_limit(name, one.window, one.told_limits, rows))
    return np.asarray(alone | named, dtype=np.bool_)


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

"""Sliding window counter: this window's admissions, and the last one's by the share of it that is still in view.

What the share is rounded to differs between implementations, so bounds leave one request of room where it matters.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from proofload.judge.models.attempts import FAR_NS, AttemptKind, Attempts, Broken, Examined, HeaderBounds, Ints, Slack
from proofload.judge.models.clock_window import Grid, Placed, early, fullest

_HAIR = 1e-6

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SlidingCounterState:
    """Admissions of the window `number` and of the one before it."""

    number: int
    before: int
    count: int


@dataclass(frozen=True, slots=True)
class SlidingWindowCounter:
    """The promise: the weighed count of two adjacent windows stays within `limit`."""

    limit: int
    window_ns: int
    phase_ns: int = 0

    def admit(self, state: SlidingCounterState | None, at_ns: int) -> tuple[bool, SlidingCounterState]:
        """Return whether a request decided at `at_ns` is admitted, and the state after it.

        >>> model = SlidingWindowCounter(4, 10)
        >>> model.admit(SlidingCounterState(0, 0, 4), 14)[0], model.admit(SlidingCounterState(0, 0, 4), 15)[0]
        (True, True)
        >>> model.admit(SlidingCounterState(0, 0, 4), 12)[0]
        False
        """
        number, into_ns = divmod(at_ns - self.phase_ns, self.window_ns)
        state = state or SlidingCounterState(number, 0, 0)
        if number == state.number:
            before, count = state.before, state.count
        else:
            before, count = (state.count if number == state.number + 1 else 0), 0
        used = Fraction(before * (self.window_ns - into_ns), self.window_ns) + count
        admitted = used + 1 <= self.limit
        return admitted, SlidingCounterState(number, before, count + admitted)


def _used(placed: Placed, at: Ints, number: Ints) -> tuple[Floats, Floats]:
    """Return bounds of what is used up when the attempts `at` are decided in window `number`, themselves left out."""
    attempts, grid = placed.attempts, placed.grid
    start = grid.start(number)
    sent, done = attempts.sent_ns[at], attempts.done_ns[at]
    out_lo = np.clip((sent - grid.error_ns - start) / grid.window_ns, 0.0, 1.0)
    out_hi = np.clip((done + grid.error_ns - start) / grid.window_ns, 0.0, 1.0)
    least = placed.surely_in(number - 1) * (1 - out_hi) + placed.surely_before(number, sent)
    far = np.full(len(at), FAR_NS, dtype=np.int64)
    most = placed.possibly_upto(number - 1, far) * (1 - out_lo) + placed.possibly_upto(number, done)
    # A request that may have been counted is among those possibly counted up to its own end.
    return least, most - (attempts.kind[at] != AttemptKind.REJECTED)


def examine(
    model: SlidingWindowCounter, attempts: Attempts, slack: Slack, error_ns: int, first: int | None = None
) -> Examined:
    """Hold attempts against a sliding window counter; `first` numbers the window that the key's first request began."""
    limit = model.limit
    placed = Placed(attempts, Grid(model.window_ns, model.phase_ns, error_ns + slack.clock_ns, first))
    _, granted = fullest(placed.low[placed.admitted_sure])
    _, tried = fullest(placed.low[placed.sure & (attempts.kind != AttemptKind.UNSURE)])
    certain = np.flatnonzero(placed.admitted_sure)
    overs = certain[_used_by_the_last(placed, certain) >= limit + _HAIR]
    crowded = _crowded(placed, limit)
    over = _over(placed, overs, limit) if len(overs) else crowded
    rejected = np.flatnonzero(attempts.rejected)
    most = np.maximum(*(_used(placed, rejected, where[rejected])[1] for where in (placed.low, placed.high)))
    lone = np.maximum(*(_last_window(placed, where[rejected]) for where in (placed.low, placed.high))) == 0
    room = np.where(lone, 1, 2)
    wrong = (most + room <= limit + _HAIR) & (placed.high - placed.low <= 1)[rejected]
    wrong &= ~placed.foreign(placed.low[rejected] - 1)
    wrongs = rejected[wrong]
    wrongful = early(attempts, placed, int(wrongs[0]), int(most[wrong][0]), limit) if len(wrongs) else None
    return Examined(over, wrongful, tried, limit + 1, granted, limit, max(len(overs), crowded is not None), len(wrongs))


def _used_by_the_last(placed: Placed, at: Ints) -> Floats:
    """Return the least that was used up when the last was decided of all that surely were by the ends of `at`.

    Whichever of them it was: all the others lie before it, also where they were sent at once.
    """
    number, done = placed.low[at], placed.attempts.done_ns[at]
    out_hi = np.clip((done + placed.grid.error_ns - placed.grid.start(number)) / placed.grid.window_ns, 0.0, 1.0)
    others = placed.surely_before(number, done + 1) - 1
    return np.asarray(placed.surely_in(number - 1) * (1 - out_hi) + others)


def _last_window(placed: Placed, number: Ints) -> Ints:
    return placed.possibly_upto(number - 1, np.full(len(number), FAR_NS, dtype=np.int64))


def _crowded(placed: Placed, limit: int) -> Broken | None:
    """Return a single window with more admissions than the limit, which no weight can excuse."""
    number, count = fullest(placed.sure_numbers)
    if count <= limit:
        return None
    members = np.flatnonzero(placed.admitted_sure & (placed.low == number))
    chosen = members[np.argsort(placed.attempts.done_ns[members], kind="stable")][: limit + 1]
    return _broken(placed.attempts, chosen, limit, count)


def _over(placed: Placed, overs: Ints, limit: int) -> Broken:
    """Return an admission at a time when the limit was surely used up, with those that used it up."""
    attempts, at = placed.attempts, int(overs[0])
    number = placed.low[at]
    used = placed.admitted_sure & ((placed.low == number - 1) | (placed.low == number))
    used &= (attempts.done_ns <= attempts.done_ns[at]) | (placed.low == number - 1)
    used[at] = False
    chosen = np.append(np.flatnonzero(used), at)
    return _broken(attempts, chosen, limit, limit + 1)


def _broken(attempts: Attempts, chosen: Ints, limit: int, counted: int) -> Broken:
    rows = tuple(int(row) for row in attempts.row[chosen])
    from_ns, to_ns = int(attempts.sent_ns[chosen].min()), int(attempts.done_ns[chosen].max())
    return Broken(rows, rows[-1], limit, counted, from_ns, to_ns)


def tell(
    model: SlidingWindowCounter, attempts: Attempts, slack: Slack, error_ns: int, first: int | None = None
) -> HeaderBounds:
    """Return what `Remaining` can have been for each attempt, and when its window ends."""
    grid = Grid(model.window_ns, model.phase_ns, error_ns + slack.clock_ns, first)
    placed = Placed(attempts, grid)
    every = np.arange(len(attempts))
    (low_least, low_most), (high_least, high_most) = (_used(placed, every, at) for at in (placed.low, placed.high))
    least, most = np.minimum(low_least, high_least), np.maximum(low_most, high_most)
    unknown = (placed.high - placed.low > 1) | placed.foreign(placed.low - 1)
    least = np.where(placed.sure, least, 0)
    rejected = attempts.rejected
    # Up and down by one: whether a fraction of a request is told as one differs.
    high = np.clip(np.ceil(model.limit - least - _HAIR), 0, model.limit)
    low = np.clip(np.floor(model.limit - most - 2), 0, model.limit)
    return HeaderBounds(
        np.where(rejected | unknown, 0, low).astype(np.int64),
        np.where(rejected, 0, high).astype(np.int64),
        attempts.sent_ns.copy(),
        grid.start(placed.high + 2) + error_ns,
        np.full(len(attempts), -1, dtype=np.int64),
    )

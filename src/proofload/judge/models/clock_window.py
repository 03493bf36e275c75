"""Windows that begin at known instants of a clock: the bounds for fixed windows and for the sliding window counter.

Every request lies in one numbered window, or in one of a few where its interval (widened by what the two clocks may
differ) crosses an edge. Everything is counted with sorts and searches, so the cost is n log n and in practice linear.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from proofload.judge.models.attempts import AttemptKind, Attempts, Broken, Examined, Flags, HeaderBounds, Ints, Slack
from proofload.judge.models.fixed_window import FixedWindow


@dataclass(frozen=True, slots=True)
class Grid:
    """Windows of `window_ns` that begin at `phase_ns` + any multiple, give or take `error_ns`."""

    window_ns: int
    phase_ns: int
    error_ns: int
    first: int | None = None
    """The number of the first window, where none lies before it: a fresh key's own first request began it."""

    def earliest(self, instants_ns: Ints) -> Ints:
        """Return the earliest window that an instant can lie in."""
        numbers = np.floor_divide(instants_ns - self.error_ns - self.phase_ns, self.window_ns)
        return numbers if self.first is None else np.maximum(numbers, self.first)

    def latest(self, instants_ns: Ints) -> Ints:
        """Return the latest window that an instant can lie in."""
        numbers = np.floor_divide(instants_ns + self.error_ns - self.phase_ns, self.window_ns)
        return numbers if self.first is None else np.maximum(numbers, self.first)

    def start(self, numbers: Ints) -> Ints:
        """Return when windows begin, in the middle of the error."""
        return np.asarray(numbers * self.window_ns + self.phase_ns)


class Placed:
    """Attempts placed on a grid, with what can be counted in each window."""

    def __init__(self, attempts: Attempts, grid: Grid) -> None:
        self.attempts, self.grid = attempts, grid
        self.low, self.high = grid.earliest(attempts.sent_ns), grid.latest(attempts.done_ns)
        self.sure = self.low == self.high
        counted = attempts.kind != AttemptKind.REJECTED
        self.counted_sent, self.counted_done = attempts.sent_ns[counted], np.sort(attempts.done_ns[counted])
        self.admitted_sure = self.sure & attempts.admitted
        self.sure_numbers = np.sort(self.low[self.admitted_sure])
        self.sure_done = np.sort(attempts.done_ns[self.admitted_sure])

    def surely_in(self, numbers: Ints) -> Ints:
        """Return how many admissions surely lie in each window."""
        right = np.searchsorted(self.sure_numbers, numbers, side="right")
        return np.asarray(right - np.searchsorted(self.sure_numbers, numbers), dtype=np.int64)

    def surely_before(self, numbers: Ints, instants_ns: Ints) -> Ints:
        """Return how many admissions surely lie in the window, and before an instant in it."""
        # Those of earlier windows are all done before this window's requests were sent: count and take them off.
        upto = np.searchsorted(self.sure_done, instants_ns)
        return np.asarray(np.maximum(0, upto - np.searchsorted(self.sure_numbers, numbers)), dtype=np.int64)

    def possibly_upto(self, numbers: Ints, instants_ns: Ints) -> Ints:
        """Return how many admissions can lie in the window at the most, up to an instant."""
        last = self.grid.start(numbers + 1) + self.grid.error_ns
        upto = np.searchsorted(self.counted_sent, np.minimum(instants_ns, last), side="right")
        first = self.grid.start(numbers) - self.grid.error_ns
        most = np.asarray(upto - np.searchsorted(self.counted_done, first), dtype=np.int64)
        return most if self.grid.first is None else np.where(numbers < self.grid.first, 0, most)

    def foreign(self, numbers: Ints) -> Flags:
        """Return where a window may hold admissions from before the history."""
        if self.attempts.fresh:
            return np.zeros(len(numbers), dtype=np.bool_)
        return np.asarray(numbers <= self.grid.latest(self.attempts.sent_ns[:1])[0])


def fullest(numbers: Ints) -> tuple[int, int]:
    """Return the window that holds the most, and how many; (0, 0) of none."""
    if not len(numbers):
        return 0, 0
    windows, counts = np.unique(numbers, return_counts=True)
    best = int(np.argmax(counts))
    return int(windows[best]), int(counts[best])


def examine_clock(model: FixedWindow, attempts: Attempts, slack: Slack, error_ns: int) -> Examined:
    """Hold attempts against fixed windows on a clock."""
    limit = model.limit
    placed = Placed(attempts, Grid(model.window_ns, model.phase_ns or 0, error_ns + slack.clock_ns))
    _, granted = fullest(placed.low[placed.admitted_sure])
    _, tried = fullest(placed.low[placed.sure & (attempts.kind != AttemptKind.UNSURE)])
    windows, counts = np.unique(placed.sure_numbers, return_counts=True)
    overrun = windows[counts > limit]
    over = None
    if len(overrun):
        members = np.flatnonzero(placed.admitted_sure & (placed.low == overrun[0]))
        over = first_too_many(attempts, members, limit)
    wrongs, most = wrong_rejections(placed, limit)
    wrongful = early(attempts, placed, int(wrongs[0]), int(most[0]), limit) if len(wrongs) else None
    return Examined(over, wrongful, tried, limit + 1, granted, limit, len(overrun), len(wrongs))


def wrong_rejections(placed: Placed, limit: int) -> tuple[Ints, Ints]:
    """Return the places of rejections that no window they can lie in explains, and the most counted against each."""
    rejected = np.flatnonzero(placed.attempts.rejected)
    done, low, high = placed.attempts.done_ns[rejected], placed.low[rejected], placed.high[rejected]
    most = np.maximum(placed.possibly_upto(low, done), placed.possibly_upto(high, done))
    # One that crosses more than one edge can lie in windows that were not looked at.
    wrong = (most < limit) & (high - low <= 1) & ~placed.foreign(low)
    return rejected[wrong], most[wrong]


def first_too_many(attempts: Attempts, members: Ints, limit: int) -> Broken:
    """Return the `limit` + 1 members that were answered first."""
    chosen = members[np.argsort(attempts.done_ns[members], kind="stable")][: limit + 1]
    rows = tuple(int(row) for row in attempts.row[chosen])
    from_ns, to_ns = int(attempts.sent_ns[chosen].min()), int(attempts.done_ns[chosen].max())
    return Broken(rows, rows[-1], limit, len(members), from_ns, to_ns)


def early(attempts: Attempts, placed: Placed, place: int, counted: int, limit: int) -> Broken:
    """Return a rejection with the admissions that can have counted against it."""
    low, high = int(placed.low[place]), int(placed.high[place])
    near = (attempts.kind != AttemptKind.REJECTED) & (attempts.sent_ns <= attempts.done_ns[place])
    near &= (placed.high >= low) & (placed.low <= high)
    rows = (*(int(row) for row in attempts.row[near][:limit]), int(attempts.row[place]))
    start = int(placed.grid.start(np.array([low]))[0])
    return Broken(rows, rows[-1], limit, counted, start, int(attempts.done_ns[place]))


def tell_clock(model: FixedWindow, attempts: Attempts, slack: Slack, error_ns: int) -> HeaderBounds:
    """Return what `Remaining` and the window's end can have been for each attempt."""
    grid = Grid(model.window_ns, model.phase_ns or 0, error_ns + slack.clock_ns)
    placed = Placed(attempts, grid)
    before = np.where(placed.sure, placed.surely_before(placed.low, attempts.sent_ns), 0)
    upto = np.maximum(
        placed.possibly_upto(placed.low, attempts.done_ns), placed.possibly_upto(placed.high, attempts.done_ns)
    )
    unknown = placed.foreign(placed.low) | (placed.high - placed.low > 1)
    rejected = attempts.rejected
    return HeaderBounds(
        np.where(rejected | unknown, 0, np.maximum(0, model.limit - upto)).astype(np.int64),
        np.where(rejected, 0, np.maximum(0, model.limit - 1 - before)).astype(np.int64),
        grid.start(placed.low + 1) - error_ns,
        grid.start(placed.high + 1) + error_ns,
        np.where(placed.sure, placed.low, -1),
    )

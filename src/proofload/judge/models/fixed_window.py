"""Fixed windows: at most `limit` admissions in each, begun by a key's first request or by the clock.

The step is the definition. `Walk` decides on intervals: it assumes an honest limiter, follows how early and how late
each window can begin, and reports what no honest limiter could have answered. Everything that it concludes from the
assumption only narrows bounds, so a wider interval never makes an accusation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from proofload.judge.models.attempts import (
    FAR_NS,
    AttemptKind,
    Attempts,
    Broken,
    Examined,
    HeaderBounds,
    Ints,
    Slack,
    suffix_min,
)


@dataclass(frozen=True, slots=True)
class FixedWindowState:
    """The running window of one key."""

    start_ns: int
    count: int


@dataclass(frozen=True, slots=True)
class FixedWindow:
    """The promise: `limit` admissions in each window of `window_ns`; `phase_ns` is an edge of windows on a clock."""

    limit: int
    window_ns: int
    phase_ns: int | None = None
    """An instant at which a window begins, for windows aligned to a clock; None: a key's first request begins one."""

    def admit(self, state: FixedWindowState | None, at_ns: int) -> tuple[bool, FixedWindowState]:
        """Return whether a request decided at `at_ns` is admitted, and the state after it.

        >>> used_up = FixedWindowState(0, 1)
        >>> FixedWindow(1, 10).admit(used_up, 9)[0], FixedWindow(1, 10).admit(used_up, 10)[0]
        (False, True)
        """
        if self.phase_ns is None:
            start_ns = at_ns if state is None or at_ns >= state.start_ns + self.window_ns else state.start_ns
        else:
            start_ns = at_ns - (at_ns - self.phase_ns) % self.window_ns
        count = state.count if state is not None and state.start_ns == start_ns else 0
        admitted = count < self.limit
        return admitted, FixedWindowState(start_ns, count + admitted)


@dataclass(slots=True)
class Window:
    """How early and how late one window can begin and end, and what surely lies in it."""

    start_lo: int
    start_hi: int
    end_lo: int
    end_hi: int
    sure_from: int
    """A request sent at or after this was surely not decided before the window began."""
    foreign: int = 0
    """Admissions that it may hold from before the history."""


class Walk:
    """Follows the windows of one key whose first request begins each of them."""

    def __init__(self, model: FixedWindow, attempts: Attempts, slack: Slack) -> None:
        self.model, self.attempts = model, attempts
        self.shortest = model.window_ns - slack.window_ns
        self.longest = model.window_ns + slack.window_ns
        sent, done, kind = attempts.sent_ns, attempts.done_ns, attempts.kind
        admitted, rejected, sure = (
            kind == AttemptKind.ADMITTED,
            kind == AttemptKind.REJECTED,
            kind != AttemptKind.UNSURE,
        )
        counted = ~rejected
        self.adm_sent, self.adm_done, self.adm_row = sent[admitted], done[admitted], attempts.row[admitted]
        self.adm_done_from = suffix_min(self.adm_done)
        self.rej_sent, self.rej_done, self.rej_row = sent[rejected], done[rejected], attempts.row[rejected]
        self.rej_done_to = np.maximum.accumulate(self.rej_done) if len(self.rej_done) else self.rej_done
        self.sure_sent, self.sure_done = sent[sure], done[sure]
        self.sure_done_from = suffix_min(self.sure_done)
        self.cnt_sent, self.cnt_done = sent[counted], np.sort(done[counted])
        by_done = np.argsort(done, kind="stable")
        self.all_done = done[by_done]
        self.all_sent_from = suffix_min(sent[by_done])

    def windows(self) -> Iterator[Window]:
        """Yield the windows in order, each with bounds that hold for every honest limiter."""
        first_sent, first_done = int(self.attempts.sent_ns[0]), int(self.sure_done_from[0])
        if self.attempts.fresh:
            window = Window(first_sent, first_done, 0, 0, sure_from=-FAR_NS)
        else:
            # A window may be running, with anything spent in it.
            window = Window(first_sent - self.longest, first_done, 0, 0, first_done, foreign=self.model.limit)
        while True:
            window.end_lo, window.end_hi = window.start_lo + self.shortest, _plus(window.start_hi, self.longest)
            self._narrow(window)
            yield window
            place = int(np.searchsorted(self.all_done, window.end_lo))
            if place == len(self.all_done):
                return
            start_lo = max(window.end_lo, int(self.all_sent_from[place]))
            start_hi = int(self.sure_done_from[np.searchsorted(self.sure_sent, window.end_hi)])
            start_hi = min(start_hi, self._first_beyond_full(window))
            window = Window(start_lo, max(start_lo, start_hi), 0, 0, sure_from=min(window.end_hi, start_hi))

    def members(self, window: Window, sent: Ints, done: Ints) -> Ints:
        """Return the places (in `sent`) of the requests that were surely decided inside the window."""
        low, high = np.searchsorted(sent, (window.sure_from, window.end_lo))
        return np.asarray(low + np.flatnonzero(done[low:high] < window.end_lo), dtype=np.int64)

    def possible_before(self, window: Window, done_ns: Ints) -> Ints:
        """Return how many admissions the window can have held at most, up to an instant `done_ns` in it."""
        upto = np.searchsorted(self.cnt_sent, np.minimum(done_ns, window.end_hi), side="right")
        return np.asarray(upto - np.searchsorted(self.cnt_done, window.start_lo) + window.foreign, dtype=np.int64)

    def rejections(self, window: Window) -> slice:
        """Return the slice of rejections that the window can hold."""
        low = int(np.searchsorted(self.rej_done_to, window.start_lo))
        return slice(low, max(low, int(np.searchsorted(self.rej_sent, window.end_hi))))

    def _first_beyond_full(self, window: Window) -> int:
        """Return the earliest sure end of an admission that the window, surely full, can't have held."""
        places = self.members(window, self.adm_sent, self.adm_done)
        if len(places) != self.model.limit:
            return FAR_NS
        full_ns = int(self.adm_done[places].max())
        return int(self.adm_done_from[np.searchsorted(self.adm_sent, full_ns, side="right")])

    def _narrow(self, window: Window) -> None:
        """Conclude from admissions after the limit, and from rejections, when an honest window must have ended."""
        window.end_hi = max(window.end_lo, min(window.end_hi, self._first_beyond_full(window)))
        for _ in range(3):
            low, high = np.searchsorted(self.rej_sent, (window.end_lo, window.end_hi))
            if low >= high:
                break
            # A later window can't have been full by then, so this rejection still belongs to the window.
            later = np.searchsorted(self.cnt_sent, self.rej_done[low:high], side="right")
            later = later - np.searchsorted(self.cnt_done, window.end_lo)
            belongs = np.flatnonzero(later < self.model.limit)
            if not len(belongs):
                break
            window.end_lo = max(window.end_lo, int(self.rej_sent[low + belongs[-1]]))
        window.start_lo = max(window.start_lo, window.end_lo - self.longest)
        window.start_hi = max(window.start_lo, min(window.start_hi, window.end_hi - self.shortest))
        if window.sure_from > -FAR_NS:
            window.sure_from = min(window.sure_from, window.start_hi)


def _plus(instant_ns: int, duration_ns: int) -> int:
    return FAR_NS if instant_ns >= FAR_NS else instant_ns + duration_ns


def examine_first_request(model: FixedWindow, attempts: Attempts, slack: Slack) -> Examined:
    """Hold attempts against windows that a key's first request begins; linear but for the sorting."""
    limit = model.limit
    if not np.any(attempts.kind != AttemptKind.UNSURE):
        return Examined(None, None, 0, limit + 1, 0, limit)
    walk = Walk(model, attempts, slack)
    right = np.zeros(len(walk.rej_row), dtype=np.bool_)
    most = np.zeros(len(walk.rej_row), dtype=np.int64)
    over: Broken | None = None
    overs = tried = granted = 0
    last = None
    for window in walk.windows():
        places = walk.members(window, walk.adm_sent, walk.adm_done)
        granted = max(granted, len(places))
        tried = max(tried, len(walk.members(window, walk.sure_sent, walk.sure_done)))
        if len(places) > limit:
            overs += 1
            over = over or _too_many(walk, places, limit)
        chosen = walk.rejections(window)
        possible = walk.possible_before(window, walk.rej_done[chosen])
        here = walk.rej_done[chosen] >= window.start_lo
        most[chosen] = np.maximum(most[chosen], np.where(here, possible, 0))
        right[chosen] |= here & (possible >= limit)
        last = window
    assert last is not None
    if over is None:
        over = _beyond_two(walk, limit)
        overs += over is not None
    wrong = np.flatnonzero(~right)
    wrongful = _too_early(walk, int(wrong[0]), int(most[wrong[0]]), limit) if len(wrong) else None
    return Examined(over, wrongful, tried, limit + 1, granted, limit, overs, len(wrong))


def _too_many(walk: Walk, places: Ints, limit: int) -> Broken:
    """Return the `limit` + 1 admissions of a window that were answered first: no smaller set shows it."""
    by_done = places[np.argsort(walk.adm_done[places], kind="stable")][: limit + 1]
    rows = walk.adm_row[by_done]
    from_ns, to_ns = int(walk.adm_sent[by_done].min()), int(walk.adm_done[by_done].max())
    return Broken(tuple(int(row) for row in rows), int(rows[-1]), limit, len(places), from_ns, to_ns)


def _beyond_two(walk: Walk, limit: int) -> Broken | None:
    """Return more admissions inside less than a window's length than two windows hold: wherever windows begin.

    Each begins at least a window's length after the one before, so no shorter span can touch three of them.
    """
    by_done = np.argsort(walk.adm_done, kind="stable")
    done = walk.adm_done[by_done]
    # Of those that were answered by `done`, at most as many as were sent before the span can lie outside it.
    inside = np.arange(1, len(done) + 1) - np.searchsorted(walk.adm_sent, done - walk.shortest, side="right")
    found = np.flatnonzero(inside > 2 * limit)
    if not len(found):
        return None
    end_ns = int(done[found[0]])
    places = np.flatnonzero((walk.adm_done <= end_ns) & (walk.adm_sent > end_ns - walk.shortest))
    broken = _too_many(walk, places, 2 * limit)
    return Broken(broken.rows, broken.culprit, 2 * limit, len(places), broken.from_ns, broken.to_ns)


def _too_early(walk: Walk, place: int, possible: int, limit: int) -> Broken:
    """Return a rejection with every admission that could have counted against it within a window's length."""
    sent_ns, done_ns = int(walk.rej_sent[place]), int(walk.rej_done[place])
    attempts = walk.attempts
    near = (attempts.kind != AttemptKind.REJECTED) & (attempts.sent_ns <= done_ns)
    near &= attempts.done_ns >= sent_ns - walk.longest
    rows = (*(int(row) for row in attempts.row[near][:limit]), int(walk.rej_row[place]))
    return Broken(rows, rows[-1], limit, possible, sent_ns - walk.model.window_ns, done_ns)


def tell_first_request(model: FixedWindow, attempts: Attempts, slack: Slack) -> HeaderBounds:
    """Return what `Remaining` and the window's end can have been for each attempt."""
    count = len(attempts)
    told = HeaderBounds(
        np.full(count, model.limit, dtype=np.int64),
        np.full(count, -1, dtype=np.int64),
        np.full(count, FAR_NS, dtype=np.int64),
        np.full(count, -FAR_NS, dtype=np.int64),
        np.full(count, -1, dtype=np.int64),
    )
    if not np.any(attempts.kind != AttemptKind.UNSURE):
        return told
    walk = Walk(model, attempts, slack)
    done_to = np.maximum.accumulate(attempts.done_ns)
    rejected = attempts.rejected
    for number, window in enumerate(walk.windows()):
        low = int(np.searchsorted(done_to, window.start_lo))
        high = max(low, int(np.searchsorted(attempts.sent_ns, window.end_hi)))
        near = np.arange(low, high)
        near = near[attempts.done_ns[near] >= window.start_lo]
        sure_done = np.sort(walk.adm_done[walk.members(window, walk.adm_sent, walk.adm_done)])
        before = np.searchsorted(sure_done, attempts.sent_ns[near])
        upto = walk.possible_before(window, attempts.done_ns[near])
        # A rejection leaves the count alone: Remaining is 0 there, whatever the bounds on the count.
        # So does an admission beyond the limit, which is another rule's business.
        most = np.where(rejected[near], 0, np.maximum(0, model.limit - 1 - before))
        least = np.where(rejected[near], 0, np.maximum(0, model.limit - upto))
        told.remaining_lo[near] = np.minimum(told.remaining_lo[near], least)
        told.remaining_hi[near] = np.maximum(told.remaining_hi[near], most)
        told.end_lo_ns[near] = np.minimum(told.end_lo_ns[near], window.end_lo)
        told.end_hi_ns[near] = np.maximum(told.end_hi_ns[near], window.end_hi)
        told.window[walk.members(window, attempts.sent_ns, attempts.done_ns)] = number
    return told

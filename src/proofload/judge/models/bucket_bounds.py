"""Bounds for token bucket, GCRA and leaky bucket: three ways to write one promise, `burst` and a steady refill.

Everything is counted in nanoseconds of refill: an admission costs one interval, the bucket holds `burst` intervals.
With N(u, t) admissions in [u, t], the bucket holds the least over u ≤ t of burst + (t − u) − N(u, t); more admissions
can only lower it, so the most that can have been gives its least, and the fewest that must have been gives its most.
Floats: instants are taken from the first one, so their error stays far below a microsecond, which is allowed for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from proofload.judge.models.attempts import AttemptKind, Attempts, Broken, Examined, HeaderBounds, Ints, Slack

Floats = NDArray[np.float64]

_RATE_ERROR = 1e-3
"""How far the refill of an honest limiter may be off: its clock, and whole milliseconds."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """What the three models promise, in nanoseconds of refill."""

    interval_ns: float
    burst: int

    @property
    def size_ns(self) -> float:
        """Return what a full bucket holds."""
        return self.burst * self.interval_ns


class _Fill:
    """Attempts in time order, with what the bucket can have held."""

    def __init__(self, bucket: Bucket, attempts: Attempts, slack: Slack) -> None:
        self.bucket, self.attempts = bucket, attempts
        self.zero = int(attempts.sent_ns[0])
        self.stray_ns = slack.fraction * bucket.interval_ns + 2 * slack.clock_ns + 1_000
        self.sent, self.done = self._from_zero(attempts.sent_ns), self._from_zero(attempts.done_ns)

    def _from_zero(self, instants_ns: Ints) -> Floats:
        return np.asarray(instants_ns - self.zero, dtype=np.float64)

    def spent(self, chosen: NDArray[np.bool_]) -> tuple[Floats, Floats, Floats, Ints]:
        """Return, by end: the most spent beyond refill in a span that ends there, its begin, its end, its place."""
        cost, rate = self.bucket.interval_ns, 1 + _RATE_ERROR
        begins, ends = self.sent[chosen], np.sort(self.done[chosen])
        count = np.arange(len(begins))
        opened = count * cost - begins * rate
        least, where = _running_min(opened)
        closed = (count + 1) * cost - ends * rate
        place = np.searchsorted(begins, ends, side="right") - 1
        return closed - least[place], begins[where[place]], ends, where[place]

    def least_left(self, at: Ints) -> Floats:
        """Return the least that the bucket can have held when the attempts `at` were decided, after themselves."""
        cost, rate = self.bucket.interval_ns, 1 - _RATE_ERROR
        counted = self.attempts.kind != AttemptKind.REJECTED
        begins, ends = self.sent[counted], np.sort(self.done[counted])
        upto = np.searchsorted(begins, self.done[at], side="right") * cost
        sent = self.sent[at]
        # Refill may be short by the stray, but never negative: it is left out where there is less of it than that.
        older = np.searchsorted(ends, sent - self.stray_ns / rate)
        now = self.bucket.size_ns + older * cost - upto
        if len(ends):
            lowest, _ = _running_min(np.arange(len(ends)) * cost - ends * rate)
            earlier = self.bucket.size_ns + sent * rate - self.stray_ns + lowest[np.maximum(older - 1, 0)] - upto
            now = np.where(older > 0, np.minimum(now, earlier), now)
        if not self.attempts.fresh:
            # Nothing may have been left when the history began.
            now = np.minimum(now, sent * rate - self.stray_ns - upto)
        return np.asarray(now)

    def most_left(self, at: Ints) -> Floats:
        """Return the most that the bucket can have held when the attempts `at` were decided, before themselves."""
        cost, rate = self.bucket.interval_ns, 1 + _RATE_ERROR
        admitted = self.attempts.admitted
        begins, ends = self.sent[admitted], np.sort(self.done[admitted])
        most = np.full(len(at), self.bucket.size_ns)
        if len(begins):
            # N(u, ·) is at least (ended before it was sent) − (begun before u), with u at each begin.
            lowest, _ = _running_min(np.arange(len(begins)) * cost - begins * rate)
            place = np.searchsorted(begins, self.sent[at], side="right") - 1
            left = self.bucket.size_ns + self.done[at] * rate + lowest[np.maximum(place, 0)]
            left = left - np.searchsorted(ends, self.sent[at]) * cost
            most = np.where(place >= 0, np.minimum(most, left), most)
        return np.asarray(most)


def _running_min(values: Floats) -> tuple[Floats, Ints]:
    """Return the least value so far at each place, and where it stands."""
    least = np.minimum.accumulate(values)
    where = np.maximum.accumulate(np.where(values == least, np.arange(len(values)), 0))
    return least, where


def examine(bucket: Bucket, attempts: Attempts, slack: Slack) -> Examined:
    """Hold attempts against a bucket."""
    fill = _Fill(bucket, attempts, slack)
    admitted, answered = attempts.admitted, attempts.kind != AttemptKind.UNSURE
    over: Broken | None = None
    granted = overs = 0
    if np.any(admitted):
        spent, from_, to, _ = fill.spent(admitted)
        # Whoever drained the bucket left less than one token: the last one begun counts.
        granted = int(max(0.0, float(spent.max()) / bucket.interval_ns)) + 1
        broken = np.flatnonzero(spent > bucket.size_ns + fill.stray_ns)
        overs = len(broken)
        if overs:
            over = _over(fill, float(from_[broken[0]]), float(to[broken[0]]))
    tried, needed = _tried(fill, answered)
    rejected = np.flatnonzero(attempts.rejected)
    left = fill.least_left(rejected)
    wrong = left >= bucket.interval_ns - 1
    wrongs = rejected[wrong]
    wrongful = _early(fill, int(wrongs[0]), float(left[wrong][0])) if len(wrongs) else None
    return Examined(over, wrongful, tried, needed, granted, bucket.burst, overs, len(wrongs))


def could_be_empty(bucket: Bucket, attempts: Attempts, slack: Slack) -> NDArray[np.bool_]:
    """Return which attempts can have found less than one token, where every other one may have spent one."""
    unsure = np.full(len(attempts), AttemptKind.UNSURE, dtype=np.uint8)
    fill = _Fill(bucket, replace(attempts, kind=unsure), slack)
    # Themselves included: what is left after one that was admitted is negative where there was none.
    return np.asarray(fill.least_left(np.arange(len(attempts))) < 0, dtype=np.bool_)


def _tried(fill: _Fill, answered: NDArray[np.bool_]) -> tuple[int, int]:
    """Return how many requests were surely decided in the span that asked most of its allowance, and that plus one."""
    if not np.any(answered):
        return 0, fill.bucket.burst + 1
    spent, from_, to, where = fill.spent(answered)
    worst = int(np.argmax(spent))
    count = worst + 1 - int(where[worst])
    allowed = int(fill.bucket.burst + (to[worst] - from_[worst]) / fill.bucket.interval_ns)
    return count, allowed + 1


def _over(fill: _Fill, from_: float, to: float) -> Broken:
    attempts, bucket = fill.attempts, fill.bucket
    inside = np.flatnonzero(attempts.admitted & (fill.sent >= from_) & (fill.done <= to))
    chosen = inside[np.argsort(fill.done[inside], kind="stable")]
    rows = tuple(int(row) for row in attempts.row[chosen])
    allowed = int(bucket.burst + (to - from_) / bucket.interval_ns)
    return Broken(rows, rows[-1], allowed, len(rows), fill.zero + int(from_), fill.zero + int(to))


def _early(fill: _Fill, place: int, left_ns: float) -> Broken:
    attempts, bucket = fill.attempts, fill.bucket
    to_ns = int(attempts.done_ns[place])
    from_ns = int(attempts.sent_ns[place] - bucket.size_ns)
    near = (attempts.kind != AttemptKind.REJECTED) & (attempts.sent_ns <= to_ns) & (attempts.done_ns >= from_ns)
    rows = (*(int(row) for row in attempts.row[near][: bucket.burst]), int(attempts.row[place]))
    used = max(0, bucket.burst - int(left_ns / bucket.interval_ns))
    return Broken(rows, rows[-1], bucket.burst, used, from_ns, to_ns)


def tell(bucket: Bucket, attempts: Attempts, slack: Slack) -> HeaderBounds:
    """Return what `Remaining` (whole tokens left) can have been for each attempt, and when the bucket is full again."""
    fill = _Fill(bucket, attempts, slack)
    every = np.arange(len(attempts))
    low = np.floor((fill.least_left(every) + 1) / bucket.interval_ns)
    high = np.floor((fill.most_left(every) + fill.stray_ns) / bucket.interval_ns) - 1
    rejected = attempts.rejected
    return HeaderBounds(
        np.where(rejected, 0, np.clip(low, 0, bucket.burst - 1)).astype(np.int64),
        np.where(rejected, 0, np.clip(high, 0, bucket.burst - 1)).astype(np.int64),
        attempts.sent_ns.copy(),
        attempts.done_ns + int(bucket.size_ns * (1 + _RATE_ERROR)) + slack.window_ns,
        np.full(len(attempts), -1, dtype=np.int64),
    )

"""Sliding log: at most `limit` admissions in every span of `window_ns`, wherever it begins."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from proofload.judge.models.attempts import AttemptKind, Attempts, Broken, Examined, HeaderBounds, Ints, Slack

State = tuple[int, ...]
"""When the admissions still in view were decided, oldest first."""


@dataclass(frozen=True, slots=True)
class SlidingLog:
    """The promise: fewer than `limit` admissions lie in the `window_ns` before each admission."""

    limit: int
    window_ns: int

    def admit(self, state: State | None, at_ns: int) -> tuple[bool, State]:
        """Return whether a request decided at `at_ns` is admitted, and the state after it.

        >>> SlidingLog(1, 10).admit((0,), 9)[0], SlidingLog(1, 10).admit((0,), 10)[0]
        (False, True)
        """
        seen = tuple(one for one in state or () if one > at_ns - self.window_ns)
        admitted = len(seen) < self.limit
        return admitted, (*seen, at_ns) if admitted else seen


def _inside(sent: Ints, done: Ints, span_ns: int) -> tuple[Ints, int, int]:
    """Return (places that can lie inside, the first place of the fullest span in them, how many lie in it)."""
    short = np.flatnonzero(done - sent < span_ns)
    if not len(short):
        return short, 0, 0
    begins, ends = sent[short], np.sort(done[short])
    # No interval is as long as the span, so one that began before it can't end after it: the difference is exact.
    counts = np.searchsorted(ends, begins + span_ns) - np.arange(len(short))
    first = int(np.argmax(counts))
    return short, first, int(counts[first])


def examine(model: SlidingLog, attempts: Attempts, slack: Slack) -> Examined:
    """Hold attempts against a sliding log."""
    limit, shortest, longest = model.limit, model.window_ns - slack.window_ns, model.window_ns + slack.window_ns
    admitted = np.flatnonzero(attempts.admitted)
    sent, done = attempts.sent_ns[admitted], attempts.done_ns[admitted]
    short, first, granted = _inside(sent, done, shortest)
    over: Broken | None = None
    if granted > limit:
        from_ns = int(sent[short[first]])
        inside = short[(sent[short] >= from_ns) & (done[short] < from_ns + shortest)]
        chosen = inside[np.argsort(done[inside], kind="stable")][: limit + 1]
        rows = tuple(int(row) for row in attempts.row[admitted[chosen]])
        over = Broken(rows, rows[-1], limit, granted, from_ns, int(done[chosen].max()))
    answered = attempts.kind != AttemptKind.UNSURE
    _, _, tried = _inside(attempts.sent_ns[answered], attempts.done_ns[answered], shortest)
    rejected = np.flatnonzero(attempts.rejected)
    possible = _possible(attempts, rejected, longest)
    wrong = possible < limit
    if not attempts.fresh:
        wrong &= attempts.sent_ns[rejected] > attempts.sent_ns[0] + longest
    wrongs = rejected[wrong]
    wrongful = _early(attempts, int(wrongs[0]), int(possible[wrong][0]), limit, longest) if len(wrongs) else None
    return Examined(over, wrongful, tried, limit + 1, granted, limit, int(over is not None), len(wrongs))


def _possible(attempts: Attempts, at: Ints, longest_ns: int) -> Ints:
    """Return how many admissions can have been in view when the attempts `at` were decided, themselves included."""
    counted = attempts.kind != AttemptKind.REJECTED
    begins, ends = attempts.sent_ns[counted], np.sort(attempts.done_ns[counted])
    upto = np.searchsorted(begins, attempts.done_ns[at], side="right")
    return np.asarray(upto - np.searchsorted(ends, attempts.sent_ns[at] - longest_ns), dtype=np.int64)


def _early(attempts: Attempts, place: int, counted: int, limit: int, longest_ns: int) -> Broken:
    from_ns, to_ns = int(attempts.sent_ns[place]) - longest_ns, int(attempts.done_ns[place])
    near = (attempts.kind != AttemptKind.REJECTED) & (attempts.sent_ns <= to_ns) & (attempts.done_ns >= from_ns)
    rows = (*(int(row) for row in attempts.row[near][:limit]), int(attempts.row[place]))
    return Broken(rows, rows[-1], limit, counted, from_ns, to_ns)


def tell(model: SlidingLog, attempts: Attempts, slack: Slack) -> HeaderBounds:
    """Return what `Remaining` can have been for each attempt; an allowance is whole again within a window."""
    shortest, longest = model.window_ns - slack.window_ns, model.window_ns + slack.window_ns
    admitted = attempts.admitted
    begins, ends = attempts.sent_ns[admitted], np.sort(attempts.done_ns[admitted])
    surely = np.searchsorted(ends, attempts.sent_ns) - np.searchsorted(begins, attempts.done_ns - shortest, "right")
    upto = _possible(attempts, np.arange(len(attempts)), longest)
    if not attempts.fresh:
        upto = np.where(attempts.sent_ns > attempts.sent_ns[0] + longest, upto, model.limit)
    rejected = attempts.rejected
    return HeaderBounds(
        np.where(rejected, 0, np.maximum(0, model.limit - upto)).astype(np.int64),
        np.where(rejected, 0, np.maximum(0, model.limit - 1 - np.maximum(0, surely))).astype(np.int64),
        attempts.sent_ns.copy(),
        attempts.done_ns + longest,
        np.full(len(attempts), -1, dtype=np.int64),
    )

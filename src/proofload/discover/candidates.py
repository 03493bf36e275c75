"""Policies that a probing history makes likely: the judges refute what can't be, what is left is the answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from proofload.core.units import NS_PER_SECOND
from proofload.discover.probes import Spent
from proofload.judge.rate_limit.identify import ROUND_WINDOWS_S
from proofload.plan.policies import Algorithm, RateLimitPolicy
from proofload.record.history import History

_RATE_WINDOWS_S = (1, 60, 3_600)
"""Refills are told per second, per minute or per hour: the first of these in which it is a whole number."""
_MOST_RATES = 40


def windows(base: RateLimitPolicy, seen: Spent) -> Iterator[RateLimitPolicy]:
    """Yield fixed windows, sliding logs and sliding counters of every likely size and length."""
    tenth = NS_PER_SECOND // 10
    back = seen.back_after_ns
    likely = {round_s * NS_PER_SECOND for round_s in ROUND_WINDOWS_S}
    likely |= {max(1, back // unit + more) * unit for unit in (tenth, NS_PER_SECOND) for more in (-1, 0, 1)}
    likely |= {base.window}
    for limit in sorted({base.limit, seen.first, max(1, seen.first - 1), seen.first + 1}):
        for window in sorted(likely):
            yield _with(base, "fixed_window", limit, window, "first_request")
            yield _with(base, "fixed_window", limit, window, "clock")
            yield _with(base, "sliding_log", limit, window, "first_request")
            yield _with(base, "sliding_window_counter", limit, window, "first_request")
            yield _with(base, "sliding_window_counter", limit, window, "clock")


def buckets(base: RateLimitPolicy, history: History, rows: Sequence[int], seen: Spent) -> Iterator[RateLimitPolicy]:
    """Yield token buckets: sizes from what was admitted first, rates from what trickled in."""
    low, high = refill_per_second(history, np.asarray(rows, dtype=np.int64), base.status)
    if high <= 0:
        return
    filled = int(high * seen_seconds(history, rows[: seen.first + 1])) + 1
    sizes = range(max(1, seen.first - filled), seen.first + 1)
    for window_s in _RATE_WINDOWS_S:
        whole = [rate for rate in range(int(low * window_s), int(high * window_s) + 2) if rate >= 1]
        whole = [rate for rate in whole if low * window_s <= rate <= high * window_s]
        if not whole or len(whole) > _MOST_RATES:
            whole = [rate for rate in whole if is_round(rate)]
        for rate in sorted(whole, key=lambda one: (not is_round(one), one)):
            for size in sizes:
                yield _with(base, "token_bucket", rate, window_s * NS_PER_SECOND, "first_request", size)
        if whole and whole[0] >= 1 and window_s * low >= 1:
            return


def refill_per_second(history: History, rows: NDArray[np.int64], rejected: int) -> tuple[float, float]:
    """Return bounds of the rate at which admissions trickled in between the first and the last rejection."""
    status = history.numbers("status")[rows]
    sent, done = history.numbers("sent_ns")[rows], history.numbers("done_ns")[rows]
    no = np.flatnonzero(status == rejected)
    if len(no) < 2:
        return 0.0, 0.0
    first, last = int(no[0]), int(no[-1])
    between = status[first:last]
    admitted = int(np.count_nonzero((between != rejected) & (between > 0)))
    shortest = max(1, int(sent[last]) - int(done[first])) / NS_PER_SECOND
    longest = (int(done[last]) - int(sent[first])) / NS_PER_SECOND
    # At either end the limiter held less than one whole token.
    return max(0.0, (admitted - 1) / longest), (admitted + 1) / shortest


def seen_seconds(history: History, rows: Sequence[int]) -> float:
    """Return how long these rows took, from the first byte sent to the last answer."""
    chosen = np.asarray(rows, dtype=np.int64)
    if not len(chosen):
        return 0.0
    span = int(history.numbers("done_ns")[chosen].max()) - int(history.numbers("sent_ns")[chosen].min())
    return span / NS_PER_SECOND


def is_round(number: int) -> bool:
    """Return whether a person would have configured this number: small, or with few digits that are not zero.

    >>> [number for number in range(95, 131) if is_round(number)]
    [95, 100, 110, 120, 125, 130]
    """
    text = str(number).rstrip("0")
    if number <= 100:
        return number <= 20 or number % 5 == 0
    return len(text) <= 2 or text == "125"


def _with(
    base: RateLimitPolicy, algorithm: Algorithm, limit: int, window: int, alignment: str, burst: int | None = None
) -> RateLimitPolicy:
    changes = {"algorithm": algorithm, "limit": limit, "window": window, "alignment": alignment, "burst": burst}
    return base.model_copy(update=changes)

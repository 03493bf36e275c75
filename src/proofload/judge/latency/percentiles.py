"""Percentiles by nearest rank, with confidence intervals from order statistics: no distribution is assumed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
ACCUSING_CONFIDENCE = 0.9998
"""What FAIL needs: one accusation in ten thousand systems that only just keep their promise."""
_BLOCKS = 64
_LEAST_PER_BLOCK = 8


def percentile_ns(ordered_ns: Sequence[int] | NDArray[np.int64], per_mille: int) -> int:
    """Return the smallest sample that at least `per_mille` in 1000 of the samples do not exceed.

    Nearest rank in whole numbers: the answer is always a latency that some request really had.

    >>> percentile_ns([10, 20, 30, 40], 500), percentile_ns(range(1, 1001), 999)
    (20, 999)
    """
    rank = max(1, -(-len(ordered_ns) * per_mille // 1000))
    return int(ordered_ns[rank - 1])


def samples_needed(per_mille: int, confidence: float = CONFIDENCE) -> int:
    """Return the least number of independent samples that bounds a percentile from above and below.

    With fewer, even the greatest sample may lie below the percentile: 0.99^n must not exceed half of what is risked.

    >>> samples_needed(500), samples_needed(990), samples_needed(999)
    (6, 368, 3688)
    """
    share = max(per_mille, 1000 - per_mille) / 1000
    return math.ceil(math.log((1 - confidence) / 2) / math.log(share))


@dataclass(frozen=True, slots=True)
class Percentile:
    """One percentile of one set of samples, and the interval that holds the true one with the confidence asked for."""

    per_mille: int
    samples: int
    value_ns: int
    low_ns: int | None
    """None: too few samples to bound it from below."""
    high_ns: int | None
    """None: too few samples, or too many unanswered requests, to bound it from above."""

    @property
    def name(self) -> str:
        """Return the percentile as people write it.

        >>> Percentile(999, 1, 5, None, None).name, Percentile(500, 1, 5, None, None).name
        ('p99.9', 'p50')
        """
        whole, tenth = divmod(self.per_mille, 10)
        return f"p{whole}.{tenth}" if tenth else f"p{whole}"


@lru_cache(maxsize=4096)
def interval_ranks(count: int, per_mille: int, confidence: float = CONFIDENCE) -> tuple[int, int]:
    """Return the ranks (from 1) of the samples that enclose a percentile; 0 and count + 1 mean: not bounded.

    The number of samples below the percentile is binomial, whatever their distribution (Hahn and Meeker, 1991, 5.2);
    each side is left out with at most half of the risk.

    >>> interval_ranks(100, 500), interval_ranks(100, 990)
    ((40, 61), (97, 101))
    """
    share, risk = per_mille / 1000, (1 - confidence) / 2
    spread = math.sqrt(count * share * (1 - share))
    first = max(0, int(count * share - 12 * spread) - 30)
    last = min(count, int(count * share + 12 * spread) + 30)
    below = np.arange(first, last)
    # ln pmf by its own recurrence from `first`, normalised afterwards: beyond twelve deviations lies nothing to lose.
    steps = np.log((count - below) / (below + 1.0)) + math.log(share / (1 - share))
    logs = np.concatenate(([0.0], np.cumsum(steps)))
    weights = np.exp(logs - logs.max())
    at_most = np.cumsum(weights) / weights.sum()
    # at_most[i] = P(X <= first + i).
    low = first + int(np.searchsorted(at_most, risk, side="right"))
    high = first + int(np.searchsorted(at_most, 1 - risk, side="left")) + 1
    return min(low, count), min(high, count + 1)


def effective_samples(in_time_order_ns: NDArray[np.int64], threshold_ns: int) -> int:
    """Return how many independent samples these are worth for saying how often `threshold_ns` is exceeded.

    Slow requests come in clusters, and a cluster is one event, not a hundred. Over 64 consecutive blocks the number of
    exceedances then varies more than chance would have it; by that factor the sample is worth less (Kish's design
    effect). Clusters smaller than a block show as runs of neighbours.
    """
    count = len(in_time_order_ns)
    over = in_time_order_ns > threshold_ns
    share = float(over.mean())
    if share in (0.0, 1.0):
        return count
    # Independent exceedances stand in as many runs as there are of them, but for those that meet by chance.
    runs = int(over[0]) + int((over[1:] & ~over[:-1]).sum())
    effect = float(over.sum()) * (1 - share) / runs
    size = count // _BLOCKS
    if size >= _LEAST_PER_BLOCK:
        blocks = over[: size * _BLOCKS].reshape(_BLOCKS, size)
        effect = max(effect, float(blocks.mean(axis=1).var(ddof=1)) * size / (share * (1 - share)))
    return max(1, math.ceil(count / max(1.0, effect)))


def estimate(
    in_time_order_ns: NDArray[np.int64],
    per_mille: int,
    *,
    ordered_ns: NDArray[np.int64] | None = None,
    bounded_ns: NDArray[np.int64] | None = None,
    confidence: float = CONFIDENCE,
) -> Percentile:
    """Return a percentile of the samples with its interval; there must be at least one sample.

    `ordered_ns` are the same samples ascending, where the caller has them. `bounded_ns` are, ascending, those of them
    that are more than a lower bound: a request that was never answered took longer than we waited, so it has no place
    in them, and no upper bound can be drawn from it.
    """
    ordered = np.sort(in_time_order_ns) if ordered_ns is None else ordered_ns
    bounded = ordered if bounded_ns is None else bounded_ns
    count = len(ordered)
    value = percentile_ns(ordered, per_mille)
    worth = effective_samples(in_time_order_ns, value)
    low, high = interval_ranks(worth, per_mille, confidence)
    low_rank, high_rank = low * count // worth, -(-high * count // worth)
    return Percentile(
        per_mille,
        count,
        value,
        int(ordered[low_rank - 1]) if low_rank >= 1 else None,
        int(bounded[high_rank - 1]) if high <= worth and high_rank <= len(bounded) else None,
    )

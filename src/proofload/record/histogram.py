"""Counts of delays in buckets whose width is 1/128 of their value: percentiles in flat memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from proofload.record.delivery import Lag

_BITS = 7
_SUB = 1 << _BITS


class DelayHistogram:
    """Adds up delays in nanoseconds. Percentiles are at most 0.8 % above the sample that they stand for."""

    __slots__ = ("_counts", "_max_ns")

    def __init__(self) -> None:
        self._counts: NDArray[np.int64] = np.zeros(64 * _SUB, dtype=np.int64)
        self._max_ns = 0

    def __getstate__(self) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
        # Nearly all buckets are empty: between processes, and on disk, only the others travel.
        used = np.flatnonzero(self._counts)
        return used, self._counts[used], self._max_ns

    def __setstate__(self, state: tuple[NDArray[np.int64], NDArray[np.int64], int]) -> None:
        self.__init__()  # type: ignore[misc]
        used, counts, self._max_ns = state
        self._counts[used] = counts

    def add(self, delays_ns: NDArray[np.int64]) -> None:
        """Count these delays; negative ones count as 0."""
        if not len(delays_ns):
            return
        clean = np.maximum(delays_ns, 0)
        self._max_ns = max(self._max_ns, int(clean.max()))
        self._counts += np.bincount(_bucket(clean), minlength=len(self._counts))

    def merge(self, other: DelayHistogram) -> None:
        """Count what `other` has counted as well."""
        self._counts += other._counts
        self._max_ns = max(self._max_ns, other._max_ns)

    def copy(self) -> DelayHistogram:
        """Return the counts as they stand now."""
        return self.since(DelayHistogram())

    def since(self, earlier: DelayHistogram) -> DelayHistogram:
        """Return what was counted after `earlier`, a copy of this one; its greatest is only known to be no greater."""
        later = DelayHistogram()
        later._counts += self._counts - earlier._counts
        later._max_ns = self._max_ns
        return later

    @property
    def samples(self) -> int:
        """How many delays were counted."""
        return int(self._counts.sum())

    def percentile_ns(self, per_mille: int) -> int:
        """Return the upper edge of the bucket that holds the nearest-rank percentile; 0 where nothing was counted."""
        total = self.samples
        if not total:
            return 0
        rank = -(-total * per_mille // 1000)
        bucket = int(np.searchsorted(np.cumsum(self._counts), max(rank, 1)))
        return min(_upper_edge(bucket), self._max_ns)

    def lag(self) -> Lag:
        """Return the usual percentiles."""
        p50, p90, p99 = (self.percentile_ns(per_mille) for per_mille in (500, 900, 990))
        return Lag(self.samples, p50, p90, p99, self._max_ns)


def _bucket(delays: NDArray[np.int64]) -> NDArray[np.int64]:
    # Below 2 * _SUB a bucket is one nanosecond; above, the leading _BITS + 1 bits of the value name it.
    exponent = np.maximum(np.frexp(delays.astype(np.float64))[1] - (_BITS + 1), 0).astype(np.int64)
    return np.asarray(exponent * _SUB + (delays >> exponent), dtype=np.int64)


def _upper_edge(bucket: int) -> int:
    exponent = max(bucket // _SUB - 1, 0)
    return ((bucket - exponent * _SUB + 1) << exponent) - 1

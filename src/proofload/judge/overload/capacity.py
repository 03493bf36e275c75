"""Offered load against goodput, in slices of time, and the knee between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike

from proofload.core.units import NS_PER_SECOND
from proofload.judge.models.attempts import Flags, Ints
from proofload.record.exchange import NOT_THE_TARGETS, Ending
from proofload.record.history import History

_Z99 = 2.576
"""Standard errors either side of a mean that hold it with 99 % confidence."""
_SUSTAINED = 0.99
"""Share of the offered load that must come back good for a load to count as carried."""
_LEAST_SLICES = 5


@dataclass(frozen=True, slots=True)
class Rate:
    """A rate per second with bounds that hold it with 99 % confidence."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, counts: Ints, slice_ns: int) -> Rate:
        """Return the rate behind counts of equal slices of time; never surer than a Poisson process of that mean."""
        mean = float(counts.mean()) if len(counts) else 0.0
        spread = max(float(counts.var(ddof=1)) if len(counts) > 1 else 0.0, mean, 1.0)
        reach = _Z99 * (spread / max(1, len(counts))) ** 0.5
        per_second = NS_PER_SECOND / slice_ns
        return cls(mean * per_second, max(0.0, mean - reach) * per_second, (mean + reach) * per_second)


@dataclass(frozen=True, slots=True)
class Step:
    """One load, held for a while."""

    from_ns: int
    to_ns: int
    offered: Rate
    goodput: Rate
    slices: int

    @property
    def carried(self) -> bool | None:
        """Return whether the load came back good; None where that is too close to call."""
        if self.slices < _LEAST_SLICES:
            return None
        if self.goodput.mean >= _SUSTAINED * self.offered.mean:
            return True
        return False if self.goodput.high < self.offered.low * _SUSTAINED else None


@dataclass(frozen=True, slots=True)
class Capacity:
    """What the target carries: surely `low` requests a second, surely not `high`; and the most it ever gave."""

    low: float
    high: float
    peak: Rate
    steps: tuple[Step, ...]
    why_not: str = ""
    """Why no capacity can be told; empty where it can."""


def good(history: History, rows: Ints, error_marks: Sequence[bytes] = ()) -> Flags:
    """Return which rows were answered well; a body that holds one of `error_marks` is an error whatever its status."""
    status = history.numbers("status")[rows]
    answered = history.numbers("ending")[rows] == Ending.ANSWERED
    return np.asarray(answered & (status >= 200) & (status < 400) & ~marked(history, rows, error_marks))


def marked(history: History, rows: Ints, error_marks: Sequence[bytes]) -> Flags:
    """Return which rows' bodies hold one of the marks; none of those whose bodies were not kept."""
    found = np.zeros(len(rows), dtype=np.bool_)
    if error_marks and "body" in history.frame.columns:
        bodies = history.frame["body"].gather(rows)
        for mark in error_marks:
            found |= bodies.bin.contains(mark).fill_null(value=False).to_numpy()
    return found


def steps_of(
    history: History,
    rows: ArrayLike,
    edges_ns: Sequence[int],
    slice_ns: int = NS_PER_SECOND // 2,
    error_marks: Sequence[bytes] = (),
) -> list[Step]:
    """Return the steps between `edges_ns`: offered by when requests were due, goodput by when good answers came."""
    chosen = np.asarray(rows, dtype=np.int64)
    # What was lost on our own side of a connection was never offered.
    ours = np.isin(history.numbers("fault")[chosen], [int(one) for one in NOT_THE_TARGETS])
    chosen = chosen[~ours]
    due = np.sort(history.numbers("intended_ns")[chosen].astype(np.int64))
    came = np.sort(history.numbers("done_ns")[chosen[good(history, chosen, error_marks)]].astype(np.int64))
    found = []
    for from_ns, to_ns in pairwise(edges_ns):
        cuts = np.arange(from_ns, to_ns + 1, slice_ns, dtype=np.int64)
        if len(cuts) < 2:
            continue
        offered = Rate.of(np.diff(np.searchsorted(due, cuts)), slice_ns)
        # The first slice still shows the load before it: what is answered in it was sent earlier.
        goodput = Rate.of(np.diff(np.searchsorted(came, cuts))[1:], slice_ns)
        found.append(Step(int(from_ns), int(to_ns), offered, goodput, len(cuts) - 2))
    return found


def find_capacity(steps: Sequence[Step]) -> Capacity:
    """Return the knee of a ramp: between the highest load that was carried and the lowest, above it, that was not."""
    if not steps:
        nothing = Rate(0.0, 0.0, 0.0)
        return Capacity(0.0, 0.0, nothing, (), "no load was offered in steps")
    ordered = sorted(steps, key=lambda step: step.offered.mean)
    peak = max(
        (step.goodput for step in ordered if step.slices >= _LEAST_SLICES), key=lambda rate: rate.low, default=None
    )
    if peak is None:
        return Capacity(0.0, 0.0, ordered[0].goodput, tuple(ordered), "each load was held too shortly to count answers")
    failing = [step.offered.mean for step in ordered if step.carried is False]
    if not failing:
        top = ordered[-1].offered.mean
        return Capacity(
            top, float("inf"), peak, tuple(ordered), f"the target carried all of it, up to {top:.0f} a second"
        )
    high = failing[0]
    carried = [step.offered.mean for step in ordered if step.carried and step.offered.mean < high]
    low = max([*carried, 0.0])
    return Capacity(low, high, peak, tuple(ordered))

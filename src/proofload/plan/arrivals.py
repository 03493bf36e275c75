"""When arrivals are due and users come and go: pure, exact, and the same in every process that asks."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from proofload.core.seeds import array_stream
from proofload.core.units import NS_PER_SECOND
from proofload.plan.workload import ConstantRate, PoissonArrivals, RampingRate, RampingUsers, Stage

_BLOCK = 4_096


def arrival_blocks(
    workload: ConstantRate | RampingRate | PoissonArrivals, seed: int, shard: int = 0, shards: int = 1
) -> Iterator[NDArray[np.int64]]:
    """Yield the due times of the arrivals, ascending, in ns after the workload's start, in blocks.

    Shard k of n has the arrivals number k, k+n, k+2n, …: the union over the shards is the plan, to the nanosecond.
    """
    first = shard
    for block in _all_blocks(workload, seed):
        mine = block[first::shards]
        # The next block goes on counting where this one ended.
        first = (first - len(block)) % shards
        if len(mine):
            yield mine


def count(workload: ConstantRate | RampingRate | PoissonArrivals, seed: int) -> int:
    """Return how many arrivals the plan has, over all shards."""
    if isinstance(workload, ConstantRate):
        # The last arrival is the last i with floor(i / rate) < end.
        rate = Fraction(workload.rate)
        return -(-workload.for_ns * rate.numerator // (rate.denominator * NS_PER_SECOND)) if rate else 0
    return sum(len(block) for block in _all_blocks(workload, seed))


def user_steps(workload: RampingUsers) -> list[tuple[int, int]]:
    """Return (instant in ns after the start, number of users from then on), ascending, one step at a time.

    >>> user_steps(RampingUsers(name="r", run="/", stages=(Stage(100, 2), Stage(100, 0))))
    [(0, 0), (50, 1), (100, 2), (150, 1), (200, 0)]
    """
    steps = [(0, workload.start)]
    at, level = 0, workload.start
    for stage in workload.stages:
        goal = int(stage.to)
        distance = abs(goal - level)
        direction = 1 if goal > level else -1
        steps += [(at + stage.for_ns * i // distance, level + direction * i) for i in range(1, distance + 1)]
        at, level = at + stage.for_ns, goal
    return steps


def _all_blocks(workload: ConstantRate | RampingRate | PoissonArrivals, seed: int) -> Iterator[NDArray[np.int64]]:
    if isinstance(workload, ConstantRate):
        return _constant(Fraction(workload.rate), workload.for_ns)
    if isinstance(workload, RampingRate):
        return _inverse(workload.stages, workload.start, _whole_numbers())
    return _inverse(workload.stages, workload.start, _unit_poisson(seed, workload.name))


def _constant(rate: Fraction, for_ns: int) -> Iterator[NDArray[np.int64]]:
    """Yield floor(i / rate) for i = 0, 1, … below `for_ns`, in whole numbers so that no rounding error adds up."""
    if rate == 0:
        return
    step, per = rate.denominator * NS_PER_SECOND, rate.numerator
    index = 0
    while True:
        whole, rest = divmod(index * step, per)
        if whole >= for_ns:
            return
        if rest + _BLOCK * step < 2**62:
            block = whole + (rest + np.arange(_BLOCK, dtype=np.int64) * step) // per
        else:
            # A rate of many digits, or one so low that its second arrival is past all whole numbers.
            exact = [min((index + i) * step // per, for_ns) for i in range(_BLOCK)]
            block = np.array(exact, dtype=np.int64)
        yield block[: np.searchsorted(block, for_ns)]
        index += _BLOCK


def _whole_numbers() -> Iterator[NDArray[np.float64]]:
    index = 0
    while True:
        yield np.arange(index, index + _BLOCK, dtype=np.float64)
        index += _BLOCK


def _unit_poisson(seed: int, name: str) -> Iterator[NDArray[np.float64]]:
    """Yield the instants of a Poisson process of rate 1."""
    draw = array_stream(seed, "arrivals", name)
    last = 0.0
    while True:
        block = last + np.cumsum(draw.exponential(size=_BLOCK))
        last = float(block[-1])
        yield block


def _inverse(
    stages: tuple[Stage, ...], start: int | float | Fraction, levels: Iterator[NDArray[np.float64]]
) -> Iterator[NDArray[np.int64]]:
    """Yield the instants at which the integral of the staged rate reaches each level.

    For a Poisson process of rate 1 as levels this is the time-rescaling theorem: the result is a Poisson process
    with the staged rate.
    """
    edges_ns, integral, rates, accelerations = _integrals(stages, float(start))
    for block in levels:
        inside = block[block < integral[-1]]
        stage = np.searchsorted(integral, inside, side="right") - 1
        missing = inside - integral[stage]
        rate = rates[stage]
        # Solve missing = rate t + acceleration t² / 2 in the form that stays exact when the acceleration is 0.
        root = np.sqrt(np.maximum(rate * rate + 2.0 * accelerations[stage] * missing, 0.0))
        with np.errstate(divide="ignore", invalid="ignore"):
            seconds = np.where(missing > 0.0, 2.0 * missing / (rate + root), 0.0)
        if len(inside):
            yield edges_ns[stage] + np.floor(seconds * NS_PER_SECOND).astype(np.int64)
        if len(inside) < len(block):
            return


def _integrals(
    stages: tuple[Stage, ...], start: float
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    edges, integral, rates, accelerations = [0], [0.0], [], []
    rate = start
    for stage in stages:
        goal, seconds = float(stage.to), stage.for_ns / NS_PER_SECOND
        rates.append(rate)
        accelerations.append((goal - rate) / seconds if seconds else 0.0)
        edges.append(edges[-1] + stage.for_ns)
        integral.append(integral[-1] + (rate + goal) / 2.0 * seconds)
        rate = goal
    # Stages without any arrival repeat an edge of the integral; `side="right"` above steps over them.
    return (np.array(edges, dtype=np.int64), np.array(integral), np.array(rates), np.array(accelerations))

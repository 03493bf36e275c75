"""Arrival plans: exact, ascending, as many as promised, and the same however they are split."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofload.plan.arrivals import arrival_blocks, count, user_steps
from proofload.plan.workload import ConstantRate, PoissonArrivals, RampingRate, RampingUsers, Stage

SECOND = 1_000_000_000
RATES = st.one_of(
    st.integers(0, 20_000).map(Fraction),
    st.fractions(min_value=0, max_value=500, max_denominator=1_000),
    st.floats(0, 900, allow_nan=False).map(Fraction),
)
STAGES = st.lists(st.builds(Stage, st.integers(0, 2 * SECOND), st.integers(0, 3_000)), min_size=1, max_size=4).map(
    tuple
)


def all_of(load: ConstantRate | RampingRate | PoissonArrivals, shard: int = 0, shards: int = 1) -> list[int]:
    return [due for block in arrival_blocks(load, 3, shard, shards) for due in block.tolist()]


@given(RATES, st.integers(1, SECOND))
def test_a_constant_rate_is_exact_to_the_nanosecond(rate: Fraction, for_ns: int) -> None:
    load = ConstantRate(name="w", run="/", rate=rate, for_ns=for_ns)
    due = all_of(load)
    assert len(due) == count(load, 3)
    for index in {0, 1, len(due) // 2, len(due) - 1} & set(range(len(due))):
        assert due[index] == index * SECOND * rate.denominator // rate.numerator
    if rate:
        # The next one would be past the end.
        assert len(due) * SECOND * rate.denominator // rate.numerator >= for_ns


@given(STAGES, st.integers(0, 2_000))
def test_a_ramp_has_as_many_arrivals_as_the_integral_of_its_rate(stages: tuple[Stage, ...], start: int) -> None:
    load = RampingRate(name="w", run="/", stages=stages, start=start)
    due = np.array(all_of(load))
    total, rate = 0.0, float(start)
    for stage in stages:
        total += (rate + float(stage.to)) / 2 * stage.for_ns / SECOND
        rate = float(stage.to)
    assert abs(len(due) - total) <= 1
    assert (np.diff(due) >= 0).all()
    assert len(due) == 0 or 0 <= due[0] <= due[-1] <= sum(stage.for_ns for stage in stages)


@given(STAGES, st.integers(1, 5), st.sampled_from([RampingRate, PoissonArrivals]))
def test_the_union_of_the_shards_is_the_plan(
    stages: tuple[Stage, ...], shards: int, kind: type[RampingRate] | type[PoissonArrivals]
) -> None:
    load = kind(name="w", run="/", stages=stages, start=100)
    parts = [all_of(load, shard, shards) for shard in range(shards)]
    assert sorted(due for part in parts for due in part) == all_of(load)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_the_shape_of_a_ramp() -> None:
    # From 0 to 100 a second in 2 s there are 100 arrivals; half of the time has brought a quarter of them.
    due = all_of(RampingRate(name="w", run="/", stages=(Stage(2 * SECOND, 100),)))
    assert len(due) == 100
    assert sum(instant < SECOND for instant in due) == 25


@pytest.mark.parametrize("rate", [50, 2_000])
def test_poisson_gaps_have_the_mean_and_spread_of_an_exponential(rate: int) -> None:
    load = PoissonArrivals.at(rate, 20_000 * SECOND // rate, name="w", run="/")
    gaps = np.diff(all_of(load)) / SECOND
    assert gaps.mean() == pytest.approx(1 / rate, rel=0.03)
    assert gaps.std() == pytest.approx(1 / rate, rel=0.05)


@given(
    st.lists(st.builds(Stage, st.integers(0, SECOND), st.integers(0, 40)), min_size=1, max_size=4).map(tuple),
    st.integers(0, 40),
)
def test_users_come_and_go_one_by_one(stages: tuple[Stage, ...], start: int) -> None:
    steps = user_steps(RampingUsers(name="w", run="/", stages=stages, start=start))
    assert steps[0] == (0, start)
    assert steps[-1][1] == int(stages[-1].to)
    for (at, level), (next_at, next_level) in itertools.pairwise(steps):
        assert next_at >= at
        assert abs(next_level - level) == 1

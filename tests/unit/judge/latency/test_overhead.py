"""What a control costs: seen to keep its bound, to break it, and too restless to tell."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofload.judge.latency import Round, enough_rounds, judge_overhead, overhead
from proofload.judge.verdict import Finding, Outcome

MS = 1_000_000


def judged(*shares: float, at_most: float = 0.05) -> Finding:
    rounds = [Round(2 * MS * (1 + share), 2 * MS, row) for row, share in enumerate(shares)]
    return judge_overhead("mon.overhead", "counting", rounds, at_most=at_most, look_at="the counters")


def test_a_cost_that_is_surely_small_passes() -> None:
    found = judged(*[0.01, 0.02, 0.015, -0.01] * 4)
    assert found.outcome is Outcome.PASS
    assert "adds 1.2 % to a request of 2ms" in found.says
    assert found.figures["added_ns"] == 25_000


def test_a_cost_that_is_surely_large_fails_and_shows_the_rounds() -> None:
    found = judged(*[0.2, 0.3, 0.25, 0.22] * 4)
    assert found.outcome is Outcome.FAIL
    assert found.shown[0].startswith("from row ")
    assert len(found.rows) == 5


@pytest.mark.parametrize("shares", [[0.04, 0.06] * 8, [-0.3, 0.4, 0.01, 0.02] * 4, [0.2] * 7, [0.01] * 5, []])
def test_unrest_and_too_few_rounds_are_not_told(shares: list[float]) -> None:
    assert judged(*shares).outcome is Outcome.INCONCLUSIVE


@given(st.lists(st.floats(-0.5, 1), min_size=6, max_size=40), st.floats(0.01, 0.5))
def test_what_fails_costs_more_than_the_bound_in_most_rounds(shares: list[float], at_most: float) -> None:
    found = judged(*shares, at_most=at_most)
    if found.outcome is Outcome.FAIL:
        assert np.median(shares) > at_most
    if found.outcome is Outcome.PASS:
        assert np.median(shares) <= at_most + 1e-9


def enough(*shares: float, at_most: float = 0.05) -> bool:
    return enough_rounds([Round(2 * MS * (1 + share), 2 * MS) for share in shares], at_most)


def test_rounds_are_enough_once_the_cost_is_surely_within_or_surely_beyond() -> None:
    assert enough(*[0.01, 0.02, 0.015, -0.01] * 4)
    assert enough(*[0.2, 0.3, 0.25, 0.22] * 4)
    assert not enough(*[0.04, 0.06] * 8)
    assert not enough(*[0.01] * 6)
    assert not enough()


@given(st.lists(st.floats(-0.5, 1), max_size=60), st.floats(0.01, 0.5))
def test_whoever_ends_early_is_never_left_without_an_answer(shares: list[float], at_most: float) -> None:
    if enough(*shares, at_most=at_most):
        assert judged(*shares, at_most=at_most).outcome is not Outcome.INCONCLUSIVE


def test_even_scatter_is_bounded_as_the_published_tables_bound_it() -> None:
    # Wilcoxon's table: for 10 pairs the two-sided 5 % point is 8, so the 9th mean from each end bounds the centre.
    shares = np.arange(1, 11) / 100
    means = np.sort([(one + other) / 2 for i, one in enumerate(shares) for other in shares[i:]])
    said = judged(*shares.tolist(), at_most=0.5).says
    assert f"(95 % sure: {100 * means[8]:.1f} % to {100 * means[-9]:.1f} %, 10 rounds)" in said


def test_many_rounds_are_bounded_as_few_are_by_counting() -> None:
    # Where counting gives way to the normal law, the bounds must not jump.
    rng = np.random.default_rng(5)
    shares = rng.normal(0.02, 0.1, 600).tolist()
    found = judged(*shares, at_most=0.05)
    assert found.outcome is Outcome.PASS
    assert "95 % sure" in found.says
    low, high = overhead._signed_rank_interval(np.sort(shares[:60]), 0.95)
    more_low, more_high = overhead._signed_rank_interval(np.sort(shares[:61]), 0.95)
    assert low is not None
    assert high is not None
    assert abs(more_low - low) < 0.01  # type: ignore[operator]
    assert abs(more_high - high) < 0.01  # type: ignore[operator]

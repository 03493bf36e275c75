"""What a control costs: seen to keep its bound, to break it, and too restless to tell."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofload.judge.latency import Round, judge_overhead
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

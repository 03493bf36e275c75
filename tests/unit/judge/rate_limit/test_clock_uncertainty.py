"""Instants that came from several clocks are believed only as far as those clocks were known."""

import polars as pl
import pytest
from tests.prove.rate_limit.limiters import FIXED_WINDOW_DEFECTS
from tests.unit.judge.rate_limit.test_fixed_window import every, judge_admission, outcome, scene, world

from proofload.judge.verdict import Outcome
from proofload.record.history import CLOCK_COLUMN, History


@pytest.mark.parametrize(
    ("uncertainty_ns", "expected"), [(0, Outcome.FAIL), (1_000_000, Outcome.FAIL), (10**11, Outcome.INCONCLUSIVE)]
)
def test_over_admission_is_certain_only_where_the_clocks_are(uncertainty_ns: int, expected: Outcome) -> None:
    history = world("burst", FIXED_WINDOW_DEFECTS["rl.limit_plus_one"])
    doubted = History(history.frame.with_columns(pl.lit(uncertainty_ns, pl.Int64).alias(CLOCK_COLUMN)))
    assert doubted.clock_uncertainty_ns().tolist() == [uncertainty_ns] * len(doubted)
    assert outcome(judge_admission(scene(doubted), every(doubted)), "rl.over_admission") is expected


def test_one_clock_has_no_uncertainty() -> None:
    assert History.empty().clock_uncertainty_ns().tolist() == []

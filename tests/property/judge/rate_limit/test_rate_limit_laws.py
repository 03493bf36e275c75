"""Laws of the rate-limit judges: doubt never accuses, names and time of day don't matter, Parquet changes nothing."""

import dataclasses
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.prove.rate_limit.limiters import HONEST
from tests.prove.rate_limit.trials import DECISIONS, make, policy_for
from tests.prove.rate_limit.worlds import ANCHOR, MS, PATTERNS, SECOND, simulate

from proofload.core.clock import Anchor
from proofload.core.seeds import stream
from proofload.judge.rate_limit import (
    RateLimitContext,
    judge_admission,
    judge_headers,
    judge_isolation,
    judge_promised_reset,
)
from proofload.judge.rate_limit.models import model_of
from proofload.judge.verdict import Outcome
from proofload.record.history import History

WINDOW = 2 * SECOND
worlds = st.tuples(
    st.sampled_from(sorted(DECISIONS)), st.integers(1, 6), st.sampled_from(PATTERNS), st.integers(0, 10_000)
)


def build(drawn):
    name, limit, pattern, seed = drawn
    model, kind = DECISIONS[name]
    world = simulate(seed, make(model, kind, limit, WINDOW), pattern, limit, WINDOW)
    return world.history, policy_for(model, limit, WINDOW, limit)


def outcomes(history, policy, anchor=ANCHOR):
    scene, rows = RateLimitContext(policy, history, anchor), np.arange(len(history))
    found = [*judge_admission(scene, rows), *judge_headers(scene, rows)]
    return [*found, *judge_promised_reset(scene, rows), *judge_isolation(scene, rows)]


def plain(findings):
    return [dataclasses.astuple(finding) for finding in findings]


@settings(max_examples=150, deadline=None)
@given(worlds, st.integers(0, 1_000), st.floats(0, 1), st.sampled_from([MS, 50 * MS, SECOND]))
def test_a_wider_interval_never_accuses(drawn, seed, share, most):
    history, policy = build(drawn)
    if any(finding.outcome is Outcome.FAIL for finding in outcomes(history, policy)):
        return
    dice = stream(seed, "widen")
    count = len(history)
    earlier = [dice.randrange(most) if dice.random() < share else 0 for _ in range(count)]
    later = [dice.randrange(most) if dice.random() < share else 0 for _ in range(count)]
    wider = History(
        history.frame.with_columns(
            sent_ns=pl.col("sent_ns") - pl.Series(earlier), done_ns=pl.col("done_ns") + pl.Series(later)
        )
    )
    assert [finding for finding in outcomes(wider, policy) if finding.outcome is Outcome.FAIL] == []


@settings(max_examples=60, deadline=None)
@given(worlds, st.integers(-(10**15), 10**15))
def test_names_and_the_time_of_day_change_nothing(drawn, shift):
    history, policy = build(drawn)
    times = [pl.col(name) + shift for name in ("intended_ns", "sent_ns", "first_byte_ns", "done_ns")]
    renamed = (pl.col("source").cast(pl.String) + "9").alias("source")
    moved = History(history.frame.with_columns(*times, renamed))
    anchor = Anchor(ANCHOR.monotonic_ns + shift, ANCHOR.wall_ns, ANCHOR.uncertainty_ns)
    before, after = outcomes(history, policy), outcomes(moved, policy, anchor)
    assert [(one.rule, one.outcome, one.rows) for one in before] == [(one.rule, one.outcome, one.rows) for one in after]


@settings(max_examples=30, deadline=None)
@given(worlds)
def test_a_trip_through_parquet_changes_nothing(drawn):
    history, policy = build(drawn)
    with tempfile.TemporaryDirectory() as folder:
        history.write(Path(folder) / "history.parquet")
        again = History.read(Path(folder) / "history.parquet")
    assert plain(outcomes(again, policy)) == plain(outcomes(history, policy))


@pytest.mark.parametrize("model", HONEST)
@settings(max_examples=100, deadline=None)
@given(
    limit=st.integers(1, 5),
    burst=st.integers(1, 5),
    gaps=st.lists(st.one_of(st.integers(0, 40), st.integers(0, 400)), min_size=1, max_size=60),
)
def test_every_step_agrees_with_a_naive_limiter(model, limit, burst, gaps):
    window = 100 * MS
    step = model_of(policy_for(model, limit, window, burst), phase_ns=0)
    naive = HONEST[model](limit, window, burst)
    state, now = None, 1_000 * SECOND
    for gap in gaps:
        now += gap * MS
        admitted, state = step.admit(state, now)
        assert admitted == naive.decide("key", now).admitted


@settings(max_examples=150, deadline=None)
@given(worlds, st.integers(0, 1_000))
def test_points_in_place_of_intervals_accuse_no_less(drawn, seed):
    """What is FAIL on intervals is still FAIL on points inside them: the certain stays certain."""
    history, policy = build(drawn)
    broken = {one.rule for one in outcomes(history, policy) if one.outcome is Outcome.FAIL}
    if not broken & {"rl.over_admission", "rl.wrongful_rejection"}:
        return
    dice = stream(seed, "points")
    frame = history.frame.sort("sent_ns")
    inside = [
        dice.randrange(sent, done + 1) if ending == 0 else None
        for sent, done, ending in frame.select("sent_ns", "done_ns", "ending").iter_rows()
    ]
    at = pl.Series(inside, dtype=pl.Int64)
    points = History(
        frame.with_columns(sent_ns=pl.coalesce(at, pl.col("sent_ns")), done_ns=pl.coalesce(at, pl.col("done_ns")))
    )
    rows = np.arange(len(points))
    found = judge_admission(RateLimitContext(policy, points, ANCHOR), rows)
    assert any(one.outcome is Outcome.FAIL for one in found)

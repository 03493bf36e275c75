"""A comparison says better, worse, the same, or that it can't tell; and is wrong no more often than it admits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from proofload.core.seeds import array_stream
from proofload.judge.baseline import Change, compare, judge_against_baseline
from proofload.judge.verdict import Outcome


def draw(count: int, seed: int, factor: float = 1.0) -> NDArray[np.int64]:
    return (array_stream(seed, "draw").gamma(4, 500_000, size=count) * factor).astype(np.int64)


def test_each_answer_is_given() -> None:
    before = draw(20_000, 1)
    assert compare(before, draw(20_000, 2), 900).change is Change.SAME
    assert compare(before, draw(20_000, 2, 1.3), 900).change is Change.WORSE
    assert compare(before, draw(20_000, 2, 0.7), 900).change is Change.BETTER
    few = compare(before, draw(60, 2), 990)
    assert few.change is Change.CANNOT_TELL
    assert few.needed > 60


def test_the_number_said_to_be_needed_is_about_enough() -> None:
    unsure = compare(draw(500, 1), draw(500, 2), 900)
    assert unsure.change is Change.CANNOT_TELL
    told = sum(
        compare(draw(unsure.needed, seed), draw(unsure.needed, seed + 1000), 900).change is Change.SAME
        for seed in range(20)
    )
    assert told >= 14


def test_equal_sides_are_never_called_worse_in_500_comparisons() -> None:
    changes = [
        compare(draw(1000, seed), draw(1000, seed + 10_000), p).change for seed in range(250) for p in (500, 990)
    ]
    assert Change.WORSE not in changes
    assert Change.BETTER not in changes


def test_one_slow_cluster_is_not_called_worse() -> None:
    calm, hiccup = draw(6400, 1), draw(6400, 2)
    hiccup[1000:1100] += 100_000_000
    assert compare(calm, hiccup, 990).change is Change.CANNOT_TELL


def test_findings_by_operation() -> None:
    before = {"read": draw(20_000, 1), "write": draw(20_000, 2), "gone": draw(20_000, 3)}
    after = {"read": draw(20_000, 4), "write": draw(20_000, 5, 1.5)}
    outcomes = {one.says.split(":")[0]: one.outcome for one in judge_against_baseline(before, after)}
    assert outcomes == {"read": Outcome.PASS, "write": Outcome.FAIL, "gone": Outcome.INCONCLUSIVE}
    nothing = {"read": np.empty(0, np.int64)}
    assert judge_against_baseline({"read": before["read"]}, nothing)[0].outcome is Outcome.INCONCLUSIVE
    assert judge_against_baseline(before, after) == judge_against_baseline(before, after)

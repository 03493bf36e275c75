"""Two runs compared: better, worse, the same within noise, or can't tell; never more than the evidence carries."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tests.unit.report.test_live import console, text_of

from proofload.core.errors import PlanError
from proofload.core.seeds import array_stream
from proofload.judge.baseline import Change
from proofload.judge.verdict import Outcome
from proofload.report.comparison import Remembered, compare_runs, overall
from proofload.report.comparison_forms import show, to_json
from proofload.suite import baseline_file as baselines


def run(
    seed: int = 0,
    *,
    median_ms: float = 20,
    count: int = 4_000,
    capacity: tuple[float, float] = (95, 105),
    **verdicts: Outcome,
) -> Remembered:
    times = array_stream(seed, "times").lognormal(np.log(median_ms * 1e6), 0.2, count).astype(np.int64)
    return Remembered(
        "shop", "2026-11-23T12:00:00+00:00", verdicts, {"TC-LATENCY-001 profile": times}, {"TC-RES-001": capacity}
    )


def changes(before: Remembered, after: Remembered) -> dict[str, Change]:
    return {one.what: one.change for one in compare_runs(before, after)}


def test_the_same_system_twice_is_the_same_within_noise() -> None:
    found = changes(run(1, A=Outcome.PASS, capacity=(99, 101)), run(2, A=Outcome.PASS, capacity=(98, 102)))
    assert set(found.values()) == {Change.SAME}
    assert len(found) == 5


def test_slower_is_worse_and_quicker_is_better() -> None:
    slow, quick = run(1, median_ms=40), run(2, median_ms=20)
    assert changes(quick, slow)["TC-LATENCY-001 profile p50"] is Change.WORSE
    assert changes(slow, quick)["TC-LATENCY-001 profile p50"] is Change.BETTER
    assert overall(compare_runs(quick, slow)) is Change.WORSE


def test_a_few_samples_tell_nothing() -> None:
    found = changes(run(1, count=8), run(2, count=8, median_ms=22))
    assert found["TC-LATENCY-001 profile p99"] is Change.CANNOT_TELL


@pytest.mark.parametrize(
    ("before", "after", "change"),
    [
        ((95, 105), (40, 50), Change.WORSE),
        ((40, 50), (95, 105), Change.BETTER),
        ((90, 110), (92, 108), Change.CANNOT_TELL),
        ((99, 101), (100, 102), Change.SAME),
    ],
)
def test_capacity_is_compared_by_its_bounds(
    before: tuple[float, float], after: tuple[float, float], change: Change
) -> None:
    assert changes(run(capacity=before), run(capacity=after))["TC-RES-001"] is change


@pytest.mark.parametrize(
    ("before", "after", "change"),
    [
        (Outcome.PASS, Outcome.FAIL, Change.WORSE),
        (Outcome.FAIL, Outcome.PASS, Change.BETTER),
        (Outcome.FAIL, Outcome.FAIL, Change.SAME),
        (Outcome.PASS, Outcome.INCONCLUSIVE, Change.CANNOT_TELL),
        (Outcome.INCONCLUSIVE, Outcome.INCONCLUSIVE, Change.CANNOT_TELL),
        (Outcome.PASS, Outcome.SKIPPED, Change.CANNOT_TELL),
    ],
)
def test_verdicts_are_compared_by_what_they_prove(before: Outcome, after: Outcome, change: Change) -> None:
    assert changes(run(A=before), run(A=after))["A"] is change


def test_what_is_no_longer_measured_is_said() -> None:
    gone = Remembered("shop", "", {}, {}, {})
    found = compare_runs(run(A=Outcome.PASS), gone)
    assert {one.change for one in found} == {Change.CANNOT_TELL}
    assert {one.after for one in found} == {"not run", "not found", "not measured"}
    assert overall(compare_runs(gone, gone)) is Change.CANNOT_TELL


def test_a_saved_baseline_is_read_as_it_was(tmp_path: Path) -> None:
    place = tmp_path / "baseline.json"
    kept = run(3, A=Outcome.PASS, B=Outcome.INCONCLUSIVE)
    baselines.save(kept, place)
    again = baselines.load(place)
    assert again.verdicts == kept.verdicts
    assert again.capacity == kept.capacity
    for name, values in kept.samples.items():
        assert (np.abs(again.samples[name] - values) < 1_000).all()


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"schema_version": 9}', b"\xff"])
def test_what_is_no_baseline_is_refused_with_what_to_do(tmp_path: Path, content: bytes) -> None:
    place = tmp_path / "baseline.json"
    place.write_bytes(content)
    with pytest.raises(PlanError, match="proofload baseline save"):
        baselines.load(place)
    with pytest.raises(PlanError, match="No such file"):
        baselines.load(tmp_path / "nothing.json")


def test_it_is_told_worst_first_to_people_and_machines() -> None:
    before, after = run(1, A=Outcome.PASS, B=Outcome.PASS), run(2, A=Outcome.PASS, B=Outcome.FAIL)
    compared = compare_runs(before, after)
    out = console(is_terminal=False)
    show(before, after, compared, out)
    lines = text_of(out).splitlines()
    assert lines[3].split() == ["worse", "B", "PASS", "→", "FAIL"]
    assert lines[-1].startswith("worse: 1 worse")
    told = json.loads(to_json(before, after, compared))
    assert told["overall"] == "worse"
    assert len(told["compared"]) == len(compared)

"""Rows in memory: 64 bytes each, and statistics that add up however they are folded."""

import numpy as np
import pytest

from proofload.drive.rows import CHUNK_ROWS, ROW_BYTES, Rows
from proofload.drive.stats import Stats
from proofload.record.exchange import NEVER_NS, Ending, Fault
from proofload.record.histogram import DelayHistogram


def test_a_row_takes_64_bytes_at_rest() -> None:
    rows = Rows((), "p-", None, 1 << 20)
    rows.workloads.number("w")
    rows.operations.number("op")
    for instant in range(CHUNK_ROWS + 1):
        rows.add_ended(instant, 0, 0, 0, Fault.NO_USER_FREE)
        if len(rows.finished) >= 8_192:
            rows.take_finished()
    assert ROW_BYTES == 64
    assert [len(chunk) for chunk in rows._chunks if chunk] == [CHUNK_ROWS * 64] * 2
    assert not rows.kept
    assert not rows.bodies
    assert not rows.own_ids
    history = rows.history()
    assert len(history) == CHUNK_ROWS + 1
    assert history.frame["request_id"][CHUNK_ROWS] == f"p-{CHUNK_ROWS:010x}"
    assert history.counts()[Ending.DROPPED] == CHUNK_ROWS + 1
    assert set(history.numbers("sent_ns")) == {NEVER_NS}
    rows.close()


def test_names_past_the_table_are_other(monkeypatch: pytest.MonkeyPatch) -> None:
    from proofload.drive.rows import Names

    monkeypatch.setattr(Names, "_MOST", 2)
    names = Names(["a", "b"])
    assert names.number("a") == 0
    assert names.texts[names.number("c")] == names.texts[names.number("d")] == "(other)"


def test_percentiles_are_those_of_the_samples_to_a_hundredth() -> None:
    rng = np.random.default_rng(5)
    samples = rng.lognormal(12, 2, size=20_000).astype(np.int64)
    halves = DelayHistogram(), DelayHistogram()
    for half, part in zip(halves, np.array_split(samples, 2), strict=True):
        half.add(part)
    halves[0].merge(halves[1])
    ordered = np.sort(samples)
    for per_mille in (1, 500, 900, 990, 999, 1_000):
        exact = ordered[-(-len(ordered) * per_mille // 1_000) - 1]
        assert exact <= halves[0].percentile_ns(per_mille) <= exact * 1.01
    assert halves[0].samples == 20_000
    assert DelayHistogram().percentile_ns(990) == 0


def test_merged_statistics_are_those_of_the_whole() -> None:
    rows = Rows((), "p-", None, 1 << 20)
    for instant in range(100):
        rows.add_ended(instant, 0, instant % 3, 0, Fault.STOPPED if instant % 2 else Fault.NO_USER_FREE)
    table = rows.take_finished()
    whole, first, second = Stats(), Stats(), Stats()
    whole.add_rows(table)
    first.add_rows(table[:40])
    second.add_rows(table[40:])
    first.merge(second)
    assert first.by_fault() == whole.by_fault() == {"NO_USER_FREE": 50, "STOPPED": 50}
    assert (first.endings == whole.endings).all()
    rows.close()

"""A history keeps every row, as written, through records, columns and Parquet."""

from pathlib import Path

import polars as pl
import pytest

from proofload.core.errors import ToolError
from proofload.record.exchange import Ending, Exchange, Fault
from proofload.record.history import History


def exchange(row: int, **changes: object) -> Exchange:
    plain: dict[str, object] = {
        "row": row,
        "workload": "TC-RL-001/sequence",
        "operation": "profile",
        "user": 0,
        "source": "127.0.0.2",
        "connection": 1,
        "intended_ns": row * 10,
        "sent_ns": row * 10 + 1,
        "first_byte_ns": row * 10 + 5,
        "done_ns": row * 10 + 6,
        "ending": Ending.ANSWERED,
        "fault": Fault.NONE,
        "status": 200,
        "bytes_out": 100,
        "bytes_in": 200,
        "request_id": f"run-{row}",
    }
    return Exchange(**(plain | changes))  # type: ignore[arg-type]


ROWS = [
    exchange(0, headers={"x-ratelimit-remaining": "99"}),
    exchange(1, workload="TC-RL-001/burst", body=b"{}", status=429, headers={"retry-after": "3"}),
    exchange(2, ending=Ending.UNKNOWN, fault=Fault.TIMEOUT, status=0, first_byte_ns=-1),
]


def test_records_survive_columns_and_parquet(tmp_path: Path) -> None:
    history = History.of(ROWS)
    assert list(history) == ROWS
    history.write(tmp_path / "one.parquet")
    assert list(History.read(tmp_path / "one.parquet")) == ROWS


def test_a_folder_of_parts_reads_as_one_history(tmp_path: Path) -> None:
    History.of(ROWS[:1]).write(tmp_path / "0.parquet")
    History.of(ROWS[1:]).write(tmp_path / "1.parquet")
    assert list(History.read(tmp_path)) == ROWS


def test_rows_are_found_by_workload_and_condition() -> None:
    history = History.of(ROWS)
    assert history.of_workloads("TC-RL-001/sequence").tolist() == [0, 2]
    assert history.rows_where(pl.col("status") == 429).tolist() == [1]
    assert [one.row for one in history.exchanges([2, 0])] == [2, 0]


def test_counts_add_up_and_headers_may_be_absent() -> None:
    history = History.of(ROWS)
    assert history.counts() == {Ending.ANSWERED: 2, Ending.NOT_SENT: 0, Ending.UNKNOWN: 1, Ending.DROPPED: 0}
    assert history.header("X-RateLimit-Remaining") == ["99", None, None]
    assert history.header("never-kept") == [None, None, None]


def test_a_foreign_table_is_refused(tmp_path: Path) -> None:
    pl.DataFrame({"a": [1]}).write_parquet(tmp_path / "x.parquet")
    with pytest.raises(ToolError, match="got no column workload"):
        History.read(tmp_path / "x.parquet")
    (tmp_path / "x.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(ToolError, match="no readable history"):
        History.read(tmp_path / "x.parquet")

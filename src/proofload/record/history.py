"""All exchanges of a run, in columns; records are made only when they are read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from proofload.core.errors import ToolError
from proofload.record.exchange import NEVER_NS, Ending, Exchange, Fault

HEADER_PREFIX = "header:"

SCHEMA: dict[str, Any] = {
    "workload": pl.Categorical,
    "operation": pl.Categorical,
    "user": pl.UInt32,
    "source": pl.Categorical,
    "connection": pl.UInt32,
    "intended_ns": pl.Int64,
    "sent_ns": pl.Int64,
    "first_byte_ns": pl.Int64,
    "done_ns": pl.Int64,
    "ending": pl.UInt8,
    "fault": pl.UInt8,
    "status": pl.UInt16,
    "bytes_out": pl.UInt32,
    "bytes_in": pl.UInt32,
    "request_id": pl.String,
}
"""The columns that every history has. Beside them: `header:<lower-case name>` (String, null where absent)
and `body` (Binary, null where not kept)."""

CLOCK_COLUMN = "clock_uncertainty_ns"
"""How far the instants of a row may be off, where generators had clocks of their own; absent where there was one."""


class History:
    """An immutable table of exchanges, one row for every planned request, in the order of its making.

    `frame` has the columns of SCHEMA and those for kept headers and bodies. A row's number is its identity:
    findings name rows, and the same number names the same exchange after a trip through Parquet.
    """

    __slots__ = ("frame",)

    def __init__(self, frame: pl.DataFrame) -> None:
        missing = [name for name in SCHEMA if name not in frame.columns]
        if missing:
            raise ToolError(f"history: got no column {', '.join(missing)}, expected all of {', '.join(SCHEMA)}")
        self.frame = frame.with_columns([pl.col(name).cast(kind) for name, kind in SCHEMA.items()])

    @classmethod
    def empty(cls) -> History:
        """Return a history without exchanges."""
        return cls(pl.DataFrame(schema=SCHEMA))

    @classmethod
    def of(cls, exchanges: Iterable[Exchange]) -> History:
        """Return the history that holds `exchanges` in their order; their `row` numbers are given anew."""
        records = list(exchanges)
        header_names = sorted({name for record in records for name in record.headers})
        columns: dict[str, Any] = {
            name: pl.Series(name, [_plain(getattr(record, name)) for record in records], dtype=_plain_type(kind))
            for name, kind in SCHEMA.items()
        }
        for name in header_names:
            column = HEADER_PREFIX + name
            columns[column] = pl.Series(column, [record.headers.get(name) for record in records], dtype=pl.String)
        if any(record.body is not None for record in records):
            columns["body"] = pl.Series("body", [record.body for record in records], dtype=pl.Binary)
        return cls(pl.DataFrame(columns))

    @classmethod
    def concat(cls, parts: Sequence[History]) -> History:
        """Return one history with the rows of all parts, in order; header columns are united."""
        if not parts:
            return cls.empty()
        return cls(pl.concat([part.frame for part in parts], how="diagonal"))

    @classmethod
    def read(cls, path: Path) -> History:
        """Read a history from a Parquet file, or from the `*.parquet` parts of a folder in the order of their names."""
        paths = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
        try:
            return cls.concat([cls(pl.read_parquet(part)) for part in paths])
        except (OSError, pl.exceptions.PolarsError) as error:
            raise ToolError(
                f"{path}: got no readable history ({error}), expected Parquet written by proofload"
            ) from error

    def write(self, path: Path) -> None:
        """Write the history as one Parquet file."""
        self.frame.write_parquet(path, compression="zstd")

    def __len__(self) -> int:
        """Return the number of planned requests."""
        return self.frame.height

    def __iter__(self) -> Iterator[Exchange]:
        """Iterate over the exchanges as records, in row order; about a microsecond or two each."""
        return iter(self.exchanges(range(len(self))))

    def numbers(self, name: str) -> NDArray[Any]:
        """Return a numeric column as an array, without a copy where possible."""
        return self.frame[name].to_numpy()

    def clock_uncertainty_ns(self) -> NDArray[np.int64]:
        """Return for each row how far its instants may be off: judges widen [sent, done] by it on either side."""
        if CLOCK_COLUMN not in self.frame.columns:
            return np.zeros(len(self), dtype=np.int64)
        return self.frame[CLOCK_COLUMN].fill_null(0).to_numpy().astype(np.int64)

    def header(self, name: str) -> list[str | None]:
        """Return the values of a kept response header, None where absent."""
        column = HEADER_PREFIX + name.lower()
        if column not in self.frame.columns:
            return [None] * len(self)
        return self.frame[column].to_list()

    def rows_where(self, *conditions: pl.Expr) -> NDArray[np.int64]:
        """Return the row numbers for which all conditions hold, ascending."""
        numbered = self.frame.lazy().with_row_index("row").filter(*conditions).select("row").collect()
        return numbered["row"].to_numpy().astype(np.int64)

    def of_workloads(self, *names: str) -> NDArray[np.int64]:
        """Return the row numbers of the exchanges that these workloads made."""
        return self.rows_where(pl.col("workload").cast(pl.String).is_in(list(names)))

    def exchanges(self, rows: Iterable[int]) -> list[Exchange]:
        """Return the exchanges of the given row numbers as records, in the order asked for."""
        wanted = list(rows)
        if not wanted:
            return []
        header_columns = [name for name in self.frame.columns if name.startswith(HEADER_PREFIX)]
        records = []
        for row, values in zip(wanted, self.frame[wanted].iter_rows(named=True), strict=True):
            headers = {name[len(HEADER_PREFIX) :]: values[name] for name in header_columns if values[name] is not None}
            plain = {name: values[name] for name in SCHEMA}
            plain["ending"] = Ending(plain["ending"])
            plain["fault"] = Fault(plain["fault"])
            records.append(Exchange(row=row, headers=headers, body=values.get("body"), **plain))
        return records

    def counts(self) -> dict[Ending, int]:
        """Return how many exchanges ended in each way; they always add up to the number of rows."""
        counted = np.bincount(self.numbers("ending"), minlength=len(Ending))
        return {ending: int(counted[ending]) for ending in Ending}


def _plain(value: Any) -> Any:
    return int(value) if isinstance(value, Ending | Fault) else value


def _plain_type(kind: Any) -> Any:
    # Categories are made by the cast in the constructor, so that one place decides.
    return pl.String if kind == pl.Categorical else kind


__all__ = ["HEADER_PREFIX", "NEVER_NS", "SCHEMA", "History"]

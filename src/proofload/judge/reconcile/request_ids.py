"""Matches the client's exchanges with any other ledger by request id, one entry at a time but all at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from proofload.judge.verdict import Finding, Outcome, held
from proofload.record.exchange import Ending
from proofload.record.history import HEADER_PREFIX, History

_NAMED = 5


def request_ids(history: History, rows: NDArray[np.int64] | None = None) -> pl.Series:
    """Return each exchange's request id: that of the answer's `X-Request-ID`, else the one we sent; "" for none."""
    frame = history.frame if rows is None else history.frame[rows]
    column = HEADER_PREFIX + "x-request-id"
    if column in frame.columns:
        return frame.select(pl.coalesce(pl.col(column), pl.col("request_id")).alias("request_id"))["request_id"]
    return frame["request_id"]


def judge_request_ids(
    history: History,
    ledger: pl.DataFrame,
    *,
    source: str,
    prefix: str = "audit",
    rows: NDArray[np.int64] | None = None,
    ours_only: bool = True,
    needed: int = 1,
) -> list[Finding]:
    """Return `<prefix>.missing`, `.duplicated`, `.phantom` and `.altered` for a ledger with one entry a request.

    `ledger` has a column `request_id` and may have `status`: the entry is altered where it differs from the answer's.
    Answered exchanges must stand in it exactly once; unanswered ones may. An entry that no exchange explains is a
    phantom, unless `ours_only` is False: then others use the target too.
    """
    chosen = np.arange(len(history)) if rows is None else rows
    ours = pl.DataFrame(
        {
            "row": chosen,
            "request_id": request_ids(history, rows),
            "ending": history.numbers("ending")[chosen],
            "status": history.numbers("status")[chosen],
        }
    )
    sent = ours.filter(pl.col("ending").is_in([int(Ending.ANSWERED), int(Ending.UNKNOWN)]))
    must = sent.filter((pl.col("ending") == int(Ending.ANSWERED)) & (pl.col("request_id") != ""))
    entries = ledger.group_by("request_id").agg(
        pl.len().alias("entries"), *([pl.col("status").first().alias("found")] if "status" in ledger.columns else [])
    )
    matched = must.join(entries, on="request_id", how="left")
    phantom = entries.join(sent, on="request_id", how="anti").sort("request_id")
    examined = must.height
    missing = matched.filter(pl.col("entries").is_null())
    twice = matched.filter(pl.col("entries") > 1)
    findings = [
        _finding(f"{prefix}.missing", f"answered requests are not in {source}", missing, examined, needed),
        _finding(
            f"{prefix}.duplicated", f"answered requests stand more than once in {source}", twice, examined, needed
        ),
    ]
    if "status" in ledger.columns:
        other = matched.filter(pl.col("found").is_not_null() & (pl.col("found") != pl.col("status").cast(pl.Int64)))
        findings.append(
            _finding(f"{prefix}.altered", f"requests have another status in {source}", other, examined, needed)
        )
    if ours_only:
        findings.append(
            _phantoms(prefix, source, phantom["request_id"].head(_NAMED).to_list(), phantom.height, examined)
        )
    return findings


def _finding(rule: str, what: str, broken: pl.DataFrame, examined: int, needed: int) -> Finding:
    if not broken.height:
        return held(rule, f"no {what}", examined=examined, needed=needed)
    first = broken.sort("row").head(_NAMED)
    shown = tuple(f"row {row}: request {name}" for row, name in first.select("row", "request_id").iter_rows())
    return Finding(
        rule,
        Outcome.FAIL,
        f"{broken.height} of {examined} {what}",
        examined,
        needed,
        rows=tuple(first["row"].to_list()),
        shown=shown,
        look_at="the code that writes this ledger: on every way out, once a request, flushed before the answer",
        figures={"count": broken.height},
    )


def _phantoms(prefix: str, source: str, named: Sequence[str], count: int, examined: int) -> Finding:
    rule = f"{prefix}.phantom"
    if not count:
        return held(rule, f"{source} holds no request that nobody sent", examined=examined)
    says = f"{source} holds {count} requests that nobody sent"
    return Finding(rule, Outcome.FAIL, says, examined, shown=tuple(f"request {name}" for name in named))

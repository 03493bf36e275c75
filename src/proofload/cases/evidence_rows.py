"""Reads a case's evidence by its steps, and lets its findings rest on what was really put on the wire."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import polars as pl
from numpy.typing import NDArray

from proofload.judge.delivery import judge_delivery, rest_on
from proofload.judge.evidence import Evidence
from proofload.judge.verdict import Finding


def rows_of(evidence: Evidence, *steps: str) -> NDArray[np.int64]:
    """Return the rows of the named steps, in the order in which they were planned."""
    return evidence.history.of_workloads(*(f"{evidence.case}/{step}" for step in steps))


def steps_of(evidence: Evidence, prefix: str = "") -> list[str]:
    """Return the names of the steps that begin with `prefix`, sorted."""
    head = f"{evidence.case}/"
    names = {str(name).removeprefix(head) for name in evidence.history.frame["workload"].unique()}
    return sorted(name for name in names if name.startswith(prefix))


def tags_of(evidence: Evidence, rows: NDArray[np.int64]) -> NDArray[np.str_]:
    """Return the tag that the user bore when it sent each of the rows; empty where it bore none."""
    frame = evidence.history.frame
    if "tag" not in frame.columns:
        return np.full(len(rows), "", dtype=np.str_)
    return np.asarray(frame["tag"].cast(pl.String).fill_null("").gather(rows).to_list(), dtype=np.str_)


def delivered(evidence: Evidence, findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings as they stand once delivery is known, and those on delivery itself.

    When each request was due plays no part: the judges of controls go by [sent, done].
    """
    told = [finding for finding in judge_delivery(evidence.history) if finding.rule != "delivery.send_lag"]
    return [*rest_on(findings, told), *told]

"""What two cases say together that neither says alone: one user's operations at once, beside those of many users."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from proofload.judge.evidence import Evidence
from proofload.judge.latency import attribute_bottleneck
from proofload.judge.latency.samples import Samples, gather

CONTENDED, SPREAD = "TC-LOCK-001", "TC-LATENCY-001"


def diagnoses(evidence: Mapping[str, Evidence]) -> tuple[str, ...]:
    """Return a sentence for each locked operation that both cases measured; none where one of them did not run.

    p99 high for one user at once and low over many users means logical serialization, high in both that something
    runs out. It is a diagnosis, never a verdict.
    """
    if CONTENDED not in evidence or SPREAD not in evidence:
        return ()
    contended = _by_operation(evidence[CONTENDED], "burst")
    spread = _by_operation(evidence[SPREAD], "")
    locked = sorted({policy.operation for policy in evidence[CONTENDED].target.policies.locks})
    # What can't be told is said as well: silence would read as "no bottleneck".
    return tuple(
        f"{name}: {attribute_bottleneck(contended[name], spread[name]).says}"
        for name in locked
        if name in contended and name in spread
    )


def _by_operation(evidence: Evidence, step: str) -> dict[str, Samples]:
    rows = evidence.history.rows_where(pl.col("workload").cast(pl.String).str.contains(step, literal=True))
    if not len(rows):
        return {}
    return {one.name: one for one in gather(evidence.history, rows=np.asarray(rows, dtype=np.int64))}

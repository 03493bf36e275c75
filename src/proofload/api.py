"""The door for cases of one's own: drive something, judge it with our judges or a rule of one's own.

    @case("SHOP-001", "The cart reads the same to every session", requires=declared("operations.read_cart"), takes="3s")
    async def same_cart(run: CaseContext, target: Target) -> None:
        await run.run(run.steps("reads", "read_cart", 50))

    @same_cart.judge
    def judge(evidence: Evidence, target: Target) -> list[Finding]: ...

`proofload run --cases file.py` finds every such case of a file; an entry point in the group `proofload.cases` finds
those of an installed module. What is exported here stays; everything else may change. See docs/own-cases.md.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from proofload.cases.accounts import Account
from proofload.cases.case import Case, Category, Priority, case
from proofload.cases.context import CaseContext
from proofload.cases.declared_limits import GATEWAY_LIMIT, allowance, gateway_limit, polite_count
from proofload.cases.evidence_rows import delivered
from proofload.cases.requirement import NOTHING, Missing, Requirement, declared
from proofload.core.units import NS_PER_SECOND
from proofload.drive.user import Answer, User
from proofload.judge.delivery import judge_delivery, rest_on
from proofload.judge.evidence import Evidence
from proofload.judge.latency import LatencyBounds, judge_latency
from proofload.judge.linearizable import judge_linearizable
from proofload.judge.rate_limit import RateLimitContext, judge_admission, judge_headers
from proofload.judge.verdict import Finding, Outcome, held
from proofload.plan.target import Target
from proofload.record.history import History

__all__ = [
    "GATEWAY_LIMIT",
    "NOTHING",
    "NS_PER_SECOND",
    "Account",
    "Answer",
    "Case",
    "CaseContext",
    "Category",
    "Evidence",
    "Finding",
    "History",
    "LatencyBounds",
    "Missing",
    "Outcome",
    "Priority",
    "RateLimitContext",
    "Requirement",
    "Target",
    "User",
    "allowance",
    "broken",
    "case",
    "declared",
    "delivered",
    "gateway_limit",
    "held",
    "judge_admission",
    "judge_delivery",
    "judge_headers",
    "judge_latency",
    "judge_linearizable",
    "polite_count",
    "rest_on",
    "rows_of",
    "unsure",
]


def rows_of(evidence: Evidence, *steps: str) -> NDArray[np.int64]:
    """Return the rows of the named steps of this case, in their order; of all its steps where none is named."""
    if not steps:
        return np.arange(len(evidence.history), dtype=np.int64)
    return evidence.history.of_workloads(*(f"{evidence.case}/{step}" for step in steps))


def broken(rule: str, says: str, *, rows: Sequence[int] = (), look_at: str = "", examined: int = 1) -> Finding:
    """Return FAIL for a rule that these rows of the history surely break, with a line for each of the first."""
    return Finding(rule, Outcome.FAIL, says, examined, 1, tuple(int(row) for row in rows), (), look_at)


def unsure(rule: str, says: str, *, examined: int = 0) -> Finding:
    """Return INCONCLUSIVE: the evidence can't tell, and `says` why."""
    return Finding(rule, Outcome.INCONCLUSIVE, says, examined)

"""Bounds on a share that was seen in a sample, and whether a baseline is one to compare with. No I/O."""

from __future__ import annotations

import math

import numpy as np

from proofload.core.units import NS_PER_SECOND, format_duration
from proofload.judge.models.attempts import Ints
from proofload.judge.overload.capacity import good
from proofload.record.exchange import NOT_THE_TARGETS
from proofload.record.history import History

_RISK = 0.01
_MOST_FAILING = 0.05
_MOST_AT_EASE_NS = NS_PER_SECOND // 5
"""Health checks that take longer at ease show a machine, or a target, that is busy already."""


def at_least(count: int, total: int, risk: float = _RISK) -> float:
    """Return the lower Clopper-Pearson bound of a share: a smaller one shows so many with probability `risk` at most.

    >>> round(at_least(3, 45), 3), at_least(0, 45), round(at_least(45, 45), 3)
    (0.01, 0.0, 0.903)
    """
    return 1 - at_most(total - count, total, risk)


def at_most(count: int, total: int, risk: float = _RISK) -> float:
    """Return the upper Clopper-Pearson bound of a share: a greater one shows so few with probability `risk` at most.

    >>> round(at_most(0, 45), 3), at_most(45, 45), at_most(0, 0)
    (0.097, 1.0, 1.0)
    """
    if count >= total:
        return 1.0
    low, high = count / total, 1.0
    for _ in range(50):
        share = (low + high) / 2
        low, high = (share, high) if _up_to(count, total, share) > risk else (low, share)
    return high


def _up_to(count: int, total: int, share: float) -> float:
    """Return the probability of at most `count` of `total`, by the logarithms of the binomial terms."""
    if not 0 < share < 1:
        return 1.0 if share <= 0 else 0.0
    return math.fsum(
        math.exp(
            math.lgamma(total + 1) - math.lgamma(one + 1) - math.lgamma(total - one + 1)
            + one * math.log(share) + (total - one) * math.log1p(-share)
        )
        for one in range(count + 1)
    )  # fmt: skip


def targets_own(history: History, rows: Ints) -> Ints:
    """Return the rows that say something of the target: without those that were lost on our own side."""
    ours = np.isin(history.numbers("fault")[rows], [int(one) for one in NOT_THE_TARGETS])
    kept: Ints = rows[~ours]
    return kept


def unwell(history: History, rows: Ints, slow_ns: int) -> Ints:
    """Return the health checks that reached the target and were not answered well within `slow_ns`."""
    rows = targets_own(history, rows)
    took = history.numbers("done_ns")[rows] - history.numbers("sent_ns")[rows]
    bad: Ints = rows[~(good(history, rows) & (took <= slow_ns)) & (history.numbers("sent_ns")[rows] >= 0)]
    return bad


def no_baseline(history: History, baseline: Ints, health: Ints | None, error_marks: tuple[bytes, ...] = ()) -> str:
    """Return why nothing can be compared with what was seen before any overload; empty where it can."""
    rows = targets_own(history, baseline)
    failed = len(rows) - int(np.count_nonzero(good(history, rows, error_marks)))
    if failed > max(2, _MOST_FAILING * len(rows)):
        return f"no healthy baseline: {failed} of {len(rows)} requests failed before any overload"
    if health is None or not len(health):
        return ""
    bad = unwell(history, health, NS_PER_SECOND)
    if len(bad) > _MOST_FAILING * len(health):
        return (
            f"no healthy baseline: {len(bad)} of {len(health)} health checks failed or took more than a second"
            " before any overload"
        )
    fine = health[good(history, health)]
    usual = int(np.median((history.numbers("done_ns") - history.numbers("sent_ns"))[fine])) if len(fine) else 0
    if usual > _MOST_AT_EASE_NS:
        return f"no healthy baseline: half of the health checks took over {format_duration(usual)} before any overload"
    return ""

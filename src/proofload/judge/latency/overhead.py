"""Judges what a control costs each request, from blocks with it and blocks without it that lie side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from proofload.core.units import format_duration
from proofload.judge.latency.percentiles import ACCUSING_CONFIDENCE, CONFIDENCE, interval_ranks
from proofload.judge.verdict import Finding, Outcome

LEAST_ROUNDS = 6
"""The least rounds whose median can be bounded from both sides."""
_ENDING_CONFIDENCE = 0.99
"""Who looks again and again and stops at the first answer that suits would be fooled sooner: so more is asked then."""
_COUNTED_OUT = 60
"""Up to so many rounds every toss is counted out."""
_MEDIAN = 500
_ROUNDS_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Round:
    """The usual response time with the control and without it, from blocks in the order on, off, off, on.

    In that order a drift of the machine touches both alike.
    """

    on_ns: float
    off_ns: float
    row: int = 0
    """A request of the round, to find it by."""

    @property
    def share(self) -> float:
        """Return what the control adds, as a share of the time without it."""
        return self.on_ns / self.off_ns - 1


def enough_rounds(rounds: Sequence[Round], at_most: float) -> bool:
    """Return whether further rounds could hardly change what `judge_overhead` says of these.

    To be asked as rounds come in: the cost lies surely within the bound (99 %, not the judge's 95 %), or beyond it.
    """
    shares = np.sort([one.share for one in rounds])
    if len(shares) < LEAST_ROUNDS:
        return False
    accusing, _ = interval_ranks(len(shares), _MEDIAN, ACCUSING_CONFIDENCE)
    return _fits(shares, at_most, _ENDING_CONFIDENCE) or (accusing >= 1 and bool(shares[accusing - 1] > at_most))


def judge_overhead(rule: str, what: str, rounds: Sequence[Round], *, at_most: float, look_at: str) -> Finding:
    """Return whether `what` adds no more than the share `at_most` to the time of a request.

    Each round is a paired measurement. In the order on, off, off, on unrest is as likely to touch either, so the
    rounds scatter evenly about what the control adds, and 95 % are bounded by Wilcoxon's signed ranks (Hodges and
    Lehmann, 1963): PASS where that interval lies within the bound. To accuse, nothing is assumed of the scatter: FAIL
    where the interval of 99.98 % by order statistics lies beyond the bound. Else the machine was too restless to tell.
    `rule` is `mon.overhead` or `audit.overhead`.
    """
    count = len(rounds)
    if count < LEAST_ROUNDS:
        return Finding(rule, Outcome.INCONCLUSIVE, f"{count} rounds of blocks with and without", count, LEAST_ROUNDS)
    shares = np.sort([one.share for one in rounds])
    at_least, bound = _signed_rank_interval(shares, CONFIDENCE)
    accusing, _ = interval_ranks(count, _MEDIAN, ACCUSING_CONFIDENCE)
    median = float(np.median(shares))
    saved_ns = round(float(np.median([one.on_ns - one.off_ns for one in rounds])))
    took_ns = round(float(np.median([one.off_ns for one in rounds])))
    between = f"{_percent(at_least)} to {_percent(bound)}"
    says = (
        f"{what} adds {_percent(median)} to a request of {format_duration(took_ns)} (95 % sure: {between}, "
        f"{count} rounds), {_percent(at_most)} is allowed"
    )
    figures = {"share": round(median, 5), "added_ns": saved_ns, "without_ns": took_ns, "rounds": count}
    if accusing >= 1 and shares[accusing - 1] > at_most:
        worst = sorted(rounds, key=lambda one: one.share)[len(rounds) // 2 :][:_ROUNDS_SHOWN]
        shown = tuple(
            f"from row {one.row}: {format_duration(round(one.on_ns))} with it, "
            f"{format_duration(round(one.off_ns))} without"
            for one in worst
        )
        rows = tuple(one.row for one in worst)
        return Finding(rule, Outcome.FAIL, says, count, LEAST_ROUNDS, rows, shown, look_at, figures)
    outcome = Outcome.PASS if _fits(shares, at_most, CONFIDENCE) else Outcome.INCONCLUSIVE
    return Finding(rule, outcome, says, count, LEAST_ROUNDS, figures=figures)


def _fits(shares: NDArray[np.float64], at_most: float, confidence: float) -> bool:
    _, bound = _signed_rank_interval(shares, confidence)
    return bool(np.median(shares) <= at_most) and bound is not None and bound <= at_most


def _signed_rank_interval(shares: NDArray[np.float64], confidence: float) -> tuple[float | None, float | None]:
    """Return the bounds of the centre of a symmetric scatter; None where there are too few rounds to bound it."""
    left_out = _ranks_left_out(len(shares), (1 - confidence) / 2)
    if left_out < 1:
        return None, None
    first, second = np.triu_indices(len(shares))
    means = np.sort((shares[first] + shares[second]) / 2)
    return float(means[left_out - 1]), float(means[-left_out])


def _ranks_left_out(count: int, risk: float) -> int:
    """Return how many of the lowest sums of signed ranks have, together, a chance of no more than `risk`."""
    if count > _COUNTED_OUT:
        # Many such sums are as good as normal: mean n(n+1)/4, variance n(n+1)(2n+1)/24.
        mean, spread = count * (count + 1) / 4, math.sqrt(count * (count + 1) * (2 * count + 1) / 24)
        return max(0, int(mean + NormalDist().inv_cdf(risk) * spread))
    # The chance of each sum of ranks, when each of the ranks 1 … count bears a plus or a minus by the toss of a coin.
    chances = np.ones(1)
    for rank in range(1, count + 1):
        tossed = np.zeros(len(chances) + rank)
        tossed[: len(chances)] += chances / 2
        tossed[rank:] += chances / 2
        chances = tossed
    return int(np.searchsorted(np.cumsum(chances), risk, side="right"))


def _percent(share: float | None) -> str:
    return "?" if share is None else f"{share:.1%}".replace("%", " %")

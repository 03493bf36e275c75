"""Judges what a control costs each request, from blocks with it and blocks without it that lie side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from proofload.core.units import format_duration
from proofload.judge.latency.percentiles import ACCUSING_CONFIDENCE, CONFIDENCE, interval_ranks
from proofload.judge.verdict import Finding, Outcome

LEAST_ROUNDS = 6
"""The least rounds whose median can be bounded from both sides."""
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


def judge_overhead(rule: str, what: str, rounds: Sequence[Round], *, at_most: float, look_at: str) -> Finding:
    """Return whether `what` adds no more than the share `at_most` to the time of a request.

    Each round is a paired measurement; the median of the rounds is bounded by order statistics, no distribution is
    assumed. PASS where the interval of 95 % lies within the bound, FAIL where one of 99.98 % lies beyond it, else the
    machine was too restless to tell. `rule` is `mon.overhead` or `audit.overhead`.
    """
    count = len(rounds)
    if count < LEAST_ROUNDS:
        return Finding(rule, Outcome.INCONCLUSIVE, f"{count} rounds of blocks with and without", count, LEAST_ROUNDS)
    shares = np.sort([one.share for one in rounds])
    low, high = interval_ranks(count, _MEDIAN, CONFIDENCE)
    accusing, _ = interval_ranks(count, _MEDIAN, ACCUSING_CONFIDENCE)
    median = float(np.median(shares))
    saved_ns = round(float(np.median([one.on_ns - one.off_ns for one in rounds])))
    took_ns = round(float(np.median([one.off_ns for one in rounds])))
    at_least = float(shares[low - 1]) if low >= 1 else None
    bound = float(shares[high - 1]) if high <= count else None
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
    fits = bound is not None and bound <= at_most
    outcome = Outcome.PASS if fits else Outcome.INCONCLUSIVE
    return Finding(rule, outcome, says, count, LEAST_ROUNDS, figures=figures)


def _percent(share: float | None) -> str:
    return "?" if share is None else f"{share:.1%}".replace("%", " %")

"""Is it slower than before? Better, worse, the same within noise, or not enough samples to tell."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from proofload.core.seeds import array_stream
from proofload.core.units import format_duration
from proofload.judge.latency.percentiles import CONFIDENCE, effective_samples, percentile_ns, samples_needed
from proofload.judge.verdict import Finding, Outcome

LEAST_EFFECT = 0.10
_REPLICATES = 20_000
_ACCUSING_RISK = 2.5e-4


class Change(enum.StrEnum):
    """What a comparison can say."""

    BETTER = "better"
    WORSE = "worse"
    SAME = "same within noise"
    CANNOT_TELL = "not enough samples to tell"


@dataclass(frozen=True, slots=True)
class Comparison:
    """One percentile before and after, and the interval of the ratio after / before."""

    per_mille: int
    change: Change
    before_ns: int
    after_ns: int
    ratio: float
    ratio_low: float
    ratio_high: float
    samples: int
    """Of the smaller side."""
    needed: int
    """About how many samples each side needs for an answer; no more than `samples` where one was reached."""


def compare(
    before_ns: NDArray[np.int64],
    after_ns: NDArray[np.int64],
    per_mille: int,
    *,
    least_effect: float = LEAST_EFFECT,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> Comparison:
    """Return how a percentile changed; both arrays hold response times in the order in which they were due.

    A bootstrap of each side gives an interval for the ratio. Wholly beyond the least effect (and by a wider interval,
    which chance leaves once in 4,000 times) it is worse or better, wholly within it the same; across its edge the
    samples can't tell, and the width says how many would. Neither side is resampled one by one: the percentile of a
    resample is the sample at a Beta-distributed rank (the distribution of a uniform order statistic), which is the
    same bootstrap in one step. Clustered samples count as the fewer that they are worth.
    """
    count = min(len(before_ns), len(after_ns))
    floor = samples_needed(per_mille, confidence)
    if count == 0:
        return Comparison(per_mille, Change.CANNOT_TELL, 0, 0, math.nan, math.nan, math.nan, 0, floor)
    before, after = np.sort(before_ns), np.sort(after_ns)
    was, is_now = percentile_ns(before, per_mille), percentile_ns(after, per_mille)
    worth = [effective_samples(side, value) for side, value in ((before_ns, was), (after_ns, is_now))]
    logs = _replicates(after, per_mille, worth[1], seed, "after") - _replicates(
        before, per_mille, worth[0], seed, "before"
    )
    risk = (1 - confidence) / 2
    accusing = min(risk, _ACCUSING_RISK)
    least, low, high, most = (float(one) for one in np.quantile(logs, (accusing, risk, 1 - risk, 1 - accusing)))
    edge = math.log1p(least_effect)
    needed = count
    if min(worth) < floor:
        change, needed = Change.CANNOT_TELL, math.ceil(floor * count / min(worth))
    elif least > edge:
        change = Change.WORSE
    elif most < -edge:
        change = Change.BETTER
    elif -edge <= low and high <= edge:
        change = Change.SAME
    else:
        change = Change.CANNOT_TELL
        # Widths shrink with the square root: half a width of half the least effect tells in nearly every case.
        needed = max(2 * count, math.ceil(count * ((high - low) / edge) ** 2))
    ratio = is_now / max(1, was)
    return Comparison(per_mille, change, was, is_now, ratio, math.exp(low), math.exp(high), count, needed)


def judge_against_baseline(
    before: Mapping[str, NDArray[np.int64]],
    after: Mapping[str, NDArray[np.int64]],
    *,
    per_milles: tuple[int, ...] = (500, 900, 990),
    least_effect: float = LEAST_EFFECT,
    seed: int = 0,
) -> list[Finding]:
    """Return `lat.regression` for every operation of the baseline: response times in due order, by operation.

    Worse is FAIL, not enough samples INCONCLUSIVE, an operation that is no longer measured INCONCLUSIVE. Each
    comparison's risk is divided by their number, so that many operations don't make a false alarm likely.
    """
    confidence = 1 - (1 - CONFIDENCE) / max(1, len(before) * len(per_milles))
    findings = []
    for operation in sorted(before):
        if operation not in after:
            says = f"{operation}: measured in the baseline, but not now"
            findings.append(Finding("lat.regression", Outcome.INCONCLUSIVE, says))
            continue
        compared = [
            compare(
                before[operation], after[operation], one, least_effect=least_effect, confidence=confidence, seed=seed
            )
            for one in per_milles
        ]
        findings.append(_finding(operation, compared, least_effect))
    return findings


def _finding(operation: str, compared: list[Comparison], least_effect: float) -> Finding:
    changes = {one.change for one in compared}
    if Change.WORSE in changes:
        outcome, change = Outcome.FAIL, Change.WORSE
    elif Change.CANNOT_TELL in changes:
        outcome, change = Outcome.INCONCLUSIVE, Change.CANNOT_TELL
    else:
        outcome, change = Outcome.PASS, Change.BETTER if Change.BETTER in changes else Change.SAME
    lines = tuple(_line(one) for one in compared)
    figures: dict[str, int | float | str] = {"of": operation, "change": str(change), "least_effect": least_effect}
    for one in compared:
        figures[f"ratio_per_mille_{one.per_mille}"] = round(one.ratio, 4)
    return Finding(
        "lat.regression",
        outcome,
        f"{operation}: {change} than the baseline"
        if change in (Change.WORSE, Change.BETTER)
        else f"{operation}: {change}",
        compared[0].samples,
        max(one.needed for one in compared) if change is Change.CANNOT_TELL else 1,
        shown=lines,
        look_at="what changed since the baseline was saved" if outcome is Outcome.FAIL else "",
        figures=figures,
    )


def _line(one: Comparison) -> str:
    name = f"p{one.per_mille / 10:g}"
    told = f"{name} {format_duration(one.before_ns)} → {format_duration(one.after_ns)}: {one.change}"
    if not math.isnan(one.ratio_low):
        told += f" (ratio {one.ratio_low:.2f} … {one.ratio_high:.2f})"
    if one.change is Change.CANNOT_TELL:
        told += f"; about {one.needed} samples a side would"
    return told


def _replicates(ordered: NDArray[np.int64], per_mille: int, worth: int, seed: int, side: str) -> NDArray[np.float64]:
    """Return logarithms of the percentile in each resample of `worth` independent samples."""
    rank = max(1, -(-worth * per_mille // 1000))
    share = array_stream(seed, "bootstrap", side, per_mille).beta(rank, worth - rank + 1, size=_REPLICATES)
    chosen = np.minimum((share * len(ordered)).astype(np.int64), len(ordered) - 1)
    logs: NDArray[np.float64] = np.log(np.maximum(ordered[chosen], 1).astype(np.float64))
    return logs

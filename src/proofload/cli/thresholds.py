"""`--fail-if 'p99 > 200ms'`: what must not be so. A threshold that nothing was measured for has failed, too."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from proofload.core.errors import PlanError, Problem
from proofload.core.units import NS_PER_SECOND, format_duration, parse_duration_ns, parse_rate_per_second
from proofload.drive.stats import Progress
from proofload.record.exchange import NOT_THE_TARGETS

_SHAPE = re.compile(r"(?P<metric>[a-z]+(?:[-\d.]+)?)\s*(?P<sign>>=|<=|>|<)\s*(?P<bound>.+)")
_SIGNS: dict[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    "<": operator.lt,
    ">=": operator.ge,
    "<=": operator.le,
}
_PERCENTILE = re.compile(r"p(\d{1,2}(?:\.\d)?)")
_STATUS = re.compile(r"status-([1-9]\d\d)")
_LEAST_ERROR_STATUS = 400
_EXPECTED = (
    "a metric (p50 … p99.9, max, rate, errors, dropped, checks, status-503), one of > < >= <=, and a bound"
    " such as 200ms, 1%, 450/s"
)


@dataclass(frozen=True, slots=True)
class Threshold:
    """One condition under which the command fails."""

    text: str
    metric: str
    sign: str
    bound: float

    @classmethod
    def of(cls, text: str) -> Threshold:
        """Return the threshold that the text states. Raises PlanError.

        >>> Threshold.of("p99 > 200ms").bound
        200000000.0
        """
        shape = _SHAPE.fullmatch(text.strip())
        expected = _EXPECTED
        if shape is not None:
            try:
                return cls(
                    text.strip(), shape["metric"], shape["sign"], _bound(shape["metric"], shape["bound"].strip())
                )
            except ValueError as error:
                expected = str(error)
        raise PlanError([Problem("--fail-if", repr(text), expected, "see docs/workloads.md")])

    @property
    def is_latency(self) -> bool:
        """Whether it bounds how long answers take."""
        return self.metric == "max" or bool(_PERCENTILE.fullmatch(self.metric))

    def judge(self, progress: Progress) -> JudgedThreshold:
        """Return whether the condition is met, and by what."""
        measured, samples = _measure(self.metric, progress)
        if measured is None:
            return JudgedThreshold(self, failed=True, samples=0, told="nothing was measured")
        failed = _SIGNS[self.sign](measured, self.bound)
        return JudgedThreshold(self, failed, samples, _told(self.metric, measured))


@dataclass(frozen=True, slots=True)
class JudgedThreshold:
    """A threshold with what was measured."""

    threshold: Threshold
    failed: bool
    samples: int
    told: str


def judge_all(thresholds: Sequence[Threshold], progress: Progress) -> list[JudgedThreshold]:
    """Return every threshold with what was measured, in order."""
    return [threshold.judge(progress) for threshold in thresholds]


def _bound(metric: str, text: str) -> float:
    if metric == "max" or _PERCENTILE.fullmatch(metric):
        return float(parse_duration_ns(text))
    if metric == "rate":
        return float(parse_rate_per_second(text))
    if metric in ("errors", "dropped", "checks") or _STATUS.fullmatch(metric):
        number = text.removesuffix("%").strip()
        if not text.endswith("%") and number != "0":
            raise ValueError(f"a share in percent, such as 1%, for {metric}")
        return float(Fraction(number)) / 100
    raise ValueError(_EXPECTED)


def _measure(metric: str, progress: Progress) -> tuple[float | None, int]:
    """Return the measured value and how many samples it rests on; None where there is none."""
    if metric == "max" or _PERCENTILE.fullmatch(metric):
        good = progress.good
        per_mille = 1_000 if metric == "max" else round(float(metric[1:]) * 10)
        return (float(good.percentile_ns(per_mille)), good.samples) if good.samples else (None, 0)
    # What was lost on our side of a connection is neither the target's error nor its success.
    ours = sum(progress.by_fault.get(fault.name, 0) for fault in NOT_THE_TARGETS)
    ended = progress.answered + progress.not_sent + progress.unknown + progress.dropped - ours
    if metric == "rate":
        seconds = progress.elapsed_ns / NS_PER_SECOND
        return (progress.answered / seconds, progress.answered) if ended and seconds else (None, 0)
    if metric == "checks":
        held = sum(one for one, _ in progress.checks.values())
        made = sum(sum(pair) for pair in progress.checks.values())
        return (held / made, made) if made else (None, 0)
    if not ended:
        return None, 0
    status = _STATUS.fullmatch(metric)
    if status:
        return progress.by_status.get(int(status[1]), 0) / ended, ended
    if metric == "dropped":
        return progress.dropped / ended, ended
    wrong = sum(many for code, many in progress.by_status.items() if code >= _LEAST_ERROR_STATUS)
    return (ended - progress.answered + wrong) / ended, ended


def _told(metric: str, measured: float) -> str:
    if metric == "max" or _PERCENTILE.fullmatch(metric):
        return format_duration(round(measured))
    return f"{measured:,.1f}/s" if metric == "rate" else f"{measured:.2%}"

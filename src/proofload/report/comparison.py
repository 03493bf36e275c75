"""One run beside an earlier one: latency, capacity and verdicts, each better, worse, the same, or not to be told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from proofload.core.units import format_duration
from proofload.judge.baseline import LEAST_EFFECT, Change, compare
from proofload.judge.latency.percentiles import CONFIDENCE
from proofload.judge.verdict import Outcome

Samples = Mapping[str, NDArray[np.int64]]
_PER_MILLES = (500, 900, 990)


@dataclass(frozen=True, slots=True)
class Remembered:
    """What is kept of a run to compare later ones with."""

    name: str
    """Of the target."""
    began: str
    verdicts: Mapping[str, Outcome]
    samples: Samples
    """Response times in due order, by case and operation."""
    capacity: Mapping[str, tuple[float, float]]
    """Bounds of what was found to be carried, in requests a second, by case."""


@dataclass(frozen=True, slots=True)
class Compared:
    """One thing before and after."""

    kind: str
    """`verdict`, `latency` or `capacity`."""
    what: str
    before: str
    after: str
    change: Change
    why: str = ""
    """The interval, or what would tell."""


def compare_runs(before: Remembered, after: Remembered, *, least_effect: float = LEAST_EFFECT) -> list[Compared]:
    """Return what changed between two runs, the worst first. What only one of them measured can't be told."""
    found = [*_verdicts(before, after), *_capacity(before, after, least_effect), *_latency(before, after, least_effect)]
    order = [Change.WORSE, Change.CANNOT_TELL, Change.BETTER, Change.SAME]
    return sorted(found, key=lambda one: order.index(one.change))


def overall(compared: Sequence[Compared]) -> Change:
    """Return the worst of several changes; nothing compared tells nothing.

    >>> overall([]).name
    'CANNOT_TELL'
    """
    changes = {one.change for one in compared} or {Change.CANNOT_TELL}
    return next(one for one in (Change.WORSE, Change.CANNOT_TELL, Change.BETTER, Change.SAME) if one in changes)


def _verdicts(before: Remembered, after: Remembered) -> list[Compared]:
    found = []
    for case in sorted(before.verdicts.keys() | after.verdicts.keys()):
        was, is_now = before.verdicts.get(case), after.verdicts.get(case)
        told = [one.name if one is not None else "not run" for one in (was, is_now)]
        if was is None or was is Outcome.SKIPPED:
            # There was nothing to keep; what was proven since is no change for the worse.
            continue
        if was is is_now and was in (Outcome.PASS, Outcome.FAIL):
            change = Change.SAME
        elif was is Outcome.PASS and is_now is Outcome.FAIL:
            change = Change.WORSE
        elif was is Outcome.FAIL and is_now is Outcome.PASS:
            change = Change.BETTER
        else:
            change = Change.CANNOT_TELL
        why = "one of the two proves nothing" if change is Change.CANNOT_TELL else ""
        found.append(Compared("verdict", case, told[0], told[1], change, why))
    return found


def _capacity(before: Remembered, after: Remembered, least_effect: float) -> list[Compared]:
    found = []
    for case, (was_low, was_high) in sorted(before.capacity.items()):
        told = _range(was_low, was_high)
        if case not in after.capacity:
            found.append(Compared("capacity", case, told, "not found", Change.CANNOT_TELL, "it was not found again"))
            continue
        low, high = after.capacity[case]
        least, most = low / max(was_high, 1e-9), high / max(was_low, 1e-9)
        if most < 1 / (1 + least_effect):
            change = Change.WORSE
        elif least > 1 + least_effect:
            change = Change.BETTER
        elif least >= 1 / (1 + least_effect) and most <= 1 + least_effect:
            change = Change.SAME
        else:
            change = Change.CANNOT_TELL
        found.append(Compared("capacity", case, told, _range(low, high), change, f"ratio {least:.2f} … {most:.2f}"))
    return found


def _latency(before: Remembered, after: Remembered, least_effect: float) -> list[Compared]:
    # The risk is shared out over all comparisons, so that many operations make no false alarm likely.
    confidence = 1 - (1 - CONFIDENCE) / max(1, len(before.samples) * len(_PER_MILLES))
    found = []
    for name in sorted(before.samples):
        if name not in after.samples:
            found.append(Compared("latency", name, "measured", "not measured", Change.CANNOT_TELL))
            continue
        for per_mille in _PER_MILLES:
            one = compare(
                before.samples[name],
                after.samples[name],
                per_mille,
                least_effect=least_effect,
                confidence=confidence,
            )
            why = f"ratio {one.ratio_low:.2f} … {one.ratio_high:.2f}" if one.samples else "no samples"
            if one.change is Change.CANNOT_TELL:
                why += f"; about {one.needed:,} samples a side would tell"
            told = (format_duration(one.before_ns), format_duration(one.after_ns))
            found.append(Compared("latency", f"{name} p{per_mille / 10:g}", *told, one.change, why))
    return found


def _range(low: float, high: float) -> str:
    return f"{low:,.0f} to {high:,.0f}/s"

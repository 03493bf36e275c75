"""Shapes of trouble in time: stalls that come back, a slow few, growth, a cold start, and more than one mode."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from proofload.core.seeds import array_stream
from proofload.core.units import NS_PER_SECOND, format_duration
from proofload.judge.latency.percentiles import percentile_ns, samples_needed
from proofload.judge.latency.samples import Samples
from proofload.judge.verdict import Finding, Outcome, held

_SLICES = 12
_KENDALL_DEVIATIONS = 3.1
"""One-sided chance below 1 in 1,000."""
_CHANCE = 1e-4
_LEAST_GAPS = 3
_TRIALS = 20_000
_STEADY = 1.2
_PEAK_SHARES = (0.5, 0.25, 0.0)
_LEAST_SLOW = 10


@dataclass(frozen=True, slots=True)
class LatencyBounds:
    """From where on a shape counts as trouble; each is a least effect, so that noise is never accused."""

    failed_per_mille: int = 10
    slow_factor: int = 10
    """Slow is this many times the median …"""
    slow_least_ns: int = 50_000_000
    """… and at least this much above it."""
    stall_least_ns: int = 100_000_000
    slow_few_per_mille: tuple[int, int] = (5, 50)
    growth_factor: float = 1.5
    growth_least_ns: int = 5_000_000
    cold_least_ns: int = 250_000_000


def judge_stalls(samples: Samples, bounds: LatencyBounds) -> Finding:
    """Return `lat.periodic_stall`: FAIL where everything stops again and again, at intervals too even for chance.

    All requests that a stall holds up end together when it ends, so its end is the sharp instant. Under random stalls
    the intervals between the ends are exponential; the finding needs them more even than 1 in 10,000 such would be,
    and three of them.
    """
    rule = "lat.periodic_stall"
    threshold = max(bounds.stall_least_ns, bounds.slow_factor * _median(samples))
    all_ends, peaks = _episodes(samples, threshold, bounds.stall_least_ns)
    says = f"{samples.name}: {len(all_ends)} episodes of answers slower than {format_duration(threshold)}"
    for share in _PEAK_SHARES:
        # Between the great stalls there may be small ones of another cause: the great ones are tried by themselves.
        ends = all_ends[peaks >= share * peaks.max(initial=0)]
        gaps = np.diff(ends)
        if len(gaps) < _LEAST_GAPS or _chance_of_evenness(gaps) * len(_PEAK_SHARES) >= _CHANCE:
            continue
        period = int(np.median(gaps))
        slow = np.flatnonzero(samples.response_ns > threshold)
        longest = int(samples.response_ns[slow].max())
        return Finding(
            rule,
            Outcome.FAIL,
            f"{samples.name}: answers stop for up to {format_duration(longest)} every {format_duration(period)}",
            len(samples),
            rows=tuple(int(samples.rows[at]) for at in slow[:5]),
            shown=tuple(
                f"stall {number} ended {format_duration(int(end - samples.due_ns[0]))} after the first request was due"
                for number, end in enumerate(ends[:10], 1)
            ),
            look_at="timers, garbage collection, checkpoints, log rotation: whatever runs at that interval",
            figures={"of": samples.name, "period_ns": period, "episodes": len(ends), "longest_ns": longest},
        )
    return held(rule, f"{says}, none of them periodic", examined=len(samples), needed=50, episodes=len(all_ends))


def judge_slow_few(samples: Samples, bounds: LatencyBounds) -> Finding:
    """Return `lat.slow_one_percent`: FAIL where a small share of requests, spread over the run, is far slower.

    Only those count whose neighbours in time were not slow: when the machine does something else for a while, all are.
    They must be a group of their own (hardly anything lies between them and the rest) and stand all over the run.
    """
    rule = "lat.slow_one_percent"
    count, median = len(samples), _median(samples)
    threshold = max(median + bounds.slow_least_ns, bounds.slow_factor * median)
    high = np.concatenate(([True], samples.response_ns > median + (threshold - median) // 4, [True]))
    alone = high[1:-1] & ~high[:-2] & ~high[2:]
    slow = np.flatnonzero(alone & (samples.response_ns > threshold))
    between = int(alone.sum()) - len(slow)
    least, most = bounds.slow_few_per_mille
    figures: dict[str, int | float | str] = {"of": samples.name, "slow": len(slow), "threshold_ns": threshold}
    says = f"{samples.name}: {len(slow)} of {count} requests took more than {format_duration(threshold)} by themselves"
    spread_out = len(slow) >= _LEAST_SLOW and _slices_hit(samples, slow) >= _SLICES // 2
    if least * count <= 1000 * len(slow) <= most * count and between * 4 <= len(slow) and spread_out:
        return Finding(
            rule,
            Outcome.FAIL,
            f"{says}, where half take {format_duration(median)} or less",
            count,
            rows=tuple(int(samples.rows[at]) for at in slow[:5]),
            shown=tuple(
                f"row {samples.rows[at]}: due {format_duration(int(samples.due_ns[at] - samples.due_ns[0]))} "
                f"into the run, took {format_duration(int(samples.response_ns[at]))}"
                for at in slow[:5]
            ),
            look_at="a slow path taken by few requests: cache misses, retries, reconnects, a bad replica",
            figures=figures,
        )
    return held(rule, f"{says}: no slow group of its own", examined=count, needed=samples_needed(990), **figures)


def judge_growth(samples: Samples, bounds: LatencyBounds) -> Finding:
    """Return `lat.grows_with_time`: FAIL where the median rises through the run under a load that does not.

    Kendall's test on the medians of twelve equal parts, and a least effect between the first and the last third.
    """
    rule = "lat.grows_with_time"
    parts = np.array_split(samples.response_ns, _SLICES)
    if len(samples) < 10 * _SLICES:
        return held(rule, f"{samples.name}: too few to see growth", examined=len(samples), needed=10 * _SLICES)
    if not _steady(samples.due_ns):
        return Finding(rule, Outcome.SKIPPED, f"{samples.name}: the load itself grew, so latency may", len(samples))
    medians = [percentile_ns(np.sort(part), 500) for part in parts]
    score = sum((late > early) - (late < early) for early, late in itertools.combinations(medians, 2))
    deviation = (_SLICES * (_SLICES - 1) * (2 * _SLICES + 5) / 18) ** 0.5
    third = len(samples) // 3
    first = percentile_ns(np.sort(samples.response_ns[:third]), 500)
    last = percentile_ns(np.sort(samples.response_ns[-third:]), 500)
    says = f"{samples.name}: the median went from {format_duration(first)} to {format_duration(last)} over the run"
    figures: dict[str, int | float | str] = {"of": samples.name, "first_ns": first, "last_ns": last}
    grew = last >= bounds.growth_factor * first and last - first >= bounds.growth_least_ns
    if score > _KENDALL_DEVIATIONS * deviation and grew:
        return Finding(
            rule,
            Outcome.FAIL,
            f"{says} under a steady load",
            len(samples),
            shown=tuple(f"part {number}: median {format_duration(one)}" for number, one in enumerate(medians, 1)),
            look_at="what accumulates: lists that are searched, tables without an index, unbounded caches and queues",
            figures=figures,
        )
    return held(rule, says, examined=len(samples), needed=10 * _SLICES, **figures)


def judge_slow_first(samples: Samples, bounds: LatencyBounds) -> Finding:
    """Return `lat.slow_first_request`: FAIL where the first request alone pays for starting something up."""
    rule = "lat.slow_first_request"
    if len(samples) < 50:
        return held(rule, f"{samples.name}: too few to compare the first with", examined=len(samples), needed=50)
    first, rest = int(samples.response_ns[0]), np.sort(samples.response_ns[1:])
    usual = percentile_ns(rest, 990)
    says = f"{samples.name}: the first request took {format_duration(first)}, 99 of 100 others {format_duration(usual)}"
    figures: dict[str, int | float | str] = {"of": samples.name, "first_ns": first, "p99_of_others_ns": usual}
    if first > max(bounds.cold_least_ns, bounds.slow_factor * usual):
        row = int(samples.rows[0])
        look_at = "what is set up lazily at the first request: pools, caches, compiled templates, imports"
        return Finding(rule, Outcome.FAIL, says, len(samples), rows=(row,), look_at=look_at, figures=figures)
    return held(rule, says, examined=len(samples), needed=50, **figures)


def count_modes(response_ns: NDArray[np.int64]) -> int:
    """Return how many clearly separate groups the latencies form on a logarithmic axis.

    A group is a peak that holds at least 1 in 100 samples and from which the next is parted by a valley of less than a
    third of the lower peak.
    """
    if len(response_ns) < 100:
        return 1
    logs = np.log10(np.maximum(response_ns, 1).astype(np.float64))
    width = 0.05
    kernel = np.array([1, 2, 3, 2, 1]) / 9
    # Never fewer bins than the kernel is long: `same` would then answer with the kernel's length.
    bins = max(len(kernel), int((logs.max() - logs.min()) / width) + 3)
    counts, _ = np.histogram(logs, bins=bins)
    smooth = np.convolve(counts, kernel, mode="same")
    groups, peak, valley, mass = 0, 0.0, float("inf"), 0.0
    for height, count in zip(smooth, counts, strict=True):
        if peak and height < valley:
            valley = float(height)
        if height > 3 * valley and peak > 3 * valley:
            groups += mass * 100 >= len(logs)
            peak, valley, mass = 0.0, float("inf"), 0.0
        if height > peak:
            peak, valley = float(height), float("inf")
        mass += float(count)
    return max(1, groups + (mass * 100 >= len(logs)))


def warm_up_samples(samples: Samples) -> int:
    """Return how many of the first samples are clearly slower than what follows: the end of the last slow slice."""
    size = len(samples) // (4 * _SLICES)
    if size < 5:
        return 0
    settled = percentile_ns(np.sort(samples.response_ns[len(samples) // 2 :]), 900)
    warm = 0
    while warm + size <= len(samples) // 2:
        if percentile_ns(np.sort(samples.response_ns[warm : warm + size]), 500) <= settled:
            break
        warm += size
    return warm


def _median(samples: Samples) -> int:
    return percentile_ns(np.sort(samples.response_ns), 500)


def _episodes(samples: Samples, threshold_ns: int, apart_ns: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return when each group of slow answers ended, and its slowest; groups lie `apart_ns` of quiet from each other."""
    slow = samples.response_ns > threshold_ns
    begins, took = samples.due_ns[slow], samples.response_ns[slow]
    if not len(begins):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    ends = np.maximum.accumulate(begins + took)
    starts_anew = begins[1:] > ends[:-1] + apart_ns
    first_of_group = np.flatnonzero(np.concatenate(([True], starts_anew)))
    return ends[np.append(starts_anew, True)], np.maximum.reduceat(took, first_of_group)


def _chance_of_evenness(gaps_ns: NDArray[np.int64]) -> float:
    """Return how likely exponential gaps, as many as these, would be at least as even."""
    random = array_stream(0, "evenness", len(gaps_ns)).exponential(size=(_TRIALS, len(gaps_ns)))
    seen = float(gaps_ns.std() / gaps_ns.mean())
    return float(((random.std(axis=1) / random.mean(axis=1)) <= seen).mean())


def _slices_hit(samples: Samples, slow: NDArray[np.int64]) -> int:
    return len(np.unique(slow * _SLICES // max(1, len(samples))))


def _steady(due_ns: NDArray[np.int64]) -> bool:
    """Say whether requests did not come faster and faster: each third of the time against the one before."""
    span = int(due_ns[-1] - due_ns[0])
    if span < NS_PER_SECOND // 10:
        return False
    counts = np.bincount(np.minimum((due_ns - due_ns[0]) * 3 // span, 2), minlength=3)
    return bool(counts[2] <= _STEADY * counts[0] + 10)

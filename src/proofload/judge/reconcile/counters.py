"""What two readings of the same counters say happened between them, and what the client knows of the same time."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from proofload.judge.reconcile.labels import Key, Labels, counters
from proofload.plan.policies import MetricsPolicy
from proofload.record.exchange import Ending
from proofload.record.history import History
from proofload.record.ledger import Reading, Sample

_START_TIME = "process_start_time_seconds"


@dataclass(frozen=True, slots=True)
class Route:
    """How an operation shows in the target's counters."""

    route: str
    method: str


@dataclass(frozen=True, slots=True)
class Foreign:
    """Who else uses the target. Counts beyond ours are only ever a proof where nobody else does, or few enough do."""

    exclusive: bool = False
    """Declared: nobody else sends requests to these routes during the run."""
    quiet: tuple[Reading, Reading] | None = None
    """Two readings between which we sent nothing, so that what they differ by is not ours."""

    def at_most(
        self, key: Key, policy: MetricsPolicy, where: Mapping[str, str], span_ns: int, labels: Labels | None = None
    ) -> int | None:
        """Return the greatest number of foreign requests to reckon with in `span_ns`, None where nothing is known.

        Foreign requests are taken to come at the rate of the quiet time, with a margin of six deviations of the two
        Poisson counts, and twenty for a count of none.
        """
        if self.exclusive:
            return 0
        if self.quiet is None:
            return None
        first, last = self.quiet
        longer = span_ns / max(1, last.asked_ns - first.answered_ns)
        seen = difference([first, last], policy, where, labels).increments.get(key, 0)
        # Both counts are Poisson, and the first is only known by one draw of it.
        spread = math.sqrt(seen * longer + (seen + 1) * longer * longer)
        return math.ceil(seen * longer + 6 * spread + 20 * longer)


@dataclass(frozen=True, slots=True)
class CounterDiff:
    """How far counters moved over a series of readings."""

    increments: Mapping[Key, int]
    """The sum of all steps upwards; after a reset, of what was counted since: a lower bound."""
    resets: tuple[str, ...] = ()
    """Series that fell, in words: a person can find them on the page."""
    restarted: bool = False
    """A process of the target started anew between the readings, which explains a fall to zero."""
    errors: tuple[str, ...] = ()
    """Why readings hold nothing."""


@dataclass(slots=True)
class Span:
    """What the client knows of one key: the count lies from `surely` to `surely` + `maybe` (and unanswered ones)."""

    surely: int = 0
    maybe: int = 0
    """Begun before the first reading was over, or not surely counted by the time of the last."""
    rows: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class KeyCounts:
    """The three numbers of one key."""

    key: Key
    span: Span
    unanswered: int
    counted: int
    foreign: int | None

    @property
    def missing(self) -> int:
        """Return how many requests are certainly not counted."""
        return max(0, self.span.surely - self.counted)

    @property
    def excess(self) -> int:
        """Return how many more are counted than there can have been."""
        return max(0, self.counted - self.span.surely - self.span.maybe - self.unanswered - (self.foreign or 0))

    @property
    def scale(self) -> int:
        """Return what the declared bound is a share of: it must not shrink where less is sure."""
        return max(1, self.span.surely + self.span.maybe)

    @property
    def blur(self) -> int:
        """Return how many requests could be missing, or too many, without being seen."""
        return self.span.maybe + self.unanswered + (self.foreign or 0)

    def __str__(self) -> str:
        sent = f"{self.span.surely}" + (f" to {self.span.surely + self.blur}" if self.blur else "")
        return f"{key_text(self.key)}: answered {sent}, counted {self.counted}"


def key_text(key: Key) -> str:
    """Return a key as a person reads it: the method first, and nothing for labels that the counter does not have."""
    route, method, status = key
    return " ".join(part for part in (method, route, status) if part) or "all requests"


def difference(
    readings: Sequence[Reading], policy: MetricsPolicy, where: Mapping[str, str], labels: Labels | None = None
) -> CounterDiff:
    """Return how far the request counters moved from the first to the last reading, by route, method and status.

    Only series with the labels of `where` count; all their other labels are summed over. Steps are taken from reading
    to reading and for each series by itself, since a fall hides in a sum. A series that appears starts at zero.
    `labels` tell how labels are read; without them they are taken as they are declared.
    """
    errors = tuple(reading.error for reading in readings if reading.error)
    increments: dict[Key, int] = {}
    resets: list[str] = []
    ordered = _one_after_the_other([reading for reading in readings if not reading.error])
    pages = [_series(reading.samples, policy, where) for reading in ordered]
    starts = [_starts(reading.samples) for reading in ordered]
    for earlier, later in itertools.pairwise(pages):
        for series in sorted(earlier.keys() | later.keys()):
            was, is_now = earlier.get(series, 0), later.get(series)
            key = labels.of_series(dict(series)) if labels else _key(dict(series), policy)
            if is_now is None or is_now < was:
                resets.append(f"{_text(policy.requests_total, series)} went from {was} to {is_now or 'absent'}")
                step = is_now or 0
            else:
                step = is_now - was
            increments[key] = increments.get(key, 0) + step
    restarted = any(earlier != later for earlier, later in itertools.pairwise(starts))
    return CounterDiff(increments, tuple(resets), restarted, errors)


def counted_by_client(
    history: History,
    operations: Mapping[str, Route],
    *,
    before: Reading,
    after: Reading,
    settles_ns: int,
    rows: NDArray[np.int64] | None = None,
    by_class: bool = False,
    labels: Labels | None = None,
) -> tuple[dict[Key, Span], dict[tuple[str, str], int]]:
    """Return the spans by key, and by (route, method) how many sent requests were never answered.

    An answered request was surely counted between the readings where it was sent after the first was answered and done
    `settles_ns` before the last was asked for; a target may count after it has answered. One that was never answered
    may have been counted with any status, or not at all; one that was not sent was not counted.
    """
    frame = history.frame if rows is None else history.frame[rows]
    row = pl.int_range(pl.len(), dtype=pl.Int64) if rows is None else pl.Series("row", rows)
    sent, done = pl.col("sent_ns"), pl.col("done_ns")
    inside = (sent >= before.answered_ns) & (done + settles_ns <= after.asked_ns)
    outside = ((done + settles_ns < before.asked_ns) & (pl.col("ending") == int(Ending.ANSWERED))) | (
        sent > after.answered_ns
    )
    answered, unknown = pl.col("ending") == int(Ending.ANSWERED), pl.col("ending") == int(Ending.UNKNOWN)
    groups = (
        frame.lazy()
        .with_columns(row.alias("row"))
        .filter((answered | unknown) & ~outside)
        .group_by("operation", "status", answered.alias("answered"), inside.alias("inside"))
        .agg(pl.len().alias("count"), pl.col("row").head(5).alias("rows"))
        .collect()
    )
    spans: dict[Key, Span] = {}
    unanswered: dict[tuple[str, str], int] = {}
    for group in groups.sort("operation", "status").iter_rows(named=True):
        route = operations.get(group["operation"])
        if route is None:
            continue
        if not group["answered"]:
            place = labels.place(route.route, route.method) if labels else (route.route, route.method)
            unanswered[place] = unanswered.get(place, 0) + group["count"]
            continue
        status = status_label(str(group["status"]), by_class)
        key = labels.of_answer(route.route, route.method, status) if labels else (route.route, route.method, status)
        span = spans.setdefault(key, Span())
        if group["inside"]:
            span.surely += group["count"]
            span.rows += group["rows"]
        else:
            span.maybe += group["count"]
    return spans, unanswered


def status_label(status: str, by_class: bool) -> str:
    """Return the status as the target labels it: `404`, or `4xx` where it counts by class.

    >>> status_label("404", by_class=True)
    '4xx'
    """
    return f"{status[0]}xx" if by_class else status


def _one_after_the_other(readings: Sequence[Reading]) -> list[Reading]:
    """Return the first and last reading and those between that overlap none: of two that do, neither was sooner."""
    if len(readings) < 3:
        return list(readings)
    kept = [readings[0]]
    for reading in readings[1:-1]:
        if reading.asked_ns >= kept[-1].answered_ns and reading.answered_ns <= readings[-1].asked_ns:
            kept.append(reading)
    return [*kept, readings[-1]]


def _series(
    samples: Iterable[Sample], policy: MetricsPolicy, where: Mapping[str, str]
) -> dict[tuple[tuple[str, str], ...], int]:
    """Return the request counters of a page by their whole set of labels."""
    return {tuple(sorted(sample.labels.items())): round(sample.value) for sample in counters(samples, policy, where)}


def _starts(samples: Iterable[Sample]) -> frozenset[tuple[tuple[tuple[str, str], ...], float]]:
    return frozenset(
        (tuple(sorted(sample.labels.items())), sample.value) for sample in samples if sample.name == _START_TIME
    )


def _key(labels: Mapping[str, str], policy: MetricsPolicy) -> Key:
    names = policy.labels
    route, method, status = (labels.get(names.get(part, part), "") for part in ("route", "method", "status"))
    return route, method, status


def _text(name: str, series: tuple[tuple[str, str], ...]) -> str:
    return name + "{" + ",".join(f'{label}="{value}"' for label, value in series) + "}"

"""Reads a Prometheus server: queries, and counters as they stood at a scrape that surely came after a given instant."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from proofload.core.clock import Clock
from proofload.core.errors import ToolError
from proofload.core.units import NS_PER_SECOND, parse_duration_ns
from proofload.observe.side_channel import HttpAnswer, UnreachableError, call
from proofload.plan.masking import masked_text
from proofload.record.ledger import Reading, Sample

START_TIME = "process_start_time_seconds"
_MOST_PATIENCE_NS = 90 * NS_PER_SECOND
_LEAST_WAIT_S, _MOST_WAIT_S = 0.1, 1.0
_SLACK_S = 10
_ALIGNED_S = 0.003
"""A server may move the time of a scrape by 2 ms, so that they come at even distances."""

_Key = tuple[tuple[str, str], ...]


class PrometheusError(ToolError):
    """The server answered that it can't do what was asked, such as a query that is wrong."""


@dataclass(frozen=True, slots=True)
class Series:
    """One series of an answer: its labels (the name is `__name__`), and (seconds since the epoch, value) pairs."""

    labels: Mapping[str, str]
    points: tuple[tuple[float, float], ...]

    @property
    def value(self) -> float:
        """Return the last value."""
        return self.points[-1][1]


class Prometheus:
    """A Prometheus server, by its HTTP API. Every method raises UnreachableError or PrometheusError."""

    def __init__(self, url: str, clock: Clock) -> None:
        self.url = url.rstrip("/")
        self.told = masked_text(self.url)
        self._clock = clock

    async def query(self, expression: str, at_s: float | None = None) -> tuple[Series, ...]:
        """Return the series of an instant query; a scalar is a series without labels."""
        form = {"query": expression, **({} if at_s is None else {"time": f"{at_s:.3f}"})}
        return self._in_form(await self._get("query", form))

    async def counters(self, metric: str, where: Mapping[str, str]) -> tuple[Sample, ...]:
        """Return the raw counters as the server holds them now, under whichever of its two names."""
        held = await self.query(selector(metric, where))
        return tuple(Sample(one.labels.get("__name__", metric), _bare(one.labels), one.value) for one in held)

    async def query_range(
        self, expression: str, start_s: float, end_s: float, step_s: float = 1.0
    ) -> tuple[Series, ...]:
        """Return the series of a range query."""
        form = {"query": expression, "start": f"{start_s:.3f}", "end": f"{end_s:.3f}", "step": f"{step_s:g}"}
        return self._in_form(await self._get("query_range", form))

    async def series(self, selector: str) -> tuple[Mapping[str, str], ...]:
        """Return the label sets of the series that a selector matches."""
        return tuple(await self._get("series", {"match[]": selector}))

    async def targets(self) -> tuple[Mapping[str, Any], ...]:
        """Return the active scrape targets: `scrapeUrl`, `health`, `lastError`, `labels`."""
        return tuple((await self._get("targets", {"state": "active"}))["activeTargets"])

    async def metadata(self, metric: str) -> tuple[Mapping[str, str], ...]:
        """Return what the server knows of a metric: `type`, `help`, `unit`."""
        return tuple((await self._get("metadata", {"metric": metric})).get(metric, ()))

    async def fresh(
        self, metric: str, where: Mapping[str, str], *, source: str, label: str, also: Sequence[str] = ()
    ) -> Reading:
        """Return the raw counters at a scrape that began after this call; the reading's interval holds that scrape.

        `also` are selectors of further series, such as those of a histogram or a gauge, read as of the same scrape.

        No clock is compared with the server's: a series counts once its sample is newer, by the server's own clock,
        than the moment in which the server was first asked. A series that the server has dropped (staleness) is not
        waited for. What can't be had within three scrapes and 10 s, 90 s at the most, is a reading with an error.
        """
        asked_ns = self._clock.now_ns()
        try:
            samples = await self._after_next_scrape(metric, where, asked_ns, also)
        except ToolError as error:
            return Reading(source, label, asked_ns, self._clock.now_ns(), (), str(error))
        return Reading(source, label, asked_ns, self._clock.now_ns(), samples)

    async def _after_next_scrape(
        self, metric: str, where: Mapping[str, str], asked_ns: int, also: Sequence[str]
    ) -> tuple[Sample, ...]:
        patience_ns = await self._patience_ns()
        # Both times are the server's own: that of its question-answering, and that which it gave to its samples.
        now = await self.query("time()")
        if not now:
            raise PrometheusError(f"{self.told}: got no answer to time(), expected the server's own time")
        since_s = now[0].value + _ALIGNED_S
        wait_s = _LEAST_WAIT_S
        while True:
            at = await self._scraped_at(metric, where)
            if at and min(at.values()) > since_s:
                break
            if self._clock.now_ns() - asked_ns > patience_ns:
                raise PrometheusError(self._why_nothing(metric, where, patience_ns, seen=bool(at)))
            await asyncio.sleep(wait_s)
            wait_s = min(_MOST_WAIT_S, wait_s * 1.3)
        passed_s = math.ceil((self._clock.now_ns() - asked_ns) / NS_PER_SECOND) + _SLACK_S
        counters = await self.query(f"{selector(metric, where)}[{passed_s}s]")
        alive = {_key(one.labels): one for one in counters if _key(one.labels) in at}
        further = list(await self.query(START_TIME))
        for text in also:
            further += await self.query(f"{text}[{passed_s}s]")
        instances = {one.labels.get("instance") for one in alive.values()}
        return tuple(
            Sample(one.labels.get("__name__", metric), _bare(one.labels), one.value)
            for one in (*alive.values(), *(one for one in further if one.labels.get("instance") in instances))
        )

    async def _scraped_at(self, metric: str, where: Mapping[str, str]) -> dict[_Key, float]:
        return {_key(one.labels): one.value for one in await self.query(f"timestamp({selector(metric, where)})")}

    async def _patience_ns(self) -> int:
        """Return how long to wait for a scrape: by the longest interval of a target, where the server tells it."""
        try:
            every = [parse_duration_ns(str(one["scrapeInterval"])) for one in await self.targets()]
        except (KeyError, TypeError, ValueError, ToolError):
            # Servers that are only compatible with Prometheus have no page of targets.
            return _MOST_PATIENCE_NS
        return min(_MOST_PATIENCE_NS, 3 * max(every, default=_MOST_PATIENCE_NS) + 10 * NS_PER_SECOND)

    def _in_form(self, data: Any) -> tuple[Series, ...]:
        try:
            return _series(data)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise PrometheusError(f"{self.told}: got an answer in another form than Prometheus has") from error

    def _why_nothing(self, metric: str, where: Mapping[str, str], patience_ns: int, *, seen: bool) -> str:
        asked, patience = selector(metric, where), patience_ns // NS_PER_SECOND
        if seen:
            return f"{self.told}: no new scrape of {asked} within {patience} s; see its page of targets"
        return f"{self.told}: got no series {asked} within {patience} s; is the target among its scrape targets?"

    async def _get(self, what: str, form: Mapping[str, str]) -> Any:
        method = "POST" if what in ("query", "query_range") else "GET"
        answer = await call(method, f"{self.url}/api/v1/{what}", form=form)
        return _data(answer, self.told)


def selector(metric: str, where: Mapping[str, str]) -> str:
    r"""Return the PromQL selector of a counter under either of its names, in text format and in OpenMetrics.

    >>> selector("a_total", {"service": "gate\"way"})
    '{__name__=~"a|a_total",service="gate\\"way"}'
    """
    stem = metric.removesuffix("_total")
    names = "|".join(re.escape(name) for name in (stem, f"{stem}_total"))
    labels = [f'__name__=~"{_quoted(names)}"', *(f'{name}="{_quoted(value)}"' for name, value in sorted(where.items()))]
    return "{" + ",".join(labels) + "}"


def exactly(names: Iterable[str], where: Mapping[str, str]) -> str:
    """Return the PromQL selector of series under these very names.

    >>> exactly(["d_count", "d_bucket"], {"service": "gateway"})
    '{__name__=~"d_count|d_bucket",service="gateway"}'
    """
    labels = [f'__name__=~"{_quoted("|".join(re.escape(name) for name in names))}"']
    return "{" + ",".join([*labels, *(f'{name}="{_quoted(value)}"' for name, value in sorted(where.items()))]) + "}"


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _data(answer: HttpAnswer, told: str) -> Any:
    try:
        content = answer.json()
    except UnreachableError as error:
        raise UnreachableError(f"{told}: {error}") from error
    if not isinstance(content, dict) or content.get("status") != "success":
        said = content.get("error", answer.told) if isinstance(content, dict) else answer.told
        raise PrometheusError(f"{told}: {said}")
    if "data" not in content:
        raise PrometheusError(f"{told}: got an answer without data")
    return content["data"]


def _series(data: Any) -> tuple[Series, ...]:
    kind, result = data["resultType"], data["result"]
    if kind in ("scalar", "string"):
        return (Series({}, (_point(result),)),) if kind == "scalar" else ()
    return tuple(
        Series(one["metric"], tuple(_point(point) for point in one.get("values", [one.get("value")])))
        for one in result
        if "values" in one or "value" in one
    )


def _point(pair: Sequence[Any]) -> tuple[float, float]:
    return float(pair[0]), float(pair[1])


def _key(labels: Mapping[str, str]) -> _Key:
    return tuple(sorted((name, value) for name, value in labels.items() if name != "__name__"))


def _bare(labels: Mapping[str, str]) -> Mapping[str, str]:
    return {name: value for name, value in labels.items() if name != "__name__"}

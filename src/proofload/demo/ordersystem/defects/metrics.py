"""Metrics gone wrong."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

from prometheus_client import generate_latest

from proofload.demo.ordersystem.common import switches
from proofload.demo.ordersystem.common.metrics import METHODS, Metrics
from proofload.demo.ordersystem.defects.defect import Defect, everywhere, gateway
from proofload.demo.ordersystem.gateway.app import GatewayApp
from proofload.demo.ordersystem.gateway.breaker import Breaker
from proofload.demo.ordersystem.gateway.call import Answer, Call
from proofload.demo.ordersystem.gateway.parts import CircuitGauge


class RejectedNotCounted(Metrics):
    """Counts behind the limiter."""

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """Leave 429s out."""
        if status != 429:
            super().answered(route, method, status, seconds)


class ErrorsNotCounted(Metrics):
    """Counts on the way of success."""

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """Leave 5xx out."""
        if status < 500:
            super().answered(route, method, status, seconds)


class DoubleCounted(Metrics):
    """Was installed twice."""

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count twice."""
        super().answered(route, method, status, seconds)
        super().answered(route, method, status, seconds)


class ThisWorkerOnly(Metrics):
    """Shows what one worker knows."""

    def page(self, extra: bytes = b"") -> bytes:
        """Return the page of whichever worker was asked."""
        return generate_latest(self.registry) + extra


class ReadThenWrite(Metrics):
    """Reads a counter, and writes it back a moment later."""

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """Lose what is counted in between."""
        known = method if method in METHODS else "OTHER"
        value = self.requests.labels(self.service, route, known, str(status))._value
        seen = value.get()
        asyncio.get_running_loop().call_later(0.003, lambda: value.set(seen + 1))
        self.durations.labels(self.service, route, known).observe(seconds)


class WrongStatusLabel(Metrics):
    """Takes the status from before the limiter had its say."""

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a 429 as a 200."""
        super().answered(route, method, 200 if status == 429 else status, seconds)


class ResetOnReload(Metrics):
    """Cleans up when a worker starts."""

    def __init__(self, service: str) -> None:
        folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
        if folder:
            for file in Path(folder).glob("*.db"):
                file.unlink(missing_ok=True)
        super().__init__(service)


class HistogramOfSuccesses(Metrics):
    """Times only what went well."""

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count everything, observe some."""
        known = method if method in METHODS else "OTHER"
        self.requests.labels(self.service, route, known, str(status)).inc()
        if status < 400:
            self.durations.labels(self.service, route, known).observe(seconds)


class Milliseconds(Metrics):
    """Observes milliseconds in buckets of seconds."""

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """Observe a thousand times too much."""
        super().answered(route, method, status, seconds * 1000)


class WorksItOut(Metrics):
    """Renders the whole page for each answer, to have it at hand when somebody asks."""

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count, and work everything out."""
        super().answered(route, method, status, seconds)
        if not switches.METRICS.is_off:
            self.page()


class RawPathLabel(GatewayApp):
    """Uses the path as the label."""

    def count(self, call: Call, answer: Answer, seconds: float) -> None:
        """Open a series for each id."""
        self.metrics.answered(call.path, call.method, answer.status, seconds)


class HealthIsTraffic(GatewayApp):
    """Counts every answer, its own pages too."""

    async def own_page(self, call: Call) -> Answer | None:
        """Count the probes of the orchestrator."""
        page = await super().own_page(call)
        if page is not None:
            self.metrics.answered(call.path, call.method, page.status, 0.0)
        return page


class OpenCircuitNotCounted(GatewayApp):
    """Counts behind the breaker."""

    def count(self, call: Call, answer: Answer, seconds: float) -> None:
        """Leave out what the breaker refused."""
        if answer.code != "CIRCUIT_OPEN":
            super().count(call, answer, seconds)


class StaleGauge(CircuitGauge):
    """Writes the state down when it is first asked."""

    def __init__(self, breaker: Breaker, services: tuple[str, ...]) -> None:
        super().__init__(breaker, services)
        self._first: bytes | None = None

    async def __call__(self) -> bytes:
        """Return what was true at first."""
        if self._first is None:
            self._first = await super().__call__()
        return self._first


_MON = "TC-MON-001"


def _shared(
    make: Callable[[str], Metrics], id_: str, sentence: str, seen: str, observed: str, case: str = _MON
) -> Defect:
    return Defect(id_, sentence, seen, observed, case, everywhere(metrics=make))


DEFECTS = (
    _shared(
        RejectedNotCounted,
        "mon.rejected_not_counted",
        "429s leave no trace in the metrics.",
        "Metrics middleware placed inside the limiter.",
        "http_requests_total lacks the 429s.",
    ),
    _shared(
        ErrorsNotCounted,
        "mon.errors_not_counted",
        "5xx answers are not counted.",
        "Counting after the handler returned, so that exceptions pass by.",
        "http_requests_total lacks 5xx; a dead service shows as little traffic.",
    ),
    _shared(
        DoubleCounted,
        "mon.double_counted",
        "Every request is counted twice.",
        "The same middleware added by framework and application.",
        "http_requests_total is twice what was sent.",
    ),
    _shared(
        ThisWorkerOnly,
        "mon.per_worker_registry",
        "A scrape sees one worker.",
        "prometheus_client without its multiprocess mode behind several workers.",
        "Totals jump between scrapes and add up to less than was sent.",
    ),
    _shared(
        ReadThenWrite,
        "mon.lost_under_concurrency",
        "A counter is read, and written back a moment later.",
        "Counters kept in a database or a cache without an atomic increment.",
        "Under concurrency http_requests_total is less than was sent; one at a time it is right.",
    ),
    _shared(
        WrongStatusLabel,
        "mon.wrong_status_label",
        "429s are counted as 200.",
        "The status is read before an outer layer changes it.",
        "The total is right, the split by status is not.",
    ),
    _shared(
        ResetOnReload,
        "mon.reset_on_reload",
        "A worker that starts deletes the counts of all.",
        "Clean-up of the multiprocess folder in the wrong hook.",
        "After a worker was replaced the totals fall.",
        "TC-MON-005",
    ),
    _shared(
        HistogramOfSuccesses,
        "mon.histogram_count_differs",
        "Only successes are timed.",
        "Timers stopped on the way of success.",
        "http_request_duration_seconds_count is less than http_requests_total.",
    ),
    _shared(
        Milliseconds,
        "mon.histogram_in_milliseconds",
        "Durations are in milliseconds, buckets in seconds.",
        "A unit mix-up that dashboards hide until someone reads the axis.",
        "Percentiles from the histogram are a thousand times what a client measures.",
    ),
    Defect(
        "mon.raw_path_label",
        "The label holds the path with its ids.",
        "The cardinality explosion that Prometheus' naming guide warns of.",
        "A new series for each order id.",
        _MON,
        gateway(app=RawPathLabel),
    ),
    Defect(
        "mon.health_counted_as_traffic",
        "Probes and scrapes count as requests.",
        "Middleware in front of the router.",
        "http_requests_total grows without any traffic.",
        _MON,
        gateway(app=HealthIsTraffic),
    ),
    _shared(
        WorksItOut,
        "mon.worked_out_each_time",
        "The metrics page is rendered anew for every answer.",
        "Summaries with quantiles over a window; statistics kept ready in the request's path.",
        "Each request takes a millisecond or more longer than without metrics.",
        "TC-MON-004",
    ),
    Defect(
        "mon.stale_gauge",
        "The gauge of the circuit is written once.",
        "Gauges set on start and never again.",
        "circuit_breaker_state stays closed while answers are CIRCUIT_OPEN.",
        "TC-INT-005",
        gateway(circuit_gauge=StaleGauge),
    ),
    Defect(
        "int.open_circuit_not_counted",
        "What the breaker refuses is not counted.",
        "Counting behind the breaker.",
        "The 503s of an open circuit are missing from http_requests_total.",
        "TC-INT-005",
        gateway(app=OpenCircuitNotCounted),
    ),
)

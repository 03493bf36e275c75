"""What a service counts, right over several workers.

With PROMETHEUS_MULTIPROC_DIR set when prometheus_client is first imported, each worker keeps its values in files of
that folder and a page sums them all, those of dead workers included; so a restart takes nothing back. Without it
(tests in one process) the registry itself is shown.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from proofload.demo.ordersystem.common import processes, renaming, switches

BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
IN_FILES = "PROMETHEUS_MULTIPROC_DIR" in os.environ
METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))


class SwitchedCounter(Counter):
    """A counter that stands still while metrics are switched off."""

    def inc(self, amount: float = 1, exemplar: dict[str, str] | None = None) -> None:
        """Count, unless metrics are off."""
        if not switches.METRICS.is_off:
            super().inc(amount, exemplar)


class SwitchedHistogram(Histogram):
    """A histogram that stands still while metrics are switched off."""

    def observe(self, amount: float, exemplar: dict[str, str] | None = None) -> None:
        """Observe, unless metrics are off."""
        if not switches.METRICS.is_off:
            super().observe(amount, exemplar)


class Metrics:
    """The counters that every service has, and a door for its own."""

    def __init__(self, service: str) -> None:
        self.service = service
        if IN_FILES:
            processes.sign_in(_folder())
        switches.METRICS.open()
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "http_requests_total",
            "Every answer given to a client, by route template; /health and /metrics are no traffic.",
            renaming.labels(("service", "route", "method", "status")),
            registry=self.registry,
        )
        self.durations = Histogram(
            "http_request_duration_seconds",
            "Time from the whole head of a request to its answer.",
            renaming.labels(("service", "route", "method")),
            buckets=BUCKETS_S,
            registry=self.registry,
        )
        self._series: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        """The labelled children, which take longer to find than to count in."""

    def counter(self, name: str, help_text: str, labels: Iterable[str]) -> Counter:
        """Return a new counter of this service's own."""
        return SwitchedCounter(name, help_text, tuple(labels), registry=self.registry)

    def histogram(self, name: str, help_text: str, labels: Iterable[str]) -> Histogram:
        """Return a new histogram of this service's own, in seconds."""
        return SwitchedHistogram(name, help_text, tuple(labels), buckets=BUCKETS_S, registry=self.registry)

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count one answer."""
        if switches.METRICS.is_off:
            return
        # A client may invent methods; a label must not grow with its imagination.
        known = method if method in METHODS else "OTHER"
        series = self._series.get((route, known, status))
        if series is None:
            count = self.requests.labels(self.service, route, known, str(status))
            series = self._series[route, known, status] = count, self.durations.labels(self.service, route, known)
        series[0].inc()
        series[1].observe(seconds)

    def page(self, extra: bytes = b"") -> bytes:
        """Return all values of all workers in Prometheus' text format, `extra` lines behind them."""
        registry = self.registry
        if IN_FILES:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        workers = processes.signed_in(_folder()) if IN_FILES else [os.getpid()]
        return generate_latest(registry) + processes.lines(workers) + extra


def _folder() -> Path:
    return Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])

"""The metrics of a run itself, as Prometheus has them: counted from rows in batches, with labels that stay few."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from proofload.core.units import NS_PER_SECOND
from proofload.drive.engine import Engine
from proofload.record.exchange import Ending, Fault

BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
MOST_OPERATIONS = 60
OTHER = "other"
_EDGES_NS = np.array([round(edge * NS_PER_SECOND) for edge in BUCKETS_S], dtype=np.int64)
_CELLS = len(BUCKETS_S) + 1
_STATUSES = 1_000
_ANSWERED = int(Ending.ANSWERED)
_OUTCOMES = ("PASS", "FAIL", "INCONCLUSIVE", "SKIPPED", "ERROR")


class RunMetrics:
    """Everything that a run tells of itself while it goes on."""

    def __init__(self, run: str, target: str, version: str, cases: Sequence[str], now_ns: Callable[[], int]) -> None:
        self.failed_writes: dict[str, int] = {}
        """By sink, how many writes of these metrics failed."""
        self.finished = False
        self._info = (run, target, version)
        self._now_ns = now_ns
        self._cases: dict[str, str] = dict.fromkeys(cases, "waiting")
        self._verdicts: dict[str, str] = {}
        self._findings: dict[tuple[str, str], int] = {}
        self._faults: dict[tuple[str, str], int] = {}
        self._requests: dict[tuple[str, str, str], int] = {}
        self._buckets: dict[str, NDArray[np.int64]] = {}
        self._sums_ns: dict[str, int] = {}
        self._names: set[str] = set()
        self._engines: dict[str, Engine] = {}
        self._totals: dict[str, tuple[int, int, int, int]] = {}
        """By case: planned, sent, dropped, users."""
        self._rates = (0.0, 0.0)
        self._looked = (now_ns(), 0, 0)

    # -- what happens ------------------------------------------------------------------------------------------------

    def watch(self, case: str, engine: Engine) -> None:
        """Count what the engine of a case sends, from now on."""
        self._engines[case] = engine
        texts = engine.rows.operations.texts
        engine.on_rows = lambda table: self.add_rows(case, texts, table)

    def add_rows(self, case: str, operations: Sequence[str], table: NDArray[Any]) -> None:
        """Count rows that have ended."""
        operation = table["operation"].astype(np.int64)
        ending = table["ending"].astype(np.int64) - 1
        answered = ending == _ANSWERED
        if not answered.all():
            lost = ~answered
            for number, count in _counted(operation[lost] * len(Fault) + table["fault"][lost]):
                name, fault = operations[number // len(Fault)], Fault(number % len(Fault)).name
                self._add(case, name, fault, count)
            table, operation = table[answered], operation[answered]
        for number, count in _counted(operation * _STATUSES + np.minimum(table["status"], _STATUSES - 1)):
            self._add(case, operations[number // _STATUSES], str(number % _STATUSES), count)
        if not len(table):
            return
        # From the intended time: what a client of that instant would have waited.
        response = np.maximum(table["done_ns"] - table["intended_ns"], 0)
        cells = np.bincount(operation * _CELLS + np.searchsorted(_EDGES_NS, response))
        sums = np.bincount(operation, weights=response)
        for number in map(int, np.flatnonzero(np.bincount(operation))):
            name = self._bounded(operations[number])
            own = cells[number * _CELLS : (number + 1) * _CELLS]
            held = self._buckets.setdefault(name, np.zeros(_CELLS, dtype=np.int64))
            held[: len(own)] += own
            self._sums_ns[name] = self._sums_ns.get(name, 0) + int(sums[number])

    def doing(self, case: str) -> None:
        """Note that a case runs."""
        self._cases[case] = "running"

    def ended(self, case: str, outcome: str) -> None:
        """Note how a case ended."""
        self._cases[case], self._verdicts[case] = "ended", outcome

    def found(self, rule: str, outcome: str) -> None:
        """Count a finding."""
        self._findings[rule, outcome] = self._findings.get((rule, outcome), 0) + 1

    def fault(self, service: str, kind: str, held: bool) -> None:
        """Note that a fault holds, or no longer."""
        self._faults[service, kind] = int(held)

    def look(self) -> None:
        """Take what the engines have done since the last look, and the rates that follow."""
        for case, engine in list(self._engines.items()):
            standing = engine.standing()
            dropped = standing.stats.total(Ending.DROPPED)
            sent = standing.made - dropped - standing.stats.total(Ending.NOT_SENT)
            self._totals[case] = (standing.made, sent, dropped, standing.users)
            if self._cases.get(case) == "ended":
                del self._engines[case]
                engine.on_rows = None
        now_ns, then_ns = self._now_ns(), self._looked[0]
        planned, sent = (sum(total[i] for total in self._totals.values()) for i in (0, 1))
        passed_s = max(now_ns - then_ns, 1) / NS_PER_SECOND
        self._rates = ((planned - self._looked[1]) / passed_s, (sent - self._looked[2]) / passed_s)
        self._looked = (now_ns, planned, sent)

    # -- how it is told ----------------------------------------------------------------------------------------------

    def families(self) -> tuple[Metric, ...]:
        """Return the metric families as they stand, by the last look."""
        return (*self._of_load(), *self._of_requests(), *self._of_cases())

    def _of_load(self) -> Iterable[Metric]:
        planned, sent, dropped, users = (sum(total[i] for total in self._totals.values()) for i in range(4))
        yield _counter("proofload_planned", "Requests that the plan asked for so far.", planned)
        yield _counter("proofload_sent", "Requests of which at least a byte was sent.", sent)
        yield _counter("proofload_dropped", "Requests that were due and that the generator never came to.", dropped)
        yield _gauge("proofload_intended_per_second", "Requests planned a second, of late.", self._rates[0])
        yield _gauge("proofload_achieved_per_second", "Requests sent a second, of late.", self._rates[1])
        yield _gauge("proofload_users", "Virtual users at work.", users)
        failures = CounterMetricFamily(
            "proofload_monitoring_failures", "Writes that a monitoring server did not take.", labels=["sink"]
        )
        for sink, count in sorted(self.failed_writes.items()):
            failures.add_metric([sink], count)
        yield failures

    def _of_requests(self) -> Iterable[Metric]:
        requests = CounterMetricFamily(
            "proofload_requests",
            "Requests that ended, by status, or by the name of the fault where no answer came.",
            labels=["case", "operation", "status"],
        )
        for key, count in sorted(self._requests.items()):
            requests.add_metric(list(key), count)
        yield requests
        times = HistogramMetricFamily(
            "proofload_response_seconds", "Response times from the intended instant.", labels=["operation"]
        )
        for name, counts in sorted(self._buckets.items()):
            upper = np.cumsum(counts)
            edges = [f"{edge:g}" for edge in BUCKETS_S] + ["+Inf"]
            buckets = [(edge, float(count)) for edge, count in zip(edges, upper, strict=True)]
            times.add_metric([name], buckets, self._sums_ns[name] / NS_PER_SECOND)
        yield times

    def _of_cases(self) -> Iterable[Metric]:
        info = GaugeMetricFamily("proofload_run_info", "The run.", labels=["id", "target", "version"])
        info.add_metric(list(self._info), 1)
        yield info
        yield _gauge("proofload_run_finished", "1 once the run has ended.", int(self.finished))
        states = GaugeMetricFamily("proofload_case_running", "1 while the case runs.", labels=["case"])
        for case, state in self._cases.items():
            states.add_metric([case], int(state == "running"))
        yield states
        verdicts = GaugeMetricFamily("proofload_verdict", "1 for the verdict of a case.", labels=["case", "outcome"])
        for case, outcome in self._verdicts.items():
            verdicts.add_metric([case, outcome], 1)
        yield verdicts
        outcomes = GaugeMetricFamily("proofload_verdicts", "Cases by verdict.", labels=["outcome"])
        for outcome in _OUTCOMES:
            outcomes.add_metric([outcome], sum(one == outcome for one in self._verdicts.values()))
        yield outcomes
        findings = GaugeMetricFamily("proofload_findings", "Findings by rule and outcome.", labels=["rule", "outcome"])
        for key, count in sorted(self._findings.items()):
            findings.add_metric(list(key), count)
        yield findings
        faults = GaugeMetricFamily("proofload_fault", "1 while a fault holds.", labels=["service", "kind"])
        for key, held in sorted(self._faults.items()):
            faults.add_metric(list(key), held)
        yield faults

    def _add(self, case: str, operation: str, status: str, count: int) -> None:
        key = (case, self._bounded(operation), status)
        self._requests[key] = self._requests.get(key, 0) + count

    def _bounded(self, operation: str) -> str:
        """Return the name, or `other` for what comes when there are many names already."""
        if operation not in self._names and len(self._names) >= MOST_OPERATIONS:
            return OTHER
        self._names.add(operation)
        return operation


def exposition(families: Sequence[Metric]) -> bytes:
    """Return families in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(_Held(families))
    return generate_latest(registry)


class _Held(Collector):
    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _counted(numbers: NDArray[np.int64]) -> Iterable[tuple[int, int]]:
    if not len(numbers):
        return ()
    counts = np.bincount(numbers)
    return [(int(number), int(counts[number])) for number in np.flatnonzero(counts)]


def _counter(name: str, says: str, value: float) -> Metric:
    return CounterMetricFamily(name, says, value=value)


def _gauge(name: str, says: str, value: float) -> Metric:
    return GaugeMetricFamily(name, says, value=value)

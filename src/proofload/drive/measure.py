"""The engine's judgement of its own work, from its statistics."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from proofload.core.clock import Clock
from proofload.core.units import NS_PER_SECOND, format_duration
from proofload.drive.stats import LATE_NS, Stats
from proofload.plan import workload as plan
from proofload.plan.arrivals import count
from proofload.record.delivery import Delivery, GeneratorDelivery, UserError, WorkloadDelivery
from proofload.record.exchange import OUR_LIMITS, Ending, Fault

_LAG_EVERY_S = 0.02
_TIMER_TICK_NS = 1_000_000
_FULL_CPU = 0.95
_MOST_LATE = 0.01
_FEW_LATE = 10
_LEAST_WALL_NS = NS_PER_SECOND // 2
_MOST_LOOP_LAG_NS = NS_PER_SECOND // 4
"""A loop that is later than this, one time in a hundred, was blocked: by a script, or by a machine without a CPU."""


class LoopLag:
    """Wakes up at set times and notes how late it is: what the loop was busy with, everybody else waited for too."""

    def __init__(self, clock: Clock, stats: Stats) -> None:
        self._clock = clock
        self._stats = stats
        self._due_ns = 0
        self._lags_ns: list[int] = []
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to measure."""
        self._loop = loop
        self._set()

    def stop(self) -> None:
        """Measure no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._stats.add_loop_lags(self._lags_ns)
        self._lags_ns = []

    def _set(self) -> None:
        self._due_ns = self._clock.now_ns() + round(_LAG_EVERY_S * NS_PER_SECOND)
        self._timer = self._loop.call_later(_LAG_EVERY_S, self._woken)

    def _woken(self) -> None:
        # The timer itself ticks in milliseconds, which is no lag.
        self._lags_ns.append(self._clock.now_ns() - self._due_ns - _TIMER_TICK_NS)
        if len(self._lags_ns) >= 256:
            self._stats.add_loop_lags(self._lags_ns)
            self._lags_ns = []
        self._set()


def generator_of(
    number: int, rows: int, cpu_ns: int, spin_ns: int, wall_ns: int, stats: Stats, died: str = ""
) -> GeneratorDelivery:
    """Return what one generator process did with its time."""
    wall = max(wall_ns, 1)
    return GeneratorDelivery(number, rows, cpu_ns / wall, min(spin_ns / wall, 1.0), stats.loop_lag.lag(), died)


@dataclass(frozen=True, slots=True)
class RunnerReport:
    """What only a workload's runner knows of how it went."""

    name: str
    kind: str
    number: int
    asked_per_second: float | None
    unmade: int
    opened: int | None
    burst_sent_ns: tuple[int, int] | None
    """First and last instant at which a burst's requests left."""

    def moved(self, by_ns: int) -> RunnerReport:
        """Return the report with its instants moved to another clock."""
        burst = self.burst_sent_ns
        return replace(self, burst_sent_ns=(burst[0] + by_ns, burst[1] + by_ns) if burst else None)

    def merged(self, other: RunnerReport) -> RunnerReport:
        """Return the report of both, two generators' shares of one workload."""
        spans = [span for span in (self.burst_sent_ns, other.burst_sent_ns) if span is not None]
        counts = [count for count in (self.opened, other.opened) if count is not None]
        return replace(
            self,
            unmade=self.unmade + other.unmade,
            opened=sum(counts) if counts else None,
            burst_sent_ns=(min(low for low, _ in spans), max(high for _, high in spans)) if spans else None,
        )


@dataclass(frozen=True, slots=True)
class DeliveryParts:
    """Everything that a delivery is made from: a generator's own, or merged from several."""

    stats: Stats
    reports: tuple[RunnerReport, ...]
    generators: tuple[GeneratorDelivery, ...]
    wall_ns: int
    reasons: tuple[str, ...]
    stopped: bool
    errors: Mapping[tuple[str, str, str], int]
    checks: Mapping[str, tuple[int, int]]

    @classmethod
    def merged(cls, accounts: Sequence[DeliveryParts], reasons: tuple[str, ...], *, stopped: bool) -> DeliveryParts:
        """Return one account of the run of several generators."""
        stats = Stats()
        reports: dict[int, RunnerReport] = {}
        errors: dict[tuple[str, str, str], int] = {}
        checks: dict[str, tuple[int, int]] = {}
        for account in accounts:
            stats.merge(account.stats)
            for report in account.reports:
                known = reports.get(report.number)
                reports[report.number] = known.merged(report) if known else report
            for key, many in account.errors.items():
                errors[key] = errors.get(key, 0) + many
            for name, (held, broken) in account.checks.items():
                before = checks.get(name, (0, 0))
                checks[name] = (before[0] + held, before[1] + broken)
        every_reason = [*reasons, *(reason for account in accounts for reason in account.reasons)]
        return cls(
            stats=stats,
            reports=tuple(reports[number] for number in sorted(reports)),
            generators=tuple(one for account in accounts for one in account.generators),
            wall_ns=max((account.wall_ns for account in accounts), default=0),
            reasons=tuple(dict.fromkeys(every_reason)),
            stopped=stopped or any(account.stopped for account in accounts),
            errors=errors,
            checks=checks,
        )

    def moved(self, by_ns: int) -> DeliveryParts:
        """Return the account with its instants moved to another clock."""
        stats = Stats()
        stats.merge(self.stats)
        for spans in (stats.first_sent_ns, stats.last_sent_ns):
            for number in spans:
                spans[number] += by_ns
        return replace(self, stats=stats, reports=tuple(report.moved(by_ns) for report in self.reports))

    def delivery(self) -> Delivery:
        """Return the delivery, which says where the generators themselves were the bottleneck."""
        stats = self.stats
        limits = _limits(stats, self.generators, self.wall_ns)
        workloads = tuple(_workload(stats, report) for report in self.reports)
        totals = {ending: stats.total(ending) for ending in Ending}
        return Delivery(
            planned=sum(totals.values()) + sum(one.unmade for one in workloads),
            sent=totals[Ending.ANSWERED] + totals[Ending.UNKNOWN],
            answered=totals[Ending.ANSWERED],
            not_sent=totals[Ending.NOT_SENT],
            unknown=totals[Ending.UNKNOWN],
            dropped=totals[Ending.DROPPED],
            late=stats.late,
            send_lag=stats.send_lag.lag(),
            service=stats.service.lag(),
            response=stats.response.lag(),
            loop_lag=stats.loop_lag.lag(),
            wall_ns=self.wall_ns,
            cpu_share=max((one.cpu_share for one in self.generators), default=0.0),
            bottleneck=bool(limits),
            reasons=limits + self.reasons,
            stopped=self.stopped,
            workloads=workloads,
            generators=self.generators,
            user_errors=tuple(UserError(name, place, text, many) for (name, place, text), many in self.errors.items()),
            checks=dict(self.checks),
            stalled=_is_stalled(stats),
            ran_out=sum(int(stats.faults[one]) for one in OUR_LIMITS),
        )


def _is_stalled(stats: Stats) -> bool:
    return stats.loop_lag.lag().p99_ns > _MOST_LOOP_LAG_NS


def _limits(stats: Stats, generators: tuple[GeneratorDelivery, ...], wall_ns: int) -> tuple[str, ...]:
    reasons = [f"generator {one.number} died: {one.died}" for one in generators if one.died]
    if count := int(stats.faults[Fault.NO_DESCRIPTOR]):
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        reasons.append(
            f"{count} connections were not made: this machine ran out of file descriptors (ulimit -n is {most});"
            " raise it, or use fewer users"
        )
    if count := int(stats.faults[Fault.NO_LOCAL_ADDRESS]):
        reasons.append(
            f"{count} connections were not made: this machine had no local port or address for them;"
            " use fewer users, more addresses (--source), or connections that are kept"
        )
    if _is_stalled(stats):
        blocked = format_duration(stats.loop_lag.lag().p99_ns)
        reasons.append(
            f"the generator was blocked for {blocked} at a time, by a script or for want of CPU:"
            " latencies are its own, not the target's"
        )
    lag = stats.send_lag.lag()
    if stats.late > max(lag.samples * _MOST_LATE, _FEW_LATE):
        reasons.append(
            f"{stats.late} of {lag.samples} arrivals were begun more than {format_duration(LATE_NS)} late"
            f" (p99 {format_duration(lag.p99_ns)})"
        )
    for one in generators:
        # Waiting awake for the next arrival fills the CPU too, but is there to be used.
        busy = one.cpu_share - one.spin_share
        if wall_ns >= _LEAST_WALL_NS and busy > _FULL_CPU:
            reasons.append(
                f"generator {one.number} used {busy:.0%} of a CPU: more load than this needs another process"
            )
    return tuple(reasons)


def asked_per_second(load: plan.AnyWorkload, seed: int) -> float | None:
    """Return the mean rate that an open workload's plan asks for; None for the others."""
    if isinstance(load, plan.ConstantRate | plan.RampingRate | plan.PoissonArrivals):
        return count(load, seed) * NS_PER_SECOND / max(plan.span_ns(load), 1)
    return None


def _workload(stats: Stats, report: RunnerReport) -> WorkloadDelivery:
    number = report.number
    answered, not_sent, unknown, dropped = (int(many) for many in stats.endings[number])
    sent = answered + unknown
    span_ns = stats.last_sent_ns.get(number, 0) - stats.first_sent_ns.get(number, 0)
    burst = report.burst_sent_ns
    return WorkloadDelivery(
        name=report.name,
        kind=report.kind,
        planned=answered + not_sent + unknown + dropped + report.unmade,
        sent=sent,
        answered=answered,
        not_sent=not_sent,
        unknown=unknown,
        dropped=dropped,
        unmade=report.unmade,
        asked_per_second=report.asked_per_second,
        achieved_per_second=(sent - 1) * NS_PER_SECOND / span_ns if span_ns > 0 else 0.0,
        skew_ns=burst[1] - burst[0] if burst else None,
        opened=report.opened,
    )

"""The engine's judgement of its own work, from its statistics."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from proofload.core.clock import Clock
from proofload.core.units import NS_PER_SECOND, format_duration
from proofload.drive.stats import LATE_NS, Stats
from proofload.plan import workload as plan
from proofload.plan.arrivals import count
from proofload.record.delivery import Delivery, GeneratorDelivery, UserError, WorkloadDelivery
from proofload.record.exchange import Ending

if TYPE_CHECKING:
    from proofload.drive.runners import Runner

_LAG_EVERY_S = 0.02
_TIMER_TICK_NS = 1_000_000
_FULL_CPU = 0.95
_MOST_LATE = 0.01
_LEAST_WALL_NS = NS_PER_SECOND // 2


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


def judge_self(
    stats: Stats,
    runners: Sequence[Runner],
    generators: tuple[GeneratorDelivery, ...],
    *,
    seed: int,
    wall_ns: int,
    reasons: tuple[str, ...],
    stopped: bool,
    errors: Mapping[tuple[str, str, str], int],
    checks: Mapping[str, list[int]],
) -> Delivery:
    """Return the delivery of a run by one generator."""
    workloads = tuple(_workload(stats, runner, seed) for runner in runners)
    return assemble(
        stats,
        workloads,
        generators,
        wall_ns=wall_ns,
        reasons=reasons,
        stopped=stopped,
        errors=tuple(UserError(name, place, text, many) for (name, place, text), many in errors.items()),
        checks={name: (held, broken) for name, (held, broken) in checks.items()},
    )


def assemble(
    stats: Stats,
    workloads: tuple[WorkloadDelivery, ...],
    generators: tuple[GeneratorDelivery, ...],
    *,
    wall_ns: int,
    reasons: tuple[str, ...],
    stopped: bool,
    errors: tuple[UserError, ...],
    checks: Mapping[str, tuple[int, int]],
) -> Delivery:
    """Return the delivery of a run by any number of generators, and say where they were the bottleneck."""
    limits = _limits(stats, generators, wall_ns)
    totals = {ending: stats.total(ending) for ending in Ending}
    rows = sum(totals.values())
    return Delivery(
        planned=rows + sum(one.unmade for one in workloads),
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
        wall_ns=wall_ns,
        cpu_share=max((one.cpu_share for one in generators), default=0.0),
        bottleneck=bool(limits),
        reasons=limits + reasons,
        stopped=stopped,
        workloads=workloads,
        generators=generators,
        user_errors=errors,
        checks=dict(checks),
    )


def _limits(stats: Stats, generators: tuple[GeneratorDelivery, ...], wall_ns: int) -> tuple[str, ...]:
    reasons = [f"generator {one.number} died: {one.died}" for one in generators if one.died]
    lag = stats.send_lag.lag()
    if stats.late > max(lag.samples * _MOST_LATE, 1):
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


def _workload(stats: Stats, runner: Runner, seed: int) -> WorkloadDelivery:
    number, load = runner.number, runner.workload
    answered, not_sent, unknown, dropped = (int(many) for many in stats.endings[number])
    asked = None
    if isinstance(load, plan.ConstantRate | plan.RampingRate | plan.PoissonArrivals):
        asked = count(load, seed) * NS_PER_SECOND / max(plan.span_ns(load), 1)
    sent = answered + unknown
    span_ns = stats.last_sent_ns.get(number, 0) - stats.first_sent_ns.get(number, 0)
    return WorkloadDelivery(
        name=runner.name,
        kind=type(load).__name__,
        planned=answered + not_sent + unknown + dropped + runner.unmade,
        sent=sent,
        answered=answered,
        not_sent=not_sent,
        unknown=unknown,
        dropped=dropped,
        unmade=runner.unmade,
        asked_per_second=asked,
        achieved_per_second=(sent - 1) * NS_PER_SECOND / span_ns if span_ns > 0 else 0.0,
        skew_ns=runner.skew_ns,
        opened=runner.opened,
    )

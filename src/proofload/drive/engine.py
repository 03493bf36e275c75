"""Runs workloads side by side against one endpoint, and hands over the history and what the engine thinks of itself."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import ipaddress
import resource
import socket
import ssl
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proofload.core.clock import Clock, SystemClock
from proofload.core.errors import SafetyError, TargetError, ToolError
from proofload.core.seeds import stream
from proofload.core.units import NS_PER_SECOND
from proofload.drive.ceiling import Ceiling
from proofload.drive.executors.arrival_rate import OpenRunner
from proofload.drive.executors.base import Runner
from proofload.drive.executors.choose import runner_for
from proofload.drive.http.endpoint import Endpoint, TlsSettings
from proofload.drive.http.wire import Wire
from proofload.drive.measure import DeliveryParts, LoopLag, RunnerReport, generator_of
from proofload.drive.rows import DTYPE, Rows
from proofload.drive.stats import MOST_WORKLOADS, Progress, Standing, Stats
from proofload.plan.operation import Operation
from proofload.plan.workload import AnyWorkload, Ceilings, check, user_count
from proofload.record.delivery import Delivery
from proofload.record.history import History

Barrier = Callable[[str, int], Awaitable[int]]
"""(burst's name, connections that stand open here) -> the instant of release, or -1 where it is off."""

_HEAD_START_NS = 2_000_000
_LAST_WORDS_S = 2.0
_GC_THRESHOLD = 200_000


def loopback_only(address: str) -> None:
    """Raise SafetyError for an address that is not this machine's own loopback."""
    if not ipaddress.ip_address(address).is_loopback:
        raise SafetyError(f"{address}: got an address that nobody vetted, expected loopback; see docs/safety.md")


@dataclass(frozen=True, slots=True)
class VettedOnly:
    """Vets by a list that was made elsewhere, such as in the parent process; it can be pickled."""

    addresses: frozenset[str]

    def __call__(self, address: str) -> None:
        """Raise SafetyError for an address that is neither on the list nor loopback."""
        if address not in self.addresses:
            loopback_only(address)


async def vetted_addresses(endpoint: Endpoint, vet: Callable[[str], None]) -> list[tuple[int, Any]]:
    """Return (family, socket address) of everything the endpoint's name stands for, each vetted.

    Raises TargetError for a name that stands for nothing, and what `vet` raises.
    """
    try:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise TargetError(f"{endpoint.host}: got {error}, expected a name that resolves") from error
    for *_, address in found:
        vet(str(address[0]))
    return [(family, address) for family, *_, address in found]


class Engine:
    """One load generator in the running event loop. It may run several times; rows add up over the runs."""

    def __init__(
        self,
        endpoint: Endpoint,
        operations: Mapping[str, Operation] | None = None,
        *,
        ceilings: Ceilings | None = None,
        clock: Clock | None = None,
        seed: int = 0,
        keep_headers: Collection[str] = (),
        vet: Callable[[str], None] = loopback_only,
        tls: TlsSettings | None = None,
        id_prefix: str | None = None,
        spill: Path | None = None,
        memory_rows: int = 1 << 22,
        max_head_bytes: int = 65_536,
        max_body_bytes: int = 1 << 24,
        kept_body_bytes: int = 65_536,
        connect_timeout_s: float = 10.0,
        shard: int = 0,
        shards: int = 1,
        barrier: Barrier | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.clock = clock or SystemClock()
        self.seed = seed
        self.shard = shard
        self.shards = shards
        self.vet = vet
        self.connect_timeout_s = connect_timeout_s
        self.spin_ns = 0
        self.operations = {name: _named(name, one) for name, one in (operations or {}).items()}
        prefix = id_prefix or f"pl{stream(seed, 'run', self.clock.wall_ns()).getrandbits(32):08x}-"
        self.rows = Rows(tuple(keep_headers), prefix, spill, memory_rows)
        for name in self.operations:
            self.rows.operations.number(name)
        self.stats = Stats()
        scheme = "https" if endpoint.tls else "http"
        host = endpoint.host_header or endpoint.host
        self.wire = Wire(
            now_ns=self.clock.now_ns,
            rows=self.rows,
            operations=self.operations,
            keep_headers=keep_headers,
            origin=f"{scheme}://{host}",
            host_header=host,
            server_name=endpoint.server_name or endpoint.host,
            ssl_context=_ssl_context(tls or TlsSettings()) if endpoint.tls else None,
            max_head_bytes=max_head_bytes,
            max_body_bytes=max_body_bytes,
            kept_body_bytes=kept_body_bytes,
            first_connection=shard,
            connection_step=shards,
        )
        self.on_rows: Callable[[NDArray[Any]], None] | None = None
        """Is shown the rows that have ended, whenever they are counted."""
        self.wire.fold = self.fold
        self.wire.fail = self.fail
        self._ceiling = Ceiling(ceilings or Ceilings(), self)
        self._barrier = barrier
        self._runners: list[Runner] = []
        self._running: list[Runner] = []
        self._next_user = 0
        self._lag = LoopLag(self.clock, self.stats)
        self._started_ns = 0
        self._wall_ns = 0
        self._cpu_ns = 0
        self._reasons: list[str] = []
        self._stopped = False
        self._failure: ToolError | None = None

    # -- running -----------------------------------------------------------------------------------------------------

    async def run(self, *workloads: AnyWorkload, start: Callable[[], Awaitable[int]] | None = None) -> None:
        """Run the workloads side by side until all have ended, then close every connection.

        `start` is awaited when everything is ready and returns the instant from which the workloads count.
        Raises PlanError, SafetyError or TargetError before anything is sent. Cancelled, it first ends every row.
        """
        check(workloads, self.operations)
        await self._prepare(workloads)
        runners = self._new_runners(workloads)
        cpu_ns = _cpu_ns()
        self._started_ns = self.clock.now_ns()
        with _quiet_gc():
            try:
                for runner in runners:
                    if isinstance(runner, OpenRunner):
                        await runner.warm_up()
                start_ns = await start() if start else self.clock.now_ns() + _HEAD_START_NS
                self._started_ns = start_ns
                self._lag.start(self.wire.loop)
                self._ceiling.start(self.wire.loop)
                async with asyncio.TaskGroup() as group:
                    for runner in runners:
                        group.create_task(runner.run(start_ns))
            finally:
                self._lag.stop()
                self._ceiling.stop()
                for runner in runners:
                    runner.cut()
                self._running = []
                await self._close_connections()
                self.fold()
                self._wall_ns += self.clock.now_ns() - self._started_ns
                self._cpu_ns += _cpu_ns() - cpu_ns
        if self._failure is not None:
            raise self._failure

    def stop(self, *, at_once: bool = False, reason: str = "") -> None:
        """End the run: what is under way may finish within its grace, or is cut `at_once`. Fit for a signal handler."""
        self._stopped = True
        if reason and reason not in self._reasons:
            self._reasons.append(reason)
        for runner in self._running:
            runner.stop()
            if at_once:
                runner.cut()

    def fail(self, error: ToolError) -> None:
        """End the run because the tool itself can't go on; `run` raises the error when every row is ended."""
        self._failure = self._failure or error
        self.stop(at_once=True, reason=str(error))

    async def barrier(self, name: str, opened: int) -> int:
        """Return the instant at which the burst `name` is released, once all generators are ready for it."""
        if self._barrier is not None:
            return await self._barrier(name, opened)
        return self.clock.now_ns() + _HEAD_START_NS

    async def _prepare(self, workloads: Sequence[AnyWorkload]) -> None:
        self.wire.loop = asyncio.get_running_loop()
        # NumPy loads and compiles at first use; that must not fall among the first answers.
        Stats().add_rows(np.array([(0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 200, 0, b"", 0, 0)], dtype=DTYPE))
        endpoint = self.endpoint
        if endpoint.unix_socket is not None:
            self.wire.address = (socket.AF_UNIX, str(endpoint.unix_socket))
            return
        found = await vetted_addresses(endpoint, self.vet)
        wanted = {socket.AF_INET6 if ":" in source else socket.AF_INET for one in workloads for source in one.sources}
        choices: list[tuple[int, Any]] = [one for one in found if not wanted or one[0] in wanted]
        self.wire.address = await self._first_that_accepts(choices or found[:1])

    async def _first_that_accepts(self, choices: list[tuple[int, Any]]) -> tuple[int, Any]:
        """Return the first address that takes a connection; `localhost` is often ::1 first, with nobody there."""
        for family, address in choices if len(choices) > 1 else ():
            with contextlib.closing(socket.socket(family, socket.SOCK_STREAM)) as probe:
                probe.setblocking(False)
                with contextlib.suppress(OSError, TimeoutError):
                    async with asyncio.timeout(self.connect_timeout_s):
                        await self.wire.loop.sock_connect(probe, address)
                    return family, address
        return choices[0]

    def _new_runners(self, workloads: Sequence[AnyWorkload]) -> list[Runner]:
        runners = []
        for workload in workloads:
            number = self.rows.workloads.number(workload.name)
            if number >= MOST_WORKLOADS:
                raise ToolError(
                    f"engine: got more than {MOST_WORKLOADS} workloads, expected fewer; make another engine"
                )
            runners.append(runner_for(self, workload, number, self._next_user))
            self._next_user += user_count(workload)
        self._runners += runners
        self._running = list(runners)
        return runners

    async def _close_connections(self) -> None:
        """Wait until every transport is closed, so that nothing of this run is left in the loop."""
        wire = self.wire
        for connection in list(wire.connections):
            connection.retire(abort=True)
        gone = asyncio.Event()
        wire.on_quiet = gone.set
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORDS_S):
                if wire.opening:
                    await asyncio.gather(*wire.opening, return_exceptions=True)
                while wire.connections:
                    gone.clear()
                    await gone.wait()
        # What the loop still has to call back for users that are gone.
        await asyncio.sleep(0)

    # -- reading -----------------------------------------------------------------------------------------------------

    def fold(self) -> None:
        """Add what has ended since the last time to the statistics."""
        lags, self.wire.lags_ns = self.wire.lags_ns, []
        ended = self.rows.take_finished()
        self.stats.add_rows(ended)
        if self.on_rows is not None and len(ended):
            self.on_rows(ended)
        self.stats.add_lags(lags)

    def history(self) -> History:
        """Return all rows made so far as a history."""
        return self.rows.history()

    def history_parts(self) -> Iterator[History]:
        """Yield the history in parts, so that one of any length can be written in flat memory."""
        return self.rows.parts()

    def standing(self) -> Standing:
        """Return how the run stands, to be merged with how others do."""
        self.fold()
        return Standing(
            self.stats,
            self.rows.made,
            users=sum(len(runner.users) for runner in self._running),
            elapsed_ns=max(0, self.clock.now_ns() - self._started_ns) if self._running else self._wall_ns,
            checks={name: (held, broken) for name, (held, broken) in self.wire.checks.items()},
            user_errors=sum(self.wire.errors.values()),
        )

    def progress(self) -> Progress:
        """Return how the run stands."""
        return self.standing().progress()

    def account(self) -> DeliveryParts:
        """Return everything that the delivery is made from."""
        self.fold()
        return DeliveryParts(
            stats=self.stats,
            reports=self._reports(),
            generators=(
                generator_of(self.shard, self.rows.made, self._cpu_ns, self.spin_ns, self._wall_ns, self.stats),
            ),
            wall_ns=self._wall_ns,
            reasons=tuple(self._reasons),
            stopped=self._stopped,
            errors=dict(self.wire.errors),
            checks={name: (held, broken) for name, (held, broken) in self.wire.checks.items()},
        )

    def _reports(self) -> tuple[RunnerReport, ...]:
        """Return a report for each workload, of the last run where one of the name ran several times."""
        reports: dict[int, RunnerReport] = {}
        for runner in self._runners:
            report = runner.report()
            before = reports.get(report.number)
            reports[report.number] = replace(report, unmade=report.unmade + before.unmade) if before else report
        return tuple(reports.values())

    def delivery(self) -> Delivery:
        """Return what the engine thinks of its own work so far."""
        return self.account().delivery()

    def close(self) -> None:
        """Give the memory of the rows back."""
        self.rows.close()


def _named(name: str, operation: Operation) -> Operation:
    return operation if operation.name == name else operation.model_copy(update={"name": name})


def _ssl_context(settings: TlsSettings) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(settings.ca_file) if settings.ca_file else None)
    if not settings.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if settings.certificate is not None:
        context.load_cert_chain(settings.certificate, settings.key)
    context.set_alpn_protocols(["http/1.1"])
    return context


def _cpu_ns() -> int:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return round((used.ru_utime + used.ru_stime) * NS_PER_SECOND)


_quiet: list[Any] = []
"""The collector's thresholds from before, once for each engine that is running."""


@contextlib.contextmanager
def _quiet_gc() -> Iterator[None]:
    """Collect garbage seldom: a collection among thousands of users takes milliseconds, and stands in their latency."""
    _quiet.append(_quiet[0] if _quiet else gc.get_threshold())
    gc.set_threshold(_GC_THRESHOLD, 20, 100)
    gc.freeze()
    try:
        yield
    finally:
        before = _quiet.pop()
        # Engines run side by side, and end in any order.
        if not _quiet:
            gc.unfreeze()
            gc.set_threshold(*before)

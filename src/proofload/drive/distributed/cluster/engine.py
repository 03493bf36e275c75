"""An engine whose requests the nodes of a cluster send: each call is a fleet of its own, and its rows are taken in."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

from proofload.core.errors import UnfitEngineError, UnfitTargetError
from proofload.drive.distributed.cluster.nodes import RayNodes
from proofload.drive.distributed.fleet import Fleet
from proofload.drive.distributed.spawn import Generator
from proofload.drive.engine import Engine
from proofload.drive.measure import DeliveryParts, RunnerReport
from proofload.plan.workload import AnyWorkload, Ceilings, check, user_count
from proofload.record.delivery import GeneratorDelivery
from proofload.record.exchange import NEVER_NS
from proofload.record.history import CLOCK_COLUMN, HEADER_PREFIX, History


class Cluster:
    """The nodes that the engines of one run share. One call has them at a time: a generator fills its core."""

    def __init__(self, nodes: RayNodes) -> None:
        self.nodes = nodes
        self.turn = asyncio.Lock()

    async def start(self, order: Any) -> Generator:
        """Start a generator on the node whose turn it is."""
        return await self.nodes.start(order)

    def close(self) -> None:
        """Keep the connection: the next call needs it. `end` closes it."""

    def end(self) -> None:
        """Leave the cluster."""
        self.nodes.close()


@dataclass(slots=True)
class _ClusterRunner:
    """What stands for a workload's runner in the account: its report, and a way to stop the fleet."""

    fleet: Fleet
    told: RunnerReport
    users: set[Any] = field(default_factory=set)

    def report(self) -> RunnerReport:
        return self.told

    def stop(self) -> None:
        self.fleet.stop()

    def cut(self) -> None:
        self.fleet.stop(at_once=True)


class ClusterEngine(Engine):
    """Splits every call over the generators of a cluster, exactly as a fleet does.

    The doubt about a node's clock widens each row's interval: it was sent no earlier and done no later than it says.
    Raises UnfitEngineError where a script can't go to another machine, and UnfitTargetError, once the rows are in,
    where a generator was lost with its share of the load: no verdict may rest on the rest.
    """

    def __init__(self, *arguments: Any, cluster: Cluster, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._cluster = cluster
        self._options = {name: options[name] for name in ("vet", "tls") if name in options}
        self._most: Ceilings = options.get("ceilings") or Ceilings()
        self._calls = 0
        self._far: list[GeneratorDelivery] = []

    async def run(self, *workloads: AnyWorkload, start: Callable[[], Awaitable[int]] | None = None) -> None:
        """Run the workloads side by side until all have ended."""
        check(workloads, self.operations)
        if start is not None:
            raise UnfitEngineError("a cluster agrees on its own start")
        for one in workloads:
            _must_travel(one)
        async with self._cluster.turn:
            self._calls += 1
            fleet = Fleet(
                self._cluster.nodes.processes,
                self.endpoint,
                self.operations,
                clock=self.clock,
                places=self._cluster,
                seed=self.seed,
                keep_headers=self.rows.header_names,
                id_prefix=f"{self.rows.id_prefix}c{self._calls}.",
                ceilings=self._left(),
                **self._options,
            )
            running = [_ClusterRunner(fleet, _blank(one, self.rows.workloads.number(one.name))) for one in workloads]
            self._running = running  # type: ignore[assignment]
            began_ns = self._started_ns = self.clock.now_ns()
            try:
                await fleet.run(*workloads)
            finally:
                self._running = []
                self._take_in(fleet, workloads, running)
                self._wall_ns += self.clock.now_ns() - began_ns
                fleet.close()

    def account(self) -> DeliveryParts:
        """Return everything that the delivery is made from, the generators of all calls included."""
        return replace(super().account(), generators=tuple(self._far))

    def _left(self) -> Ceilings:
        total = self._most.total_requests
        return replace(self._most, total_requests=None if total is None else max(1, total - self.rows.made))

    def _take_in(self, fleet: Fleet, workloads: tuple[AnyWorkload, ...], running: list[_ClusterRunner]) -> None:
        for part in fleet.history_parts():
            self._add(part)
        account = fleet.account()
        for one, report in zip(running, account.reports, strict=False):
            one.told = replace(report, number=one.told.number)
        self._runners += running  # type: ignore[arg-type]
        self._next_user += sum(user_count(one) for one in workloads)
        self.fold()
        self.stats.send_lag.merge(account.stats.send_lag)
        self.stats.loop_lag.merge(account.stats.loop_lag)
        self.stats.late += account.stats.late
        for name, (held, broken) in account.checks.items():
            counts = self.wire.checks.setdefault(name, [0, 0])
            counts[0], counts[1] = counts[0] + held, counts[1] + broken
        for key, many in account.errors.items():
            self.wire.errors[key] = self.wire.errors.get(key, 0) + many
        first = len(self._far)
        placed = fleet.delivery().generators
        self._far += [replace(one, number=first + place) for place, one in enumerate(placed)]
        lost = [one for one in placed if one.died]
        if lost:
            self._reasons += [one for one in account.reasons if one not in self._reasons]
            raise UnfitTargetError("; ".join(account.reasons))

    def _add(self, part: History) -> None:
        for row in part.frame.iter_rows(named=True):
            doubt_ns = row.get(CLOCK_COLUMN) or 0
            number = self.rows.add_whole(
                intended_ns=row["intended_ns"],
                sent_ns=row["sent_ns"] - doubt_ns if row["sent_ns"] != NEVER_NS else NEVER_NS,
                first_byte_ns=row["first_byte_ns"],
                done_ns=row["done_ns"] + doubt_ns if row["done_ns"] != NEVER_NS else NEVER_NS,
                user=self._next_user + row["user"],
                workload=self.rows.workloads.number(row["workload"]),
                operation=self.rows.operations.number(row["operation"]),
                source=self.rows.sources.number(row["source"]),
                tag=self.rows.tags.number(row.get("tag") or ""),
                ending=row["ending"],
                fault=row["fault"],
                status=row["status"],
            )
            headers = {name: str(text) for name in self.rows.header_names if (text := row.get(HEADER_PREFIX + name))}
            self.rows.keep_told(number, row["request_id"], headers, row.get("body"))


def _blank(workload: AnyWorkload, number: int) -> RunnerReport:
    return RunnerReport(workload.name, type(workload).__name__, number, None, 0, None, None)


def _must_travel(workload: AnyWorkload) -> None:
    try:
        pickle.dumps(workload)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise UnfitEngineError(
            f"{workload.name}: its script can't go to another machine; run it without --cluster"
        ) from error

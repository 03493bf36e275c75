"""What a case may use while it drives: workloads, accounts, fresh addresses, the target's books, and time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from proofload.cases.accounts import Account, Accounts
from proofload.cases.addresses import Sources
from proofload.cases.quiet_lock import Turns
from proofload.cases.resource_locks import Holds
from proofload.core.clock import Clock
from proofload.core.errors import ToolError
from proofload.core.units import NS_PER_SECOND
from proofload.drive.engine import Engine
from proofload.faults import probes
from proofload.faults.declared import driver_of
from proofload.faults.driver import Driver
from proofload.faults.journal import Journal
from proofload.faults.lease import Lease, lease
from proofload.faults.supervised import MUTE
from proofload.observe.audit_file import AuditFiles
from proofload.observe.loki import Loki
from proofload.observe.metrics import read_metrics
from proofload.observe.prometheus import Prometheus, exactly
from proofload.plan.faults import Switch
from proofload.plan.target import Target
from proofload.plan.workload import AnyWorkload, Burst, PerUserIterations, Script
from proofload.plan.workload import Sequence as Steps
from proofload.record.delivery import Delivery
from proofload.record.fault_edge import FaultEdge
from proofload.record.history import History
from proofload.record.ledger import AuditEntry, Ledgers, Reading
from proofload.record.pulse import Pulse

_MOST_CONNECTIONS = 500
_CLOCKS_APART_NS = 2 * NS_PER_SECOND
QUIET = "quiet"
"""What a case disturbs whose loads would keep others from ever being alone."""


class Audience(Protocol):
    """Hears what a case is doing, for whoever watches."""

    def doing(self, case_id: str, what: str, until_ns: int | None = None) -> None:
        """Hear that a case does or waits for something, until an instant where one is known."""
        ...

    def ended(self, case_id: str, outcome: str) -> None:
        """Hear that a case has ended."""
        ...

    def sent(self, case_id: str, requests: int) -> None:
        """Hear how many requests a case has sent so far."""
        ...

    def pulse(self, case_id: str, pulse: Pulse) -> None:
        """Hear now and then how a running case's load stands."""
        ...


@dataclass(slots=True)
class Shared:
    """What all cases of a run have in common."""

    target: Target
    clock: Clock
    seed: int
    run_id: str
    sources: Sources
    accounts: Accounts
    audience: Audience
    new_engine: Callable[[str], Engine]
    """Make an engine whose request ids begin with the given prefix."""
    turns: Turns = field(default_factory=Turns)
    holds: Holds = field(default_factory=Holds)
    on_fault: Callable[[str, str, str, bool], None] = lambda *_: None
    """Hears of a case, a service and a kind of fault: whether it holds now."""


@dataclass(frozen=True, slots=True)
class Toggle:
    """A control that is switched off on a lease."""

    _driver: Driver
    _kind: str

    async def on(self) -> None:
        """Switch it on. Raises FaultError where that can't be done."""
        await self._driver.undo(self._kind)

    async def off(self) -> None:
        """Switch it off. Raises FaultError where that can't be done."""
        await self._driver.apply(self._kind)


class Lab:
    """One case's place of work. What it sends, reads and notes becomes the evidence of that case."""

    def __init__(self, case_id: str, shared: Shared, takes_ns: int = 0) -> None:
        self.case_id = case_id
        self.target = shared.target
        self.clock = shared.clock
        self.seed = shared.seed
        self.facts: dict[str, Any] = {}
        self.engine = shared.new_engine(f"{shared.run_id}-{case_id}")
        self._shared = shared
        self._readings: list[Reading] = []
        self._edges: list[FaultEdge] = []
        audit = shared.target.policies.audit
        self._audit_files = AuditFiles(audit.files if audit else ())
        self._audit: tuple[AuditEntry, ...] = ()
        self._aggregated: tuple[AuditEntry, ...] = ()
        self._audit_from_wall_ns = 0
        self._ledger_facts: dict[str, str] = {}
        self._silent = False
        self._takes_ns = takes_ns
        self.phases: list[tuple[int, str]] = []
        """When this case turned to something else, and to what."""
        self.silences: list[tuple[int, int]] = []
        """When no other case sent, from and to."""
        self._in_force: list[str] = []

    async def run(self, *workloads: AnyWorkload) -> None:
        """Drive workloads side by side to their end. Their names are steps of this case."""
        async with self._my_turn():
            await self.engine.run(*workloads)
        self._shared.audience.sent(self.case_id, self.engine.progress().sent)

    def _my_turn(self) -> AbstractAsyncContextManager[None]:
        # Who holds silence may send: asking for a turn as well would wait for itself.
        return contextlib.nullcontext() if self._silent else self._shared.turns.sending()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Hold a turn to send, so that no run inside waits for somebody's silence: for what must come at its time."""
        async with self._my_turn():
            before, self._silent = self._silent, True
            try:
                yield
            finally:
                self._silent = before

    @asynccontextmanager
    async def silence(self) -> AsyncIterator[None]:
        """Hold while no other case sends, so that what the target counts is ours alone.

        Who sends for long at a stretch disturbs QUIET, and is not waited for by all who send now and then.
        """
        async with self._shared.holds.using((QUIET,)), self._shared.turns.silence(self._takes_ns):
            self._silent = True
            from_ns = self.clock.now_ns()
            try:
                yield
            finally:
                self._silent = False
                self.silences.append((from_ns, self.clock.now_ns()))

    def using(self, *operations: str) -> AbstractAsyncContextManager[None]:
        """Hold while no other case disturbs the services of these operations; waits, outside any silence, until then.

        For a case that can do something else meanwhile; one that can't declares `uses`.
        """
        services = {one.service for name in operations if (one := self.target.operations[name]).service}
        if services and not self._silent:
            self.doing(f"waiting until {', '.join(sorted(map(str, services)))} can be called undisturbed")
        return self._shared.holds.using(f"service:{name}" for name in services)

    def step(self, name: str) -> str:
        """Return the name of a workload of this case."""
        return f"{self.case_id}/{name}"

    def steps(
        self,
        name: str,
        run: str | Script,
        n: int = 1,
        *,
        account: Account | None = None,
        source: str | None = None,
        fresh_connections: bool = False,
        tag: str = "",
    ) -> Steps:
        """Return `n` requests (or runs of a script) one after the other, by one client."""
        return Steps(
            name=self.step(name),
            run=run,
            n=n,
            sources=(source,) if source else (),
            identities=(account.identity(),) if account else (),
            fresh_connections=fresh_connections,
            tag=tag,
        )

    def crowd(
        self,
        name: str,
        run: str | Script,
        users: int,
        iterations: int,
        *,
        accounts: Sequence[Account] = (),
        sources: Sequence[str] = (),
    ) -> PerUserIterations:
        """Return `users` clients side by side, each with its own address and account, that send `iterations` each."""
        return PerUserIterations(
            name=self.step(name),
            run=run,
            users=users,
            iterations=iterations,
            sources=tuple(sources),
            identities=tuple(account.identity() for account in accounts),
        )

    def sources(self, count: int) -> tuple[str, ...]:
        """Return `count` fresh client addresses, or none where this machine has only its own."""
        return tuple(source for _ in range(count) if (source := self.source()))

    def burst(
        self, name: str, run: str | Script, n: int, *, account: Account | None = None, source: str | None = None
    ) -> Burst:
        """Return `n` requests released at one instant by as many connections of one client, 500 at the most."""
        return Burst(
            name=self.step(name),
            run=run,
            n=n,
            connections=min(n, _MOST_CONNECTIONS),
            sources=(source,) if source else (),
            identities=(account.identity(),) if account else (),
        )

    @property
    def many_sources(self) -> bool:
        """Return whether clients can be told apart by their addresses."""
        return self._shared.sources.many

    def source(self) -> str | None:
        """Return a client address that nobody used before, or None where this machine has only its own."""
        return self._shared.sources.fresh()

    async def accounts(self, count: int = 1) -> Sequence[Account]:
        """Return logged-in test users that no other case uses, made through the target's own API."""
        self.doing(f"creating {count} test user{'s' if count > 1 else ''}")
        async with self._my_turn():
            return await self._shared.accounts.take(count)

    async def read_services(self, label: str) -> None:
        """Read the counters of the gateway and of every service that declares a metrics page."""
        policy = self.target.policies.metrics
        pages = {name: service.metrics for name, service in self.target.services.items() if service.metrics}
        if policy is not None and policy.url is not None:
            pages["gateway"] = policy.url
        readers: list[Awaitable[Reading]] = [
            read_metrics(url, source=name, label=label, clock=self.clock) for name, url in sorted(pages.items())
        ]
        self._readings += await asyncio.gather(*readers)

    def prometheus(self) -> Prometheus | None:
        """Return the Prometheus server that scrapes the target, where one is declared."""
        policy = self.target.policies.metrics
        url = (policy.prometheus if policy else None) or self.target.monitoring.prometheus
        return Prometheus(url, self.clock) if url else None

    async def read_prometheus(self, label: str) -> None:
        """Read the target's counters from the Prometheus server, as of a scrape that begins after this call."""
        policy, server = self.target.policies.metrics, self.prometheus()
        if policy is None or server is None:
            return
        self.doing("waiting for the next scrape by Prometheus")
        also = [
            exactly((one.state.gauge,), one.state.only) for one in self.target.policies.circuit_breaker if one.state
        ]
        if policy.durations:
            also.append(exactly((f"{policy.durations}_count", f"{policy.durations}_bucket"), policy.only))
        reading = await server.fresh(policy.requests_total, policy.only, source="prometheus", label=label, also=also)
        self._readings.append(reading)

    def loki(self) -> Loki | None:
        """Return the Loki server that receives the audit log, where one is declared."""
        policy = self.target.policies.audit
        return Loki(policy.loki, self.clock) if policy and policy.loki else None

    def begin_audit(self) -> None:
        """Note where the audit log's files end now."""
        self._audit_files.begin()
        self._audit_from_wall_ns = self.clock.wall_ns()

    def read_audit(self) -> None:
        """Read what was written to the audit log's files since its beginning was noted."""
        policy = self.target.policies.audit
        if policy is not None and policy.loki and not policy.files:
            return
        try:
            self._audit = self._audit_files.read(self.clock.now_ns())
        except ToolError as error:
            self._ledger_facts["audit.error"] = str(error)

    async def read_loki(self) -> None:
        """Read the same from Loki, where that is declared: as a copy, or as the log itself where there is no file."""
        policy, loki = self.target.policies.audit, self.loki()
        if policy is None or loki is None or not policy.loki_query:
            return
        # Whoever stamps the lines may have another clock; what is foreign in the margin has other request ids.
        from_ns, to_ns = self._audit_from_wall_ns - _CLOCKS_APART_NS, self.clock.wall_ns() + _CLOCKS_APART_NS
        self._ledger_facts.pop("loki_error", None)
        try:
            entries = await loki.entries(policy.loki_query, from_ns, to_ns)
        except ToolError as error:
            self._ledger_facts["loki_error"] = str(error)
            if not policy.files:
                self._ledger_facts["audit.error"] = str(error)
            return
        if policy.files:
            self._aggregated = entries
        else:
            self._audit = entries

    async def read_log(self) -> None:
        """Read the audit log wherever it can be read: the files, and Loki, which is all there is where no file is."""
        self.read_audit()
        await self.read_loki()

    def loki_error(self) -> str:
        """Return why Loki could not be read the last time, or nothing."""
        return self._ledger_facts.get("loki_error", "")

    def aggregated(self) -> tuple[AuditEntry, ...]:
        """Return what Loki held when it was last read."""
        policy = self.target.policies.audit
        return self._aggregated if policy is not None and policy.files else self._audit

    @asynccontextmanager
    async def fault(self, service: str, kind: str, duration_ns: int) -> AsyncIterator[None]:
        """Break a service on a lease; its edges become evidence. Raises ToolError where that can't be done."""
        self.doing(f"breaking service {service} ({kind})")
        health = self.target.services[service].health
        assert health is not None
        held = probes.silent(health) if kind == "pause" else probes.refuses(health)
        leased: Lease | None = None
        try:
            async with lease(
                driver_of(self.target.faults[service]),
                kind,
                fault=f"{kind} {service}",
                service=service,
                clock=self.clock,
                journal=Journal(),
                duration_ns=duration_ns,
                held=held,
                mended=probes.answers(health),
            ) as leased:
                self._in_force.append(f"{kind} {service}")
                self._shared.on_fault(self.case_id, service, kind, True)
                yield
                self.doing(f"mending service {service}")
        finally:
            if f"{kind} {service}" in self._in_force:
                self._in_force.remove(f"{kind} {service}")
            if leased is not None:
                self._shared.on_fault(self.case_id, service, kind, False)
                self._edges += leased.edges

    @asynccontextmanager
    async def switched_off(self, name: str, switch: Switch, duration_ns: int) -> AsyncIterator[Toggle]:
        """Switch a control off on a lease; whether it did anything the target's own books must show.

        Inside, it may be switched on and off again as often as is liked: at the end of the lease it is on, whatever
        happens.
        """
        driver = driver_of(switch)
        kind = MUTE if MUTE in driver.kinds else "stop"
        said = probes.said("the switch was thrown; the target's books tell whether it did anything")
        async with lease(
            driver,
            kind,
            fault=f"switch {name} off",
            service=name,
            clock=self.clock,
            journal=Journal(),
            duration_ns=duration_ns,
            held=said,
            mended=said,
        ):
            yield Toggle(driver, kind)

    async def wait_until_ns(self, due_ns: int, what: str) -> None:
        """Wait for an instant, and say for what."""
        self.doing(what, due_ns)
        await self.clock.sleep_until_ns(due_ns)

    def doing(self, what: str, until_ns: int | None = None) -> None:
        """Say what this case does now."""
        if not self.phases or self.phases[-1][1] != what:
            self.phases.append((self.clock.now_ns(), what))
        self._shared.audience.doing(self.case_id, what, until_ns)

    def note(self, name: str, value: Any) -> None:
        """Keep a fact (JSON only) with the evidence."""
        self.facts[name] = value

    def pulse(self) -> Pulse:
        """Return how the load stands, for who watches."""
        standing = self.engine.progress()
        by_class: dict[int, int] = {}
        for status, count in standing.by_status.items():
            by_class[status // 100] = by_class.get(status // 100, 0) + count
        lost = standing.unknown + standing.not_sent
        good = standing.good.copy()
        return Pulse(standing.planned, standing.sent, lost, by_class, good, tuple(self._in_force))

    def history(self) -> History:
        """Return what was sent so far."""
        return self.engine.history()

    def deliveries(self) -> tuple[Delivery, ...]:
        """Return how truly the load was put on the wire."""
        return (self.engine.delivery(),)

    def edges(self) -> tuple[FaultEdge, ...]:
        """Return the moments of the faults so far."""
        return tuple(self._edges)

    def ledgers(self) -> Ledgers:
        """Return what was read so far."""
        return Ledgers(tuple(self._readings), self._audit, self._ledger_facts, self._aggregated)

"""What one case reads of the target's own metrics and logs; everything read becomes evidence."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from proofload.cases.isolation import gateway_service
from proofload.cases.progress import CaseProgress
from proofload.core.clock import Clock
from proofload.core.errors import ToolError
from proofload.core.units import NS_PER_SECOND
from proofload.observe.audit_file import AuditFiles
from proofload.observe.loki import Loki
from proofload.observe.metrics import read_metrics
from proofload.observe.prometheus import Prometheus, exactly
from proofload.plan.target import Target
from proofload.record.ledger import AuditEntry, Ledgers, Reading

_CLOCKS_APART_NS = 2 * NS_PER_SECOND
GATEWAY = "gateway"
"""The source of a reading of the gateway's own metrics page."""


class TargetReadings:
    """Reads metrics pages, a Prometheus server, audit files and Loki, each where the target declares it."""

    def __init__(self, target: Target, clock: Clock, progress: CaseProgress) -> None:
        self._target = target
        self._clock = clock
        self._progress = progress
        self._readings: list[Reading] = []
        audit = target.policies.audit
        self._audit_files = AuditFiles(audit.files if audit else ())
        self._audit: tuple[AuditEntry, ...] = ()
        self._aggregated: tuple[AuditEntry, ...] = ()
        self._audit_from_wall_ns = 0
        self._facts: dict[str, str] = {}

    async def services(self, label: str) -> None:
        """Read the counters of the gateway and of every service that declares a metrics page."""
        target, policy = self._target, self._target.policies.metrics
        own = gateway_service(target)
        pages = {name: one.metrics for name, one in target.services.items() if one.metrics and name != own}
        if policy is not None and policy.url is not None:
            pages[GATEWAY] = policy.url
        readers: list[Awaitable[Reading]] = [
            read_metrics(url, source=name, label=label, clock=self._clock) for name, url in sorted(pages.items())
        ]
        self._readings += await asyncio.gather(*readers)

    def prometheus_server(self) -> Prometheus | None:
        """Return the Prometheus server that scrapes the target, where one is declared."""
        policy = self._target.policies.metrics
        url = (policy.prometheus if policy else None) or self._target.monitoring.prometheus
        return Prometheus(url, self._clock) if url else None

    async def prometheus(self, label: str) -> None:
        """Read the target's counters from the Prometheus server, as of a scrape that begins after this call."""
        policy, server = self._target.policies.metrics, self.prometheus_server()
        if policy is None or server is None:
            return
        self._progress.doing("waiting for the next scrape by Prometheus")
        also = [
            exactly((one.state.gauge,), one.state.only) for one in self._target.policies.circuit_breaker if one.state
        ]
        if policy.durations:
            timed = tuple(f"{policy.durations}_{what}" for what in ("count", "sum", "bucket"))
            also.append(exactly(timed, policy.only))
        reading = await server.fresh(policy.requests_total, policy.only, source="prometheus", label=label, also=also)
        self._readings.append(reading)

    def loki_server(self) -> Loki | None:
        """Return the Loki server that receives the audit log, where one is declared."""
        policy = self._target.policies.audit
        return Loki(policy.loki, self._clock) if policy and policy.loki else None

    async def begin_audit(self) -> None:
        """Note where the audit log's files end now."""
        # In a thread, as all reading of files: a log of gigabytes must not hold up what is being sent meanwhile.
        await asyncio.to_thread(self._audit_files.begin)
        self._audit_from_wall_ns = self._clock.wall_ns()

    async def audit_files(self) -> None:
        """Read what was written to the audit log's files since its beginning was noted."""
        policy = self._target.policies.audit
        if policy is not None and policy.loki and not policy.files:
            return
        try:
            self._audit = await asyncio.to_thread(self._audit_files.read, self._clock.now_ns())
        except ToolError as error:
            self._facts["audit.error"] = str(error)

    async def loki(self) -> None:
        """Read the same from Loki, where that is declared: as a copy, or as the log itself where there is no file."""
        policy, server = self._target.policies.audit, self.loki_server()
        if policy is None or server is None or not policy.loki_query:
            return
        # Whoever stamps the lines may have another clock; what is foreign in the margin has other request ids.
        from_ns, to_ns = self._audit_from_wall_ns - _CLOCKS_APART_NS, self._clock.wall_ns() + _CLOCKS_APART_NS
        self._facts.pop("loki_error", None)
        try:
            entries = await server.entries(policy.loki_query, from_ns, to_ns)
        except ToolError as error:
            self._facts["loki_error"] = str(error)
            if not policy.files:
                self._facts["audit.error"] = str(error)
            return
        if policy.files:
            self._aggregated = entries
        else:
            self._audit = entries

    async def audit(self) -> None:
        """Read the audit log wherever it can be read: the files, and Loki, which is all there is where no file is."""
        await self.audit_files()
        await self.loki()

    @property
    def loki_error(self) -> str:
        """Return why Loki could not be read the last time, or nothing."""
        return self._facts.get("loki_error", "")

    @property
    def in_loki(self) -> tuple[AuditEntry, ...]:
        """Return what Loki held when it was last read."""
        policy = self._target.policies.audit
        return self._aggregated if policy is not None and policy.files else self._audit

    def ledgers(self) -> Ledgers:
        """Return everything that was read so far."""
        return Ledgers(tuple(self._readings), self._audit, self._facts, self._aggregated)

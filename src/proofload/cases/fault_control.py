"""What one case breaks, on leases whose four moments become evidence."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from proofload.cases.progress import CaseProgress
from proofload.core.clock import Clock
from proofload.faults import probes
from proofload.faults.declared import driver_of
from proofload.faults.driver import Driver
from proofload.faults.journal import Journal
from proofload.faults.lease import Lease, lease
from proofload.faults.supervised import MUTE
from proofload.plan.faults import Switch
from proofload.plan.target import Target
from proofload.record.fault_edge import FaultEdge

FAILS = ("stop", "status", "reset", "disconnect")
"""The kinds of fault by which every call of a service fails at once, the plainest first."""
HANGS = ("pause", "black_hole")
"""The kinds of fault by which calls of a service are never answered."""


def can_break(target: Target, service: str, *kinds: str) -> bool:
    """Return whether the target declares a way to break the service in one of these ways, and to see it broken."""
    return breaking_kind(target, service, kinds) is not None


def breaking_kind(target: Target, service: str, kinds: Sequence[str]) -> str | None:
    """Return the first of the kinds by which the service can be broken, and be seen to be; None where there is none."""
    declared, known = target.faults.get(service), target.services.get(service)
    if declared is None or known is None or not known.health:
        return None
    offered = driver_of(declared).kinds
    return next((kind for kind in kinds if kind in offered), None)


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


class FaultControl:
    """Breaks services and switches controls off, each on a lease that is undone whatever happens."""

    def __init__(
        self, target: Target, clock: Clock, progress: CaseProgress, on_fault: Callable[[str, str, bool], None]
    ) -> None:
        self._target = target
        self._clock = clock
        self._progress = progress
        self._on_fault = on_fault
        self._edges: list[FaultEdge] = []
        self._in_force: list[str] = []

    @asynccontextmanager
    async def fault(self, service: str, kind: str, duration_ns: int) -> AsyncIterator[None]:
        """Break a service on a lease; its edges become evidence. Raises ToolError where that can't be done."""
        self._progress.doing(f"breaking service {service} ({kind})")
        health = self._target.services[service].health
        assert health is not None
        held = probes.refuses(health) if kind in ("stop", "kill") else probes.held_by(kind, health)
        leased: Lease | None = None
        name = f"{kind} {service}"
        try:
            async with lease(
                driver_of(self._target.faults[service]),
                kind,
                fault=name,
                service=service,
                clock=self._clock,
                journal=Journal(),
                duration_ns=duration_ns,
                held=held,
                mended=probes.answers(health),
            ) as leased:
                self._in_force.append(name)
                self._on_fault(service, kind, True)
                yield
                self._progress.doing(f"undoing the fault on service {service}")
        finally:
            if name in self._in_force:
                self._in_force.remove(name)
            if leased is not None:
                self._on_fault(service, kind, False)
                self._edges += leased.edges

    @asynccontextmanager
    async def switched_off(self, name: str, switch: Switch, duration_ns: int) -> AsyncIterator[Toggle]:
        """Switch a control off on a lease; whether it did anything the target's own metrics and logs must show.

        Inside, it may be switched on and off again as often as is liked: at the end of the lease it is on, whatever
        happens.
        """
        driver = driver_of(switch)
        kind = MUTE if MUTE in driver.kinds else "stop"
        said = probes.said("the switch was thrown; the target's metrics and logs tell whether it did anything")
        async with lease(
            driver,
            kind,
            fault=f"switch {name} off",
            service=name,
            clock=self._clock,
            journal=Journal(),
            duration_ns=duration_ns,
            held=said,
            mended=said,
        ):
            yield Toggle(driver, kind)

    @property
    def in_force(self) -> tuple[str, ...]:
        """Return the faults that are in force now."""
        return tuple(self._in_force)

    def edges(self) -> tuple[FaultEdge, ...]:
        """Return the moments of the faults so far."""
        return tuple(self._edges)

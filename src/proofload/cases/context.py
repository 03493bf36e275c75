"""What a driving function may use: workloads, users, addresses, faults, the target's metrics and logs, and time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

from proofload.cases.accounts import Account, Accounts
from proofload.cases.addresses import Addresses
from proofload.cases.fault_control import FaultControl
from proofload.cases.progress import Audience, CaseProgress
from proofload.cases.quiet_lock import QuietLock
from proofload.cases.resource_locks import ResourceLocks
from proofload.cases.target_readings import TargetReadings
from proofload.cases.traffic import Traffic
from proofload.cases.workloads import Workloads
from proofload.core.clock import Clock
from proofload.drive.engine import Engine
from proofload.plan.target import Target
from proofload.plan.workload import AnyWorkload
from proofload.record.delivery import Delivery
from proofload.record.fault_edge import FaultEdge
from proofload.record.history import History
from proofload.record.ledger import Ledgers
from proofload.record.pulse import Pulse


@dataclass(slots=True)
class RunShared:
    """What all cases of a run have in common."""

    target: Target
    clock: Clock
    seed: int
    run_id: str
    addresses: Addresses
    accounts: Accounts
    audience: Audience
    new_engine: Callable[[str], Engine]
    """Make an engine whose request ids begin with the given prefix."""
    quiet_lock: QuietLock = field(default_factory=QuietLock)
    resource_locks: ResourceLocks = field(default_factory=ResourceLocks)
    on_fault: Callable[[str, str, str, bool], None] = lambda *_: None
    """Hears of a case, a service and a kind of fault: whether it holds now."""


class CaseContext:
    """One case's place of work. What it sends, reads and notes becomes the evidence of that case.

    The everyday is here; the rest is in its parts: `traffic` (when to send), `readings` (metrics and logs), `faults`,
    `progress` (what watchers are told), `engine`.
    """

    def __init__(self, case_id: str, shared: RunShared, takes_ns: int = 0) -> None:
        self.case_id = case_id
        self.target = shared.target
        self.clock = shared.clock
        self.seed = shared.seed
        self.facts: dict[str, Any] = {}
        self.engine = shared.new_engine(f"{shared.run_id}-{case_id}")
        self.progress = CaseProgress(case_id, shared.clock, shared.audience)
        self.traffic = Traffic(
            case_id, self.target, self.clock, self.progress, shared.quiet_lock, shared.resource_locks, takes_ns
        )
        self.readings = TargetReadings(self.target, self.clock, self.progress)
        self.faults = FaultControl(
            self.target, self.clock, self.progress, lambda *said: shared.on_fault(case_id, *said)
        )
        self._shared = shared
        workloads = Workloads(case_id)
        self.step, self.steps, self.crowd, self.burst = (
            workloads.step,
            workloads.steps,
            workloads.crowd,
            workloads.burst,
        )
        self.doing, self.wait_until_ns = self.progress.doing, self.progress.wait_until_ns
        self.fault = self.faults.fault
        self.turn, self.undisturbed = self.traffic.turn, self.traffic.undisturbed

    async def run(self, *workloads: AnyWorkload) -> None:
        """Drive workloads side by side to their end. Their names are steps of this case."""
        async with self.traffic.sending():
            await self.engine.run(*workloads)
        self._shared.audience.sent(self.case_id, self.engine.progress().sent)

    def exclusive(self) -> AbstractAsyncContextManager[None]:
        """Hold while no other case sends, so that what the target counts is ours alone."""
        return self.traffic.exclusive()

    async def accounts(self, count: int = 1) -> Sequence[Account]:
        """Return logged-in test users that no other case uses, made through the target's own API."""
        self.doing(f"creating {count} test user{'s' if count > 1 else ''}")
        async with self.traffic.sending():
            return await self._shared.accounts.take(count)

    async def spare_account(self) -> Account:
        """Return the one account for calls that belong to no case."""
        async with self.traffic.sending():
            return await self._shared.accounts.spare()

    @property
    def many_sources(self) -> bool:
        """Return whether clients can be told apart by their addresses."""
        return self._shared.addresses.many

    def source(self) -> str | None:
        """Return a client address that nobody used before, or None where this machine has only its own."""
        return self._shared.addresses.fresh()

    def sources(self, count: int) -> tuple[str, ...]:
        """Return `count` fresh client addresses, or none where this machine has only its own."""
        return tuple(source for _ in range(count) if (source := self.source()))

    def note(self, name: str, value: Any) -> None:
        """Keep a fact (JSON only) with the evidence."""
        self.facts[name] = value

    def pulse(self) -> Pulse:
        """Return how the load is doing, for who watches."""
        progress = self.engine.progress()
        by_class: dict[int, int] = {}
        for status, count in progress.by_status.items():
            by_class[status // 100] = by_class.get(status // 100, 0) + count
        lost = progress.unknown + progress.not_sent
        return Pulse(progress.planned, progress.sent, lost, by_class, progress.good.copy(), self.faults.in_force)

    def history(self) -> History:
        """Return what was sent so far."""
        return self.engine.history()

    def deliveries(self) -> tuple[Delivery, ...]:
        """Return how truly the load was put on the wire."""
        return (self.engine.delivery(),)

    def edges(self) -> tuple[FaultEdge, ...]:
        """Return the moments of the faults so far."""
        return self.faults.edges()

    def ledgers(self) -> Ledgers:
        """Return what was read so far."""
        return self.readings.ledgers()

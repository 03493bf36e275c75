"""A fault on a lease: written down before it is applied, proven by probes, mended whatever happens."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from proofload.core.clock import Clock
from proofload.core.units import NS_PER_SECOND
from proofload.faults import journal as journals
from proofload.faults.driver import Driver, to_its_end
from proofload.faults.guard import Guard
from proofload.faults.journal import Journal
from proofload.faults.probes import Probe
from proofload.faults.recipe import FaultError
from proofload.record.fault_edge import Edge, FaultEdge

_GRACE_NS = 3 * NS_PER_SECOND
_LONGEST_APPLY_NS = 90 * NS_PER_SECOND
_PROBE_PAUSE_NS = 20_000_000
_UNDO_PAUSE_NS = NS_PER_SECOND // 2
_UNDO_TRIES = 3


@dataclass(frozen=True, slots=True)
class Patience:
    """How long the probes look for what they shall see, in nanoseconds."""

    held_ns: int = 10 * NS_PER_SECOND
    mended_ns: int = 30 * NS_PER_SECOND
    interrupted_ns: int = 3 * NS_PER_SECOND
    """In place of `mended_ns` where the run is being ended; the mending itself is never cut short."""


@dataclass(slots=True)
class Lease:
    """A fault from before it is applied until after it is mended. Use `lease`, which sees to the order of things."""

    driver: Driver
    kind: str
    fault: str
    service: str
    clock: Clock
    journal: Journal
    duration_ns: int
    held: Probe
    mended: Probe
    patience: Patience
    stays: bool
    edges: list[FaultEdge] = field(default_factory=list)
    """The moments so far, for the history; complete once the block of the lease has been left."""
    until_ns: int = 0
    """When the lease ends by itself, on the monotonic clock."""
    over: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once the fault is mended, or could not be."""
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    _entry: Path | None = None
    _guard: Guard | None = None
    _expiry: asyncio.Task[None] | None = None
    _failure: FaultError | None = None
    _undone: bool = False

    @property
    def proven(self) -> bool:
        """Return whether a probe saw the fault take hold, and saw it still when it was about to be mended."""
        return any(edge.edge is Edge.APPLIED and edge.proven for edge in self.edges)

    async def mend(self) -> None:
        """End the fault now, before its time. Returns when it is mended; raises FaultError where it can't be."""
        await to_its_end(self._end_once(interrupted=False))

    async def open(self) -> None:
        """Write the remedy down, start the watchdog, apply the fault and look for it."""

        def prepare() -> None:
            recipe = self.driver.undo_recipe(self.kind)
            self._entry = self.journal.write(
                fault=self.fault, service=self.service, driver=self.driver.name, kind=self.kind, recipe=recipe
            )
            longest_ns = _LONGEST_APPLY_NS + self.patience.held_ns + self.duration_ns + _GRACE_NS
            self._guard = Guard(self._entry, self.clock.now_ns() + longest_ns)

        await to_its_end(asyncio.to_thread(prepare))
        self._mark(Edge.APPLYING)
        said = await to_its_end(self.driver.apply(self.kind))
        seen = await _see(self.held, self.clock, self.patience.held_ns)
        self._mark(Edge.APPLIED, seen is not None, seen or f"never seen to hold ({said})")
        self.until_ns = self.clock.now_ns() + self.duration_ns
        assert self._guard is not None
        self._guard.until(self.until_ns + _GRACE_NS)
        self._expiry = asyncio.create_task(self._expire())

    async def close(self, interrupted: bool) -> None:
        """Mend the fault if it is not mended yet, and let the watchdog go. Raises FaultError where that fails."""
        if self._expiry is not None:
            self._expiry.cancel()
            await to_its_end(asyncio.wait({self._expiry}))
        await to_its_end(self._end_once(interrupted))

    async def _expire(self) -> None:
        await self.clock.sleep_until_ns(self.until_ns)
        with contextlib.suppress(FaultError):  # kept, and raised to whoever leaves the block
            await self.mend()

    async def _end_once(self, interrupted: bool) -> None:
        async with self._turn:
            if not self.over.is_set():
                try:
                    if self.edges:
                        await self._end(interrupted)
                except FaultError as error:
                    self._failure = error
                finally:
                    self.over.set()
                    await asyncio.to_thread(self._put_away)
            if self._failure is not None:
                raise self._failure

    async def _end(self, interrupted: bool) -> None:
        undoing_ns, undone, seen = self.clock.now_ns(), "", None
        try:
            if self.stays and self.proven and not interrupted and await self.held() is None:
                self._take_back()
        finally:
            self._mark(Edge.UNDOING, at_ns=undoing_ns)
            try:
                undone = await self._undo()
                self._undone = True
                patience_ns = self.patience.interrupted_ns if interrupted else self.patience.mended_ns
                seen = await _see(self.mended, self.clock, patience_ns)
            finally:
                self._mark(Edge.UNDONE, seen is not None, seen or f"never seen to be mended ({undone or 'it failed'})")

    async def _undo(self) -> str:
        for _ in range(_UNDO_TRIES - 1):
            try:
                return await self.driver.undo(self.kind)
            except FaultError:
                await self.clock.sleep_until_ns(self.clock.now_ns() + _UNDO_PAUSE_NS)
        return await self.driver.undo(self.kind)

    def _put_away(self) -> None:
        """Take the remedy away and send the watchdog home; where mending failed leave both to go on trying."""
        is_whole = self._undone or not self.edges
        if is_whole and self._entry is not None:
            journals.remove(self._entry)
        if self._guard is not None:
            if is_whole:
                self._guard.dismiss()
            else:
                self._guard.hand_over()

    def _mark(self, edge: Edge, proven: bool = False, evidence: str = "", at_ns: int | None = None) -> None:
        at_ns = self.clock.now_ns() if at_ns is None else at_ns
        self.edges.append(FaultEdge(self.fault, self.service, edge, at_ns, proven, evidence))

    def _take_back(self) -> None:
        """Call the fault unproven after all: between applied and undoing it did not surely hold."""
        self.edges = [
            replace(edge, proven=False, evidence=f"{edge.evidence}; gone before it was mended")
            if edge.edge is Edge.APPLIED
            else edge
            for edge in self.edges
        ]


@asynccontextmanager
async def lease(
    driver: Driver,
    kind: str,
    *,
    fault: str,
    service: str,
    clock: Clock,
    journal: Journal,
    duration_ns: int,
    held: Probe,
    mended: Probe,
    patience: Patience | None = None,
    stays: bool = True,
) -> AsyncIterator[Lease]:
    """Break a thing for `duration_ns` at the most, counted from when it was seen to hold.

    `held` and `mended` are asked until they answer or patience ends; what they never saw stands in the edges as not
    proven, for judges to abstain. With `stays` the fault must still be seen just before it is mended, else it is called
    unproven. Raises FaultError where it can't be applied or mended; then too, and on any other exception or
    cancellation, it is undone first.
    """
    if kind not in driver.kinds:
        raise FaultError(f"fault {fault}: got {kind!r}, expected one of {', '.join(driver.kinds)} of {driver.name}")
    leased = Lease(
        driver, kind, fault, service, clock, journal, duration_ns, held, mended, patience or Patience(), stays
    )
    try:
        await leased.open()
        yield leased
    except BaseException as error:
        try:
            await leased.close(interrupted=True)
        except FaultError as failed:
            error.add_note(f"the fault {fault} on {service} could not be mended: {failed}")
        raise
    else:
        await leased.close(interrupted=False)


async def _see(probe: Probe, clock: Clock, patience_ns: int) -> str | None:
    due_ns = clock.now_ns() + patience_ns
    while (seen := await probe()) is None and clock.now_ns() < due_ns:
        await clock.sleep_until_ns(min(due_ns, clock.now_ns() + _PROBE_PAUSE_NS))
    return seen

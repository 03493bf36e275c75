"""Drives the cases of one run, side by side where the schedule allows it, each on a target that is itself again."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Sequence

from proofload.cases.case import PlannedCase
from proofload.cases.context import CaseContext, RunShared
from proofload.cases.readiness import LeftBehind, bring_back, why_not_ready
from proofload.core.clock import Anchor
from proofload.core.errors import ProofloadError, UnfitEngineError, UnfitTargetError
from proofload.judge.evidence import Evidence
from proofload.judge.verdict import Outcome
from proofload.record.bundle import BundleWriter
from proofload.record.history import History
from proofload.record.ledger import Ledgers
from proofload.suite import case_record as files
from proofload.suite.case_record import CaseRecord
from proofload.suite.engines import READYING, RESTORING
from proofload.suite.schedule import Schedule
from proofload.suite.verdicts import verdict_on

_SECONDS_BETWEEN_PULSES = 0.5


class Conductor:
    """Starts every case when its turn has come, keeps what it left behind, and ends the run early where it must."""

    def __init__(self, shared: RunShared, writer: BundleWriter, schedule: Schedule, *, fail_fast: bool = False) -> None:
        self.took_ns: dict[str, int] = {}
        self._evidence: dict[str, Evidence] = {}
        self._shared = shared
        self._writer = writer
        self._schedule = schedule
        self._left = LeftBehind()
        self._tasks: dict[asyncio.Task[CaseRecord], tuple[PlannedCase, CaseContext]] = {}
        self._restoring: dict[asyncio.Task[None], tuple[PlannedCase, CaseContext]] = {}
        self._stop = asyncio.Event()
        self._signal = 0
        self._fail_fast = fail_fast
        self._failed = ""
        """The case that ended the run by its FAIL, where one did."""

    async def all(self) -> int:
        """Drive every case to its end; return the signal that cut it short, or 0."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._interrupt, int(number))
        watching = asyncio.create_task(self._feel_pulses())
        try:
            stopping = asyncio.create_task(self._stop.wait())
            while not self._schedule.done:
                await self._start()
                if not self._tasks and not self._restoring:
                    # What was left had to be skipped: nothing will end that could be waited for.
                    continue
                await self._wait(stopping)
                if self._stop.is_set():
                    await self._end_early()
                await self._collect()
                if self._failed and not self._schedule.done:
                    await self._end_early()
                    await self._collect()
            stopping.cancel()
            await self._end_restoring()
        finally:
            watching.cancel()
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)
        return self._signal

    async def _wait(self, stopping: asyncio.Task[bool]) -> None:
        released = self._shared.resource_locks.released
        freed = asyncio.create_task(released.wait())
        await asyncio.wait([*self._tasks, *self._restoring, stopping, freed], return_when=asyncio.FIRST_COMPLETED)
        freed.cancel()
        released.clear()

    def _interrupt(self, number: int) -> None:
        self._signal = number
        self._stop.set()

    async def _feel_pulses(self) -> None:
        while True:
            await asyncio.sleep(_SECONDS_BETWEEN_PULSES)
            for planned, run in self._tasks.values():
                self._shared.audience.pulse(planned.id, run.pulse())

    async def _start(self) -> None:
        self._skip_hopeless()
        self._collect_restored()
        for planned in self._schedule.start(self._shared.resource_locks.in_use):
            run = CaseContext(planned.id, self._shared, self._schedule.remaining_ns(planned))
            self._tasks[asyncio.create_task(self._drive(planned, run))] = (planned, run)
        await self._shared.resource_locks.look_again()

    def _skip_hopeless(self) -> None:
        for planned, why in self._schedule.skip_hopeless():
            self._save(planned.id, None, self._without_driving(skipped=why))

    async def _drive(self, planned: PlannedCase, run: CaseContext) -> CaseRecord:
        began_ns = run.clock.now_ns()
        anchor = Anchor.take(run.clock)
        interrupted, broke, skipped = "", "", planned.missing
        try:
            if not skipped:
                interrupted = await self._why_not_ready(planned, run)
            if not skipped and not interrupted:
                await planned.case.drive(run, planned.found)
        except asyncio.CancelledError:
            interrupted = self._why_ended()
        except UnfitEngineError as error:
            skipped = str(error)
        except UnfitTargetError as error:
            interrupted = str(error)
        except ProofloadError as error:
            broke = str(error)
        took_ns = run.clock.now_ns() - began_ns
        return CaseRecord(
            anchor,
            run.deliveries(),
            run.edges(),
            run.ledgers(),
            run.facts,
            interrupted,
            broke,
            skipped,
            took_ns,
            tuple(run.progress.phases),
            tuple(run.traffic.exclusive_spans),
        )

    async def _why_not_ready(self, planned: PlannedCase, run: CaseContext) -> str:
        """Wait until what the case calls is sound; what is sent for that is no evidence of the case."""
        ready = CaseContext(f"{planned.id}{READYING}", self._shared, self._schedule.remaining_ns(planned))
        # Whoever watches looks at the case, and not at what makes ready for it.
        ready.progress.as_case(planned.id, run.progress.phases)
        try:
            return await why_not_ready(ready, planned, self._left)
        finally:
            self._keep(ready)

    def _why_ended(self) -> str:
        if self._signal:
            return f"interrupted by {signal.Signals(self._signal).name}"
        return f"ended by --fail-fast: {self._failed} was FAIL" if self._failed else "interrupted"

    async def _end_early(self) -> None:
        why = f"{self._why_ended()}, before its turn came"
        for planned in self._schedule.abandon():
            self._save(planned.id, None, self._without_driving(interrupted=why))
        for task, (_, run) in self._tasks.items():
            run.engine.stop()
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _collect(self) -> None:
        for task in [task for task in self._tasks if task.done()]:
            planned, run = self._tasks.pop(task)
            problem = task.exception()
            record = (
                task.result()
                if problem is None
                else self._without_driving(broke=f"{type(problem).__name__}: {problem}")
            )
            # In a thread: writing and judging take a while, and what other cases send must not wait for it.
            outcome = await asyncio.to_thread(self._settle, planned, run, record)
            self._shared.audience.pulse(planned.id, run.pulse())
            self._shared.audience.ended(planned.id, outcome.name)
            self._schedule.end(planned.id, outcome)
            if outcome is not Outcome.SKIPPED:
                broken = _broken(planned)
                self._left.note(planned.id, run.target, run.history(), broken)
                self._restore(planned, broken)
            if self._fail_fast and outcome is Outcome.FAIL:
                self._failed = self._failed or planned.id

    def _restore(self, planned: PlannedCase, broken: Sequence[str]) -> None:
        """Bring back what the case broke, where those that wait need it; meanwhile it is left alone."""
        self._skip_hopeless()
        if broken and self._schedule.leaves_behind(planned):
            run = CaseContext(f"{planned.id}{RESTORING}", self._shared, planned.takes_ns)
            self._schedule.restoring(planned)
            self._restoring[asyncio.create_task(self._bring_back(run, broken))] = (planned, run)

    async def _bring_back(self, run: CaseContext, broken: Sequence[str]) -> None:
        """Restore as far as that goes; the cases that come next will see for themselves what they find."""
        with contextlib.suppress(ProofloadError, asyncio.CancelledError):
            failed = await bring_back(run, broken)
            for service in broken:
                if service not in failed:
                    self._left.suspects.pop(service, None)

    async def _end_restoring(self) -> None:
        for task, (_, run) in self._restoring.items():
            run.engine.stop()
            task.cancel()
        if self._restoring:
            await asyncio.wait(self._restoring)
        self._collect_restored()

    def _collect_restored(self) -> None:
        for task in [task for task in self._restoring if task.done()]:
            planned, run = self._restoring.pop(task)
            self._schedule.restored(planned)
            self._keep(run)

    def _keep(self, run: CaseContext) -> None:
        """Keep what was sent on behalf of a case; no verdict rests on it."""
        history = run.history()
        if len(history):
            self._writer.write_history(f"history/{run.case_id}.parquet", history)

    def _settle(self, planned: PlannedCase, run: CaseContext, record: CaseRecord) -> Outcome:
        """Keep what the case left behind, and return what others that depend on it may go by."""
        self._save(planned.id, run, record)
        others = {one: self._evidence[one] for one in planned.case.after if one in self._evidence}
        evidence = files.to_evidence(planned.id, run.target, run.history(), record, others)
        self._evidence[planned.id] = evidence
        return verdict_on(planned.case, evidence, record).outcome

    def _save(self, case_id: str, run: CaseContext | None, record: CaseRecord) -> None:
        self.took_ns[case_id] = record.took_ns
        files.save_case(self._writer, case_id, run.history() if run else History.empty(), record)

    def _without_driving(self, *, skipped: str = "", interrupted: str = "", broke: str = "") -> CaseRecord:
        anchor = Anchor.take(self._shared.clock)
        return CaseRecord(anchor, (), (), Ledgers(), {}, interrupted, broke, skipped)


def _broken(planned: PlannedCase) -> list[str]:
    """Return the services that the case broke, but for those that others are behind of which nothing is known."""
    known = planned.case.breaks(planned.found) if not planned.missing else ()
    return [one for one in known if one.strip("?")]

"""Wires the stages: drives the chosen cases on a target, keeps their evidence, judges what was kept."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from proofload.cases.accounts import Accounts
from proofload.cases.addresses import Sources
from proofload.cases.case import Case
from proofload.cases.context import Audience, Lab, Shared
from proofload.cases.resource_locks import Holds
from proofload.core.clock import Anchor, SystemClock
from proofload.core.errors import PlanError, Problem, ProofloadError, UnfitEngineError, UnfitTargetError
from proofload.core.seeds import fresh_seed
from proofload.drive.engine import Engine
from proofload.drive.http.endpoint import Endpoint
from proofload.judge.evidence import Evidence
from proofload.judge.panel import verdict as verdict_of
from proofload.judge.verdict import Outcome, Verdict
from proofload.plan.ownership import prove_ownership
from proofload.plan.target import Target
from proofload.record.bundle import Bundle, BundleWriter, new_bundle_path
from proofload.record.history import History
from proofload.record.ledger import Ledgers
from proofload.report.as_json import SCHEMA_VERSION, verdict_json
from proofload.suite import case_record as files
from proofload.suite.case_record import Dossier
from proofload.suite.catalogue import CATALOGUE
from proofload.suite.engines import OWN, RESTORING, SETUP, Sending
from proofload.suite.environment import describe
from proofload.suite.run_telemetry import Observing
from proofload.suite.schedule import Schedule

VERDICTS = "verdicts.json"
_SECONDS_BETWEEN_PULSES = 0.5


@dataclass(frozen=True, slots=True)
class Ended:
    """What a run came to."""

    bundle: Path
    verdicts: tuple[Verdict, ...]
    took_ns: Mapping[str, int] = field(default_factory=dict)
    seed: int = 0
    began_wall_ns: int = 0
    signal: int = 0
    """The signal that ended it early, where one did."""


async def run(
    target: Target,
    cases: Sequence[Case],
    *,
    out: Path,
    seed: int | None,
    audience: Audience,
    fail_fast: bool = False,
    notes: Sequence[str] = (),
    engine: str = OWN,
    cluster: str | None = None,
) -> Ended:
    """Run `cases` on `target` and return their verdicts; everything they rest on is in the bundle.

    SIGINT and SIGTERM end it early and in order: what was seen so far is kept, sealed and judged. So does the first
    FAIL with `fail_fast`. `notes` are what a reader has to know beside the verdicts; they are kept with the evidence.
    `engine` sends what the cases ask for, `proofload` or `k6`, or the nodes of the `cluster` at a Ray address; test
    users are made from here in either case.
    Raises SafetyError before anything is sent where the target may not be loaded.
    """
    vet = prove_ownership(target)
    endpoint = Endpoint.of(target.address)
    sending = Sending.by(engine, cluster, endpoint)
    clock = SystemClock()
    seed = fresh_seed() if seed is None else seed
    run_id = f"{fresh_seed():08x}"
    began_wall_ns = clock.wall_ns()
    writer = BundleWriter(new_bundle_path(out, began_wall_ns, run_id))
    files.save_plan(writer, target, [case.id for case in cases], seed, {"notes": list(notes)})
    writer.write_json(files.ENVIRONMENT, {**describe(), "engine": sending.name})

    observing = Observing(target, run_id, cases, clock, audience)

    def new_engine(prefix: str) -> Engine:
        made = sending.engine(prefix, target, clock=clock, seed=seed, vet=vet)
        observing.watch(prefix.removeprefix(f"{run_id}-"), made)
        return made

    sources = Sources(seed, endpoint.host, target.sources)
    setup = new_engine(f"{run_id}-{SETUP}")
    shared = Shared(target, clock, seed, run_id, sources, Accounts(target, setup, sources), observing, new_engine)
    schedule = Schedule(cases)
    shared.holds = Holds(lambda: schedule.disturbed)
    shared.on_fault = observing.fault
    conduct = _Conduct(shared, writer, schedule, fail_fast=fail_fast)
    async with observing:
        try:
            got_signal = await conduct.all()
        finally:
            sending.end()
        writer.write_history(f"history/{SETUP}.parquet", setup.history())
        writer.seal()
        verdicts = judge_bundle(writer.path)
        told = [verdict_json(one) for one in verdicts]
        writer.write_json(VERDICTS, {"schema_version": SCHEMA_VERSION, "verdicts": told})
        writer.write_json(files.MONITORING, dict(await observing.finish(verdicts)))
        writer.seal()
    return Ended(writer.path, verdicts, conduct.took_ns, seed, began_wall_ns, got_signal)


def judge_bundle(path: Path) -> tuple[Verdict, ...]:
    """Return the verdicts that follow from a sealed bundle, in the order of its cases. Sends nothing."""
    evidence, dossiers = evidence_in(Bundle(path))
    return tuple(_verdict(CATALOGUE[case_id], evidence[case_id], dossiers[case_id]) for case_id in evidence)


def evidence_in(bundle: Bundle) -> tuple[dict[str, Evidence], dict[str, Dossier]]:
    """Return what a bundle's verdicts rest on, and what driving left behind, by case in the order of its plan."""
    target, case_ids = files.load_plan(bundle)
    unknown = [case_id for case_id in case_ids if case_id not in CATALOGUE]
    if unknown:
        remedy = "name the file that holds it with --cases"
        raise PlanError(
            [Problem(str(bundle.path), f"the case {one}", "one of the catalogue", remedy) for one in unknown]
        )
    kept = {case_id: files.load_case(bundle, case_id) for case_id in case_ids}
    evidence: dict[str, Evidence] = {}
    for case_id in case_ids:
        history, dossier = kept[case_id]
        others = {one: evidence[one] for one in CATALOGUE[case_id].prerequisites if one in evidence}
        evidence[case_id] = files.to_evidence(case_id, target, history, dossier, others)
    return evidence, {case_id: dossier for case_id, (_, dossier) in kept.items()}


def _verdict(case: Case, evidence: Evidence, dossier: Dossier) -> Verdict:
    if dossier.skipped:
        return Verdict(case.id, Outcome.SKIPPED, (), dossier.skipped)
    if dossier.broke:
        return Verdict(case.id, Outcome.ERROR, (), dossier.broke)
    if dossier.interrupted and not len(evidence.history):
        # It sent nothing: what its judge would say could only be about the cases that it follows.
        return Verdict(case.id, Outcome.INCONCLUSIVE, (), dossier.interrupted)
    verdict = verdict_of(case.id, case.judge, evidence)
    if dossier.interrupted and verdict.outcome is not Outcome.FAIL:
        return Verdict(case.id, Outcome.INCONCLUSIVE, verdict.findings, dossier.interrupted)
    return verdict


class _Conduct:
    """Drives the cases of one run, side by side where the schedule allows it."""

    def __init__(self, shared: Shared, writer: BundleWriter, schedule: Schedule, *, fail_fast: bool = False) -> None:
        self.took_ns: dict[str, int] = {}
        self._evidence: dict[str, Evidence] = {}
        self._shared = shared
        self._writer = writer
        self._schedule = schedule
        self._tasks: dict[asyncio.Task[Dossier], tuple[Case, Lab]] = {}
        self._restoring: dict[asyncio.Task[None], tuple[Case, Lab]] = {}
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
                freed = asyncio.create_task(self._shared.holds.let_go.wait())
                busy = [*self._tasks, *self._restoring]
                await asyncio.wait([*busy, stopping, freed], return_when=asyncio.FIRST_COMPLETED)
                freed.cancel()
                self._shared.holds.let_go.clear()
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

    def _interrupt(self, number: int) -> None:
        self._signal = number
        self._stop.set()

    async def _feel_pulses(self) -> None:
        while True:
            await asyncio.sleep(_SECONDS_BETWEEN_PULSES)
            for case, lab in self._tasks.values():
                self._shared.audience.pulse(case.id, lab.pulse())

    async def _start(self) -> None:
        self._skip_hopeless()
        self._collect_restored()
        for case in self._schedule.start(self._shared.holds.in_use):
            lab = Lab(case.id, self._shared, case.expected_ns(self._shared.target))
            self._tasks[asyncio.create_task(self._drive(case, lab))] = (case, lab)
        await self._shared.holds.look_again()

    def _skip_hopeless(self) -> None:
        for case, why in self._schedule.skip_hopeless():
            self._save(case.id, None, self._without_driving(skipped=why))

    async def _drive(self, case: Case, lab: Lab) -> Dossier:
        began_ns = lab.clock.now_ns()
        anchor = Anchor.take(lab.clock)
        interrupted = broke = skipped = ""
        try:
            skipped = case.missing(lab.target)
            if not skipped:
                await case.drive(lab)
        except asyncio.CancelledError:
            interrupted = self._why_ended()
        except UnfitEngineError as error:
            skipped = str(error)
        except UnfitTargetError as error:
            interrupted = str(error)
        except ProofloadError as error:
            broke = str(error)
        took_ns = lab.clock.now_ns() - began_ns
        return Dossier(
            anchor,
            lab.deliveries(),
            lab.edges(),
            lab.ledgers(),
            lab.facts,
            interrupted,
            broke,
            skipped,
            took_ns,
            tuple(lab.phases),
            tuple(lab.silences),
        )

    def _why_ended(self) -> str:
        if self._signal:
            return f"interrupted by {signal.Signals(self._signal).name}"
        return f"ended by --fail-fast: {self._failed} was FAIL" if self._failed else "interrupted"

    async def _end_early(self) -> None:
        why = f"{self._why_ended()}, before its turn came"
        for case in self._schedule.abandon():
            self._save(case.id, None, self._without_driving(interrupted=why))
        for task, (_, lab) in self._tasks.items():
            lab.engine.stop()
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _collect(self) -> None:
        for task in [task for task in self._tasks if task.done()]:
            case, lab = self._tasks.pop(task)
            problem = task.exception()
            dossier = (
                task.result()
                if problem is None
                else self._without_driving(broke=f"{type(problem).__name__}: {problem}")
            )
            # In a thread: writing and judging take a while, and what other cases send must not wait for it.
            outcome = await asyncio.to_thread(self._settle, case, lab, dossier)
            self._shared.audience.pulse(case.id, lab.pulse())
            self._shared.audience.ended(case.id, outcome.name)
            self._schedule.end(case.id, outcome)
            if case.restore is not None and outcome is not Outcome.SKIPPED:
                self._restore(case)
            if self._fail_fast and outcome is Outcome.FAIL:
                self._failed = self._failed or case.id

    def _restore(self, case: Case) -> None:
        """Bring back what the case disturbed, where those that wait need it; meanwhile it is left alone."""
        self._skip_hopeless()
        if case.restore is not None and self._schedule.leaves_behind(case):
            lab = Lab(f"{case.id}{RESTORING}", self._shared)
            self._schedule.restoring(case)
            self._restoring[asyncio.create_task(_attempt(case.restore, lab))] = (case, lab)

    async def _end_restoring(self) -> None:
        for task, (_, lab) in self._restoring.items():
            lab.engine.stop()
            task.cancel()
        if self._restoring:
            await asyncio.wait(self._restoring)
        self._collect_restored()

    def _collect_restored(self) -> None:
        for task in [task for task in self._restoring if task.done()]:
            case, lab = self._restoring.pop(task)
            self._schedule.restored(case)
            # No verdict rests on it, but what was sent is kept.
            self._writer.write_history(f"history/{lab.case_id}.parquet", lab.history())

    def _settle(self, case: Case, lab: Lab, dossier: Dossier) -> Outcome:
        """Keep what the case left behind, and return what others that depend on it may go by."""
        self._save(case.id, lab, dossier)
        others = {one: self._evidence[one] for one in case.prerequisites if one in self._evidence}
        evidence = files.to_evidence(case.id, lab.target, lab.history(), dossier, others)
        self._evidence[case.id] = evidence
        return _verdict(case, evidence, dossier).outcome

    def _save(self, case_id: str, lab: Lab | None, dossier: Dossier) -> None:
        self.took_ns[case_id] = dossier.took_ns
        files.save_case(self._writer, case_id, lab.history() if lab else History.empty(), dossier)

    def _without_driving(self, *, skipped: str = "", interrupted: str = "", broke: str = "") -> Dossier:
        anchor = Anchor.take(self._shared.clock)
        return Dossier(anchor, (), (), Ledgers(), {}, interrupted, broke, skipped)


async def _attempt(restore: Callable[[Lab], Awaitable[None]], lab: Lab) -> None:
    """Restore as far as that goes; the cases that come next will see for themselves what they find."""
    with contextlib.suppress(ProofloadError, asyncio.CancelledError):
        await restore(lab)

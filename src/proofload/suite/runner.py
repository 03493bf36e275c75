"""Wires the stages: drives the chosen cases on a target, keeps their evidence, judges what was kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from proofload.cases.accounts import Accounts
from proofload.cases.addresses import Addresses
from proofload.cases.case import AnyCase, PlannedCase
from proofload.cases.context import RunShared
from proofload.cases.isolation import clash, sign_up_operations, used_by
from proofload.cases.progress import Audience
from proofload.cases.resource_locks import ResourceLocks
from proofload.core.clock import SystemClock
from proofload.core.seeds import fresh_seed
from proofload.drive.engine import Engine
from proofload.drive.http.endpoint import Endpoint
from proofload.drive.ownership_challenge import prove_ownership
from proofload.judge.verdict import Verdict
from proofload.plan.target import Target
from proofload.record.bundle import BundleWriter, new_bundle_path
from proofload.report.as_json import SCHEMA_VERSION, verdict_json
from proofload.suite import case_record as files
from proofload.suite.conductor import Conductor
from proofload.suite.engines import OWN, SETUP, Sending
from proofload.suite.environment import describe
from proofload.suite.run_telemetry import Observing
from proofload.suite.schedule import Schedule
from proofload.suite.verdicts import judge_bundle

VERDICTS = "verdicts.json"
_RESERVE = 4
"""Test users kept for cases that follow on a broken service which signs users up."""


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
    cases: Sequence[AnyCase],
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

    addresses = Addresses(seed, endpoint.host, target.sources)
    setup = new_engine(f"{run_id}-{SETUP}")
    planned = [PlannedCase.of(case, target) for case in cases]
    accounts = Accounts(target, setup, addresses, reserve=_RESERVE if _sign_up_breaks(target, planned) else 0)
    shared = RunShared(target, clock, seed, run_id, addresses, accounts, observing, new_engine)
    schedule = Schedule(planned)
    shared.resource_locks = ResourceLocks(schedule.disturbed)
    shared.on_fault = observing.fault
    conductor = Conductor(shared, writer, schedule, fail_fast=fail_fast)
    async with observing:
        try:
            got_signal = await conductor.all()
        finally:
            sending.end()
        writer.write_history(f"history/{SETUP}.parquet", setup.history())
        writer.seal()
        verdicts = judge_bundle(writer.path)
        told = [verdict_json(one) for one in verdicts]
        writer.write_json(VERDICTS, {"schema_version": SCHEMA_VERSION, "verdicts": told})
        writer.write_json(files.MONITORING, dict(await observing.finish(verdicts)))
        writer.seal()
    return Ended(writer.path, verdicts, conductor.took_ns, seed, began_wall_ns, got_signal)


def _sign_up_breaks(target: Target, planned: Sequence[PlannedCase]) -> bool:
    """Return whether one of the cases breaks a service without which no test user can be made."""
    uses = used_by(target, sign_up_operations(target))
    return bool(uses) and any(clash(uses, one.disturbs) for one in planned)

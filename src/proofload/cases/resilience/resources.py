"""TC-RES-002 and TC-RES-003: what a target takes of the machine under load, it gives back, and it loses nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl

from proofload.cases.accounts import Account
from proofload.cases.case import Category, Priority, case
from proofload.cases.context import CaseContext
from proofload.cases.declared_limits import polite_count
from proofload.cases.evidence_rows import delivered, rows_of, steps_of
from proofload.cases.requirement import Missing, Requirement
from proofload.cases.target_readings import GATEWAY
from proofload.core.units import NS_PER_SECOND
from proofload.drive.user import User
from proofload.judge.evidence import Evidence
from proofload.judge.overload import (
    Books,
    ReadingLabels,
    judge_balances,
    judge_idle_cpu,
    judge_memory,
    judge_open_files,
)
from proofload.judge.rate_limit.counterexample import steps
from proofload.judge.verdict import Finding, Outcome, held
from proofload.plan.policies import MetricsPolicy, OrdersPolicy
from proofload.plan.target import Target
from proofload.plan.workload import Script
from proofload.record.exchange import Ending

_CLIENTS = 12
_WARM, _EACH, _LOST = 4, 25, 5
_AT_ONCE = 60
"""More at once than any pool of connections should need a place for each."""
_CLOSES_NS = NS_PER_SECOND
_LABELS = ("before", "after 1", "after 2")
_DEPOSITS, _READS = 6, 24


@dataclass(frozen=True, slots=True)
class FileGauges:
    """The gauge of open files, and the reads that open some."""

    metrics: MetricsPolicy
    gauge: str
    reads: Sequence[str]


@dataclass(frozen=True, slots=True)
class Gauges:
    """The gauges of memory and CPU, the reads that press, and the balances in which nothing may be lost."""

    metrics: MetricsPolicy
    memory: str
    cpu: str
    reads: Sequence[str]
    orders: OrdersPolicy


def _files(target: Target) -> FileGauges | Missing:
    policy, found = target.policies.metrics, _reads(target)
    if policy is None or policy.open_files is None:
        return Missing("the target declares no gauge of open files or connections (policies.metrics.open_files)")
    return FileGauges(policy, policy.open_files, found) if found else _NO_READ


def _pressed(target: Target) -> Gauges | Missing:
    policy, orders, found = target.policies.metrics, target.policies.orders, _reads(target)
    if policy is None or policy.memory is None or policy.cpu is None:
        return Missing("the target declares no gauges of memory and CPU (policies.metrics.memory, .cpu)")
    if orders is None:
        return Missing("the target declares no balance with which to see that nothing was lost (policies.orders)")
    return Gauges(policy, policy.memory, policy.cpu, found, orders) if found else _NO_READ


_NO_READ = Missing("the target declares no operation that can be repeated without effect")
FILE_GAUGES = Requirement("gauge of open files", "policies.metrics.open_files", _files)
GAUGES = Requirement(
    "gauges of memory and CPU, and orders", "policies.metrics.memory, policies.metrics.cpu, policies.orders", _pressed
)


@case(
    "TC-RES-002",
    "Connections are returned",
    Category.RESILIENCE,
    Priority.MEDIUM,
    phase=6,
    requires=FILE_GAUGES,
    uses=lambda found: found.reads,
    takes=8 * NS_PER_SECOND,
)
async def files(run: CaseContext, found: FileGauges) -> None:
    """What is opened for a request is closed after it, and a pool that is used up breaks nobody's request.

    Sends: 12 clients who come and go, served and denied, and 60 reads at once, while no other case sends,
        between two readings of the gauge of open files
    Passes when: the gauge of each service is back where it was, and every read was served or refused as
        declared
    Reading FAIL: the finding names the service whose open files grow with its requests
    Least evidence: 100 requests that reached a service in each of two equal rounds
    """
    accounts = await run.accounts(_CLIENTS)
    reads = found.reads
    async with run.exclusive():
        run.doing("filling every pool once")
        await _burst(run, "warm", accounts, reads)
        await _rounds(run, "warm", accounts, reads, _WARM)
        await _closed(run, _LABELS[0])
        for number in (1, 2):
            run.doing("opening and closing connections")
            await _rounds(run, f"load {number}", accounts, reads, polite_count(run.target, _EACH))
            await _rounds(run, f"denied {number}", (), reads, _LOST)
            await _closed(run, _LABELS[number])


async def _closed(run: CaseContext, label: str) -> None:
    """Read the gauges once connections had time to close; what leaks is there for good."""
    await run.wait_until_ns(run.clock.now_ns() + _CLOSES_NS, "connections to close")
    await run.readings.services(label)


async def _rounds(run: CaseContext, step: str, accounts: Sequence[Account], reads: Sequence[str], each: int) -> None:
    for name in reads:
        script: str | Script = name if accounts else _without_token(run.target.operations[name].path, name)
        sources = run.sources(_CLIENTS)
        await run.run(run.crowd(f"{step} {name}", script, _CLIENTS, each, accounts=accounts, sources=sources))


async def _burst(run: CaseContext, step: str, accounts: Sequence[Account], reads: Sequence[str]) -> None:
    for name in reads:
        await run.run(run.burst(f"{step} burst {name}", name, polite_count(run.target, _AT_ONCE), account=accounts[0],
                                source=run.source()))  # fmt: skip


@files.judge
def judge_files(evidence: Evidence, found: FileGauges) -> list[Finding]:
    """TC-RES-002: connections and files are closed again, and many at once wait for theirs instead of failing."""
    rounds = [ReadingLabels(*pair) for pair in pairwise(_LABELS)]
    findings = judge_open_files(evidence.ledgers, rounds, found.gauge, _made(evidence, found.metrics))
    return delivered(evidence, [*findings, _exhausted(evidence)])


def _made(evidence: Evidence, policy: MetricsPolicy) -> dict[str, int]:
    """Return how many requests reached each source of metrics in the second of two equal rounds."""
    names = [name for prefix in ("load 2 ", "denied 2 ") for name in steps_of(evidence, prefix)]
    rows = rows_of(evidence, *names)
    made: Counter[str] = Counter({GATEWAY: len(rows)} if policy.url else {})
    status = evidence.history.numbers("status")
    operations = evidence.history.frame["operation"].cast(pl.String).to_list() if len(rows) else []
    for row in rows:
        operation = evidence.target.operations.get(operations[int(row)])
        if operation and operation.service and 200 <= status[row] < 300:
            service = evidence.target.services.get(operation.service)
            made[operation.service] += bool(service and service.metrics)
    return {source: count for source, count in made.items() if count}


def _exhausted(evidence: Evidence) -> Finding:
    """Return whether many reads at once were answered, or refused as is declared, and none broken."""
    names = steps_of(evidence, "warm burst")
    rows = rows_of(evidence, *names)
    history = evidence.history
    overload = evidence.target.policies.overload
    fine = {429, 503} if overload is None else {429, *overload.rejects_with}
    status, ending = history.numbers("status")[rows], history.numbers("ending")[rows]
    bad = rows[((status >= 500) & ~np.isin(status, list(fine))) | (ending == Ending.UNKNOWN)]
    if len(bad):
        row = int(bad[0])
        says = f"{len(bad)} of {len(rows)} reads at once were broken, not served or refused"
        shown = steps(history, [row], (f"one of {_AT_ONCE} at once",))
        look = "a pool of connections that is used up: its callers must wait for a while, or be refused"
        return Finding("res.exhausted", Outcome.FAIL, says, len(rows), 1, (row,), shown, look)
    return held("res.exhausted", f"{len(rows)} reads, many at once, were served or refused", examined=len(rows))


@case(
    "TC-RES-003",
    "Memory and CPU under pressure",
    Category.RESILIENCE,
    Priority.MEDIUM,
    phase=6,
    requires=GAUGES,
    uses=lambda found: [*found.reads, found.orders.deposit, found.orders.balance],
    takes=16 * NS_PER_SECOND,
)
async def pressure(run: CaseContext, found: Gauges) -> None:
    """After pressure, memory and CPU are as before, and nothing that was acknowledged is lost.

    Sends: 12 clients who read and deposit as fast as they can, twice alike, while no other case sends;
        the gauges while the target is left alone, before, between and afterwards; the balances
    Passes when: the second round took no more memory than the first had left, the idle target used no more CPU
        than before, and every balance holds each acknowledged deposit
    Reading FAIL: the finding names the service and its figures, or the user whose money is missing
    Least evidence: the gauges of each service before and after, and 20 acknowledged deposits
    """
    accounts = await run.accounts(_CLIENTS)
    async with run.exclusive():
        await _idle(run, "calm")
        for number in (1, 2):
            run.doing(f"pressing for the {'first' if number == 1 else 'second'} time")
            script = _moving(found.orders, found.reads, polite_count(run.target, _READS))
            sources = run.sources(_CLIENTS)
            await run.run(run.crowd(f"pressure {number}", script, _CLIENTS, 1, accounts=accounts, sources=sources))
            await _idle(run, f"round {number}")
        await run.run(
            run.crowd("balance", _last(found.orders), _CLIENTS, 1, accounts=accounts, sources=run.sources(_CLIENTS))
        )


async def _idle(run: CaseContext, label: str) -> None:
    await run.wait_until_ns(run.clock.now_ns() + NS_PER_SECOND // 2, "the target to come to rest")
    await run.readings.services(f"{label} begun")
    await run.wait_until_ns(run.clock.now_ns() + NS_PER_SECOND * 3 // 2, "what an idle target takes")
    await run.readings.services(f"{label} ended")


def _moving(policy: OrdersPolicy, reads: Sequence[str], count: int) -> Script:
    async def script(user: User) -> None:
        for number in range(count):
            await user.request(reads[number % len(reads)])
        for _ in range(_DEPOSITS):
            await user.request(policy.deposit, keep_body=True)

    return script


def _last(policy: OrdersPolicy) -> Script:
    async def script(user: User) -> None:
        await user.request(policy.balance, keep_body=True)

    return script


@pressure.judge
def judge_pressure(evidence: Evidence, found: Gauges) -> list[Finding]:
    """TC-RES-003: memory and CPU come back to where they were, and every acknowledged deposit is there."""
    sources = _sources(evidence.target, found.metrics)
    ledgers = evidence.ledgers
    findings = [
        *judge_memory(ledgers, ReadingLabels("round 1 ended", "round 2 ended"), found.memory, sources),
        *judge_idle_cpu(
            ledgers,
            ReadingLabels("calm begun", "calm ended"),
            ReadingLabels("round 2 begun", "round 2 ended"),
            found.cpu,
            sources,
        ),
        judge_balances(found.orders, evidence.history, _books(evidence, found.orders)),
    ]
    return delivered(evidence, findings)


def _sources(target: Target, policy: MetricsPolicy) -> list[str]:
    pages = [name for name, service in target.services.items() if service.metrics]
    return sorted([*pages, *([GATEWAY] if policy.url else [])])


def _books(evidence: Evidence, policy: OrdersPolicy) -> list[Books]:
    """Return what each account did: users of a step take the accounts in turn, by their place in it."""
    operation = evidence.history.frame["operation"].cast(pl.String).to_list()
    found: list[Books] = []
    places: dict[str, dict[int, list[int]]] = {}
    for step in ("pressure 1", "pressure 2", "balance"):
        by_user: dict[int, list[int]] = {}
        for row in rows_of(evidence, step):
            by_user.setdefault(int(evidence.history.numbers("user")[row]), []).append(int(row))
        places[step] = dict(enumerate(by_user[user] for user in sorted(by_user)))
    for place, read in places["balance"].items():
        rows = [*places["pressure 1"].get(place, ()), *places["pressure 2"].get(place, ())]
        deposits = [row for row in rows if operation[row] == policy.deposit]
        found.append(Books(f"user {place + 1}", deposits, (), None, read[-1]))
    return found


def _reads(target: Target) -> list[str]:
    """Return one operation of each service that may be repeated at will."""
    found: dict[Any, str] = {}
    for name, one in sorted(target.operations.items()):
        if one.effect == "none" and one.method == "GET" and "${" not in one.path and not one.accept:
            found.setdefault(one.service, name)
    return list(found.values())


def _without_token(path: str, name: str) -> Script:
    async def script(user: User) -> None:
        await user.get(path, name=name)

    return script

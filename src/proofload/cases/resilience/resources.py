"""TC-RES-002 and TC-RES-003: what a target takes of the machine under load, it gives back, and it loses nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl

from proofload.cases.accounts import Account
from proofload.cases.case import Case, Category, Priority
from proofload.cases.context import Lab
from proofload.cases.declared_limits import polite_count
from proofload.cases.evidence_rows import delivered, rows_of, steps_of
from proofload.core.units import NS_PER_SECOND
from proofload.drive.user import User
from proofload.judge.evidence import Evidence
from proofload.judge.overload import (
    Books,
    Labels,
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
GATEWAY = "gateway"


def missing_files(target: Target) -> str:
    """Return why open files and connections can't be watched, or nothing."""
    policy = target.policies.metrics
    if policy is None or policy.open_files is None:
        return "the target declares no gauge of open files or connections (policies.metrics.open_files)"
    return "" if _reads(target) else "the target declares no operation that can be repeated without effect"


def missing_pressure(target: Target) -> str:
    """Return why memory, CPU and data can't be watched, or nothing."""
    policy = target.policies.metrics
    if policy is None or policy.memory is None or policy.cpu is None:
        return "the target declares no gauges of memory and CPU (policies.metrics.memory, .cpu)"
    if target.policies.orders is None:
        return "the target declares no balance with which to see that nothing was lost (policies.orders)"
    return "" if _reads(target) else "the target declares no operation that can be repeated without effect"


async def drive_files(lab: Lab) -> None:
    """Fill the pools, then open and close many connections twice alike, and read the gauges before and after each."""
    accounts = await lab.accounts(_CLIENTS)
    reads = _reads(lab.target)
    async with lab.silence():
        lab.doing("filling every pool once")
        await _burst(lab, "warm", accounts, reads)
        await _rounds(lab, "warm", accounts, reads, _WARM)
        await _closed(lab, _LABELS[0])
        for number in (1, 2):
            lab.doing("opening and closing connections")
            await _rounds(lab, f"load {number}", accounts, reads, polite_count(lab.target, _EACH))
            await _rounds(lab, f"denied {number}", (), reads, _LOST)
            await _closed(lab, _LABELS[number])


async def _closed(lab: Lab, label: str) -> None:
    """Read the gauges once connections had time to close; what leaks is there for good."""
    await lab.wait_until_ns(lab.clock.now_ns() + _CLOSES_NS, "connections to close")
    await lab.read_services(label)


async def _rounds(lab: Lab, step: str, accounts: Sequence[Account], reads: Sequence[str], each: int) -> None:
    for name in reads:
        run: str | Script = name if accounts else _without_token(lab.target.operations[name].path, name)
        sources = lab.sources(_CLIENTS)
        await lab.run(lab.crowd(f"{step} {name}", run, _CLIENTS, each, accounts=accounts, sources=sources))


async def _burst(lab: Lab, step: str, accounts: Sequence[Account], reads: Sequence[str]) -> None:
    for name in reads:
        await lab.run(lab.burst(f"{step} burst {name}", name, polite_count(lab.target, _AT_ONCE), account=accounts[0],
                                source=lab.source()))  # fmt: skip


def judge_files(evidence: Evidence) -> list[Finding]:
    """TC-RES-002: connections and files are closed again, and many at once wait for theirs instead of failing."""
    policy = evidence.target.policies.metrics
    assert policy is not None
    assert policy.open_files is not None
    rounds = [Labels(*pair) for pair in pairwise(_LABELS)]
    findings = judge_open_files(evidence.ledgers, rounds, policy.open_files, _made(evidence, policy))
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


async def drive_pressure(lab: Lab) -> None:
    """Press twice, alike: money is moved and read; and leave the target alone before, between and afterwards."""
    policy = _orders(lab.target)
    accounts = await lab.accounts(_CLIENTS)
    async with lab.silence():
        await _idle(lab, "calm")
        for number in (1, 2):
            lab.doing(f"pressing for the {'first' if number == 1 else 'second'} time")
            run = _moving(policy, _reads(lab.target), polite_count(lab.target, _READS))
            sources = lab.sources(_CLIENTS)
            await lab.run(lab.crowd(f"pressure {number}", run, _CLIENTS, 1, accounts=accounts, sources=sources))
            await _idle(lab, f"round {number}")
        await lab.run(
            lab.crowd("balance", _last(policy), _CLIENTS, 1, accounts=accounts, sources=lab.sources(_CLIENTS))
        )


async def _idle(lab: Lab, label: str) -> None:
    await lab.wait_until_ns(lab.clock.now_ns() + NS_PER_SECOND // 2, "the target to come to rest")
    await lab.read_services(f"{label} begun")
    await lab.wait_until_ns(lab.clock.now_ns() + NS_PER_SECOND * 3 // 2, "what an idle target takes")
    await lab.read_services(f"{label} ended")


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


def judge_pressure(evidence: Evidence) -> list[Finding]:
    """TC-RES-003: memory and CPU come back to where they were, and every acknowledged deposit is there."""
    policy = evidence.target.policies.metrics
    assert policy is not None
    assert policy.memory is not None
    assert policy.cpu is not None
    sources = _sources(evidence.target, policy)
    ledgers = evidence.ledgers
    findings = [
        *judge_memory(ledgers, Labels("round 1 ended", "round 2 ended"), policy.memory, sources),
        *judge_idle_cpu(
            ledgers,
            Labels("calm begun", "calm ended"),
            Labels("round 2 begun", "round 2 ended"),
            policy.cpu,
            sources,
        ),
        judge_balances(_orders(evidence.target), evidence.history, _books(evidence)),
    ]
    return delivered(evidence, findings)


def _sources(target: Target, policy: MetricsPolicy) -> list[str]:
    pages = [name for name, service in target.services.items() if service.metrics]
    return sorted([*pages, *([GATEWAY] if policy.url else [])])


def _books(evidence: Evidence) -> list[Books]:
    """Return what each account did: users of a step take the accounts in turn, by their place in it."""
    policy, operation = _orders(evidence.target), evidence.history.frame["operation"].cast(pl.String).to_list()
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


def _orders(target: Target) -> OrdersPolicy:
    policy = target.policies.orders
    assert policy is not None
    return policy


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


_USED = frozenset({"service:auth", "service:user", "service:order"})

CASES = (
    Case(
        id="TC-RES-002",
        title="Connections are returned",
        category=Category.RESILIENCE,
        priority=Priority.MEDIUM,
        phase=6,
        purpose="What is opened for a request is closed after it, and a pool that is used up breaks nobody's request.",
        sends=f"{_CLIENTS} clients who come and go, served and denied, and {_AT_ONCE} reads at once, in silence, "
        "between two readings of the gauge of open files",
        passes_when="the gauge of each service is back where it was, and every read was served or refused as declared",
        read_fail="the finding names the service whose open files grow with its requests",
        least_evidence="100 requests that reached a service in each of two equal rounds",
        needs=("policies.metrics.open_files",),
        missing=missing_files,
        expected_ns=lambda _: 8 * NS_PER_SECOND,
        drive=drive_files,
        judge=judge_files,
        uses=_USED,
    ),
    Case(
        id="TC-RES-003",
        title="Memory and CPU under pressure",
        category=Category.RESILIENCE,
        priority=Priority.MEDIUM,
        phase=6,
        purpose="After pressure, memory and CPU are as before, and nothing that was acknowledged is lost.",
        sends=f"{_CLIENTS} clients who read and deposit as fast as they can, twice alike, in silence; the gauges while "
        "the target is left alone, before, between and afterwards; the balances",
        passes_when="the second round took no more memory than the first had left, the idle target used no more CPU "
        "than before, and every balance holds each acknowledged deposit",
        read_fail="the finding names the service and its figures, or the user whose money is missing",
        least_evidence="the gauges of each service before and after, and 20 acknowledged deposits",
        needs=("policies.metrics.memory", "policies.metrics.cpu", "policies.orders"),
        missing=missing_pressure,
        expected_ns=lambda _: 16 * NS_PER_SECOND,
        drive=drive_pressure,
        judge=judge_pressure,
        uses=_USED,
    ),
)

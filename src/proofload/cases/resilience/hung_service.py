"""TC-CB-003 and TC-RES-005: what a service that hangs does to its company, and to those who call it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from proofload.cases.accounts import Account
from proofload.cases.case import Case, Category, Priority
from proofload.cases.context import QUIET, Lab
from proofload.cases.declared_limits import polite_count
from proofload.cases.evidence_rows import rows_of
from proofload.core.units import NS_PER_SECOND
from proofload.drive.user import User
from proofload.judge.delivery import DeliveryBounds, judge_delivery, rest_on
from proofload.judge.evidence import Evidence
from proofload.judge.overload import Company, judge_company, judge_giving_up
from proofload.judge.verdict import Finding
from proofload.plan.target import Target
from proofload.plan.workload import ConstantRate
from proofload.record.fault_edge import FaultSpan, spans

_BEFORE, _HANGING, _MEANWHILE, _MENDED, _CALLERS = "before", "hanging", "meanwhile", "mended", "callers"
_PAUSES = frozenset({"supervised", "docker"})
"""The drivers that can make a service hang."""
_HANGING_PER_SECOND = 150
_HANGING_NS = 2 * NS_PER_SECOND
_COMPANY_PER_SECOND = 25
_BEFORE_NS = 3 * NS_PER_SECOND // 2
_MEANWHILE_NS = 5 * NS_PER_SECOND // 2
_CALLS = 3
"""Fewer than any circuit's failures: what is looked for is the timeout, not the circuit."""
_LOST_NS = 10 * NS_PER_SECOND
_BOUNDS = DeliveryBounds(send_lag_p99_ns=NS_PER_SECOND // 4)
"""Medians are compared, of answers from when they were sent: a late start of a few spoils little."""


@dataclass(frozen=True, slots=True)
class HungService:
    """Who hangs, by which operation it is called, and the operations of the services that are well."""

    victim: str
    operation: str
    company: tuple[tuple[str, str], ...]
    """Service and operation."""


def scene(target: Target) -> HungService | None:
    """Return the scene that a target allows; the service on which most others depend is the one to hang."""
    reads: dict[str, str] = {}
    for name, one in sorted(target.operations.items()):
        if one.service and one.effect == "none" and one.method == "GET" and not one.accept and "${" not in one.path:
            reads.setdefault(one.service, name)
    depended = [other for service in target.services.values() for other in service.depends_on]
    able = [
        name
        for name, fault in target.faults.items()
        if fault.driver in _PAUSES and name in reads and name in target.services and target.services[name].health
    ]
    if not able:
        return None
    victim = max(able, key=lambda name: (depended.count(name), name))
    return HungService(victim, reads[victim], tuple((name, read) for name, read in reads.items() if name != victim))


def missing_company(target: Target) -> str:
    """Return why no service can be made to hang beside others, or nothing."""
    found = scene(target)
    if found is None:
        return "no service with a read of its own and a health URL can be made to hang (faults: supervised or docker)"
    return "" if found.company else "the target declares no read of a second service (operations.<name>.service)"


def missing_timeout(target: Target) -> str:
    """Return why nothing is promised to callers of a hanging service, or nothing."""
    found = scene(target)
    if found is None:
        return missing_company(target)
    if target.services[found.victim].timeout is None:
        return f"the target promises no timeout for {found.victim} (services.{found.victim}.timeout)"
    return ""


async def drive_company(lab: Lab) -> None:
    """Make a service hang under calls, and call the services that are well, before it and meanwhile."""
    here = _scene(lab.target)
    accounts = list(await lab.accounts(4))
    lab.doing("calling services that are well")
    await lab.run(*_company(lab, here, accounts, _BEFORE, _BEFORE_NS))
    async with lab.turn(), lab.fault(here.victim, "pause", _LOST_NS):
        lab.doing(f"calling {here.victim}, which hangs, and the others")
        most = math.ceil(_HANGING_PER_SECOND * _HANGING_NS / NS_PER_SECOND)
        hanging = ConstantRate(
            name=lab.step(_HANGING),
            run=here.operation,
            rate=_HANGING_PER_SECOND,
            for_ns=_HANGING_NS,
            sources=tuple(lab.target.sources or lab.sources(most // 4)),
            identities=tuple(account.identity() for account in accounts),
            max_users=most,
            graceful_ns=_LOST_NS,
        )
        begun_ns = lab.clock.now_ns()
        # The calls that hang are let go by the mending, so that they come to their end and the circuit to no harm.
        run = asyncio.create_task(lab.run(hanging, *_company(lab, here, accounts, _MEANWHILE, _MEANWHILE_NS)))
        try:
            await lab.clock.sleep_until_ns(begun_ns + _MEANWHILE_NS)
        except BaseException:
            run.cancel()
            raise
    await run
    await _well_again(lab, here, accounts[0])


def _company(lab: Lab, here: HungService, accounts: Sequence[Account], step: str, for_ns: int) -> list[ConstantRate]:
    each = math.ceil(_COMPANY_PER_SECOND * for_ns / NS_PER_SECOND)
    return [
        ConstantRate(
            name=lab.step(f"{step} {service}"),
            run=operation,
            rate=_COMPANY_PER_SECOND,
            for_ns=for_ns,
            sources=tuple(lab.target.sources or lab.sources(math.ceil(each / polite_count(lab.target, each)))),
            identities=tuple(account.identity() for account in accounts),
            max_users=each,
            warm_users=4,
        )
        for service, operation in here.company
    ]


async def drive_giving_up(lab: Lab) -> None:
    """Call a service that hangs a few times, and wait for what the gateway says."""
    here = _scene(lab.target)
    accounts = await lab.accounts(_CALLS)
    within_ns = lab.target.services[here.victim].timeout or 0
    patience_ns = 2 * within_ns + NS_PER_SECOND

    async def call(user: User) -> None:
        await user.request(here.operation, timeout_s=patience_ns / NS_PER_SECOND)

    lab.doing(f"calling {here.victim} while it is well")
    await lab.run(lab.crowd(_BEFORE, call, _CALLS, 1, accounts=accounts, sources=lab.sources(_CALLS)))
    async with lab.turn(), lab.fault(here.victim, "pause", patience_ns + _LOST_NS):
        lab.doing(f"waiting for an answer in place of {here.victim}, which hangs")
        await lab.run(lab.crowd(_CALLERS, call, _CALLS, 1, accounts=accounts, sources=lab.sources(_CALLS)))
    await _well_again(lab, here, accounts[0])


async def _well_again(lab: Lab, here: HungService, account: Account) -> None:
    """Wait until the service is served again: whoever comes next shall find its circuit closed."""
    open_ns = max((one.open_for for one in lab.target.policies.circuit_breaker), default=60 * NS_PER_SECOND)
    until_ns = lab.clock.now_ns() + open_ns + _LOST_NS
    served: list[bool] = []

    async def once(user: User) -> None:
        served.append((await user.request(here.operation)).ok)

    number = 0
    # Three successes close a half-open circuit; an open one lets nobody through before its time.
    while sum(served[-_CALLS:]) < _CALLS and lab.clock.now_ns() < until_ns:
        number += 1
        await lab.run(lab.steps(f"{_MENDED} {number}", once, account=account, source=lab.source()))
        if not served[-1]:
            await lab.wait_until_ns(lab.clock.now_ns() + NS_PER_SECOND, f"{here.victim} to be served again")


def judge_cascade(evidence: Evidence) -> list[Finding]:
    """TC-CB-003: while one service hangs, calls of the others are answered as before."""
    here = _scene(evidence.target)
    company = [
        Company(service, rows_of(evidence, f"{_BEFORE} {service}"), rows_of(evidence, f"{_MEANWHILE} {service}"))
        for service, _ in here.company
    ]
    findings = judge_company(evidence.history, _span(evidence, here), rows_of(evidence, _HANGING), company)
    ours = np.concatenate([rows for one in company for rows in (one.before, one.meanwhile)])
    delivered = judge_delivery(evidence.history, rows=ours, bounds=_BOUNDS)
    return [*rest_on(findings, delivered, fail_survives=_punctual(delivered)), *delivered]


def judge_timeout(evidence: Evidence) -> list[Finding]:
    """TC-RES-005: who calls a hanging service is answered within the time that is promised."""
    here = _scene(evidence.target)
    within_ns = evidence.target.services[here.victim].timeout or 0
    return judge_giving_up(evidence.history, _span(evidence, here), rows_of(evidence, _CALLERS), within_ns)


def _punctual(delivered: Sequence[Finding]) -> bool:
    """Return whether our own side was on time: only then is slowness the target's."""
    return not any(one.rule == "delivery.send_lag" and one.outcome.name == "INCONCLUSIVE" for one in delivered)


def _span(evidence: Evidence, here: HungService) -> FaultSpan | None:
    return next((span for span in spans(evidence.edges) if span.service == here.victim), None)


def _scene(target: Target) -> HungService:
    found = scene(target)
    assert found is not None
    return found


def _timeout_ns(target: Target) -> int:
    found = scene(target)
    return (target.services[found.victim].timeout or 0) if found else 0


_HARMED = frozenset({"service:user", "service:order", QUIET})

CASES = (
    Case(
        id="TC-CB-003",
        title="No cascading failure",
        category=Category.CIRCUIT_BREAKER,
        priority=Priority.HIGH,
        phase=3,
        purpose="A service that hangs takes no other service with it.",
        sends="reads of every service; then one service is made to hang, on a lease and seen by a probe, and is "
        f"called {_HANGING_PER_SECOND} times a second, while the others are read as before",
        passes_when="the others answered as often and as fast as before",
        read_fail="the finding names the service that is well and whose callers were turned away or had to wait",
        least_evidence="50 calls that waited on the hanging service, and 20 reads of each of the others",
        needs=("faults (supervised or docker)", "services.<name>.health", "reads of two services"),
        missing=missing_company,
        expected_ns=lambda _: 12 * NS_PER_SECOND,
        drive=drive_company,
        judge=judge_cascade,
        uses=frozenset({"service:auth"}),
        disturbs=_HARMED,
    ),
    Case(
        id="TC-RES-005",
        title="A hanging service is given up on",
        category=Category.RESILIENCE,
        priority=Priority.HIGH,
        phase=6,
        purpose="Who calls a service that hangs is answered within the promised time, retries included.",
        sends=f"{_CALLS} calls of a service that was made to hang, on a lease and seen by a probe",
        passes_when="each was answered within the declared timeout and a quarter more",
        read_fail="the finding shows the call that had no answer; look for a missing timeout, or retries that each "
        "have one of their own",
        least_evidence="a call during all of which the service hung",
        needs=("services.<name>.timeout", "faults (supervised or docker)", "services.<name>.health"),
        missing=missing_timeout,
        expected_ns=lambda target: _timeout_ns(target) + 6 * NS_PER_SECOND,
        drive=drive_giving_up,
        judge=judge_timeout,
        disturbs=_HARMED - {QUIET},
    ),
)

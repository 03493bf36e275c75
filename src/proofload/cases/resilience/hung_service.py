"""TC-CB-003 and TC-RES-005: what a service that hangs does to its company, and to those who call it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from proofload.cases.accounts import Account
from proofload.cases.case import Category, Priority, case
from proofload.cases.context import CaseContext
from proofload.cases.declared_limits import polite_count
from proofload.cases.evidence_rows import rows_of
from proofload.cases.fault_control import HANGS, breaking_kind, can_break
from proofload.cases.reads import reads
from proofload.cases.requirement import Missing, Requirement
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
    timeout_ns: int = 0
    """How long a caller of the victim may be kept waiting; 0 where nothing is promised."""


def _hanging(target: Target) -> HungService | Missing:
    """Return who is to hang: the service on which most others depend, and the reads of those that don't need it."""
    found = reads(target)
    depended = [other for service in target.services.values() for other in service.depends_on]
    able = [name for name in target.faults if name in found and can_break(target, name, "pause")]
    if not able:
        return Missing(
            "no service with a read of its own and a health URL can be made to hang (faults: supervised or docker)"
        )
    victim = max(able, key=lambda name: (depended.count(name), name))
    return HungService(
        victim,
        found[victim],
        tuple((name, read) for name, read in found.items() if name != victim),
        target.services[victim].timeout or 0,
    )


def _with_company(target: Target) -> HungService | Missing:
    found = _hanging(target)
    if isinstance(found, Missing) or found.company:
        return found
    return Missing("the target declares no read of a second service (operations.<name>.service)")


def _with_timeout(target: Target) -> HungService | Missing:
    found = _hanging(target)
    if isinstance(found, Missing) or found.timeout_ns:
        return found
    return Missing(f"the target promises no timeout for {found.victim} (services.{found.victim}.timeout)")


HANGING_BESIDE_OTHERS = Requirement(
    "service that can be made to hang, and reads of others",
    "faults (supervised or docker), services.<name>.health, reads of two services",
    _with_company,
)
HANGING_WITH_TIMEOUT = Requirement(
    "service that can be made to hang, with a timeout",
    "services.<name>.timeout, faults (supervised or docker), services.<name>.health",
    _with_timeout,
)


def _victim(hung: HungService) -> tuple[str, ...]:
    return (hung.victim,)


@case(
    "TC-CB-003",
    "No cascading failure",
    Category.CIRCUIT_BREAKER,
    Priority.HIGH,
    phase=3,
    requires=HANGING_BESIDE_OTHERS,
    uses=lambda here: [read for _, read in here.company],
    breaks=_victim,
    takes=12 * NS_PER_SECOND,
    saturates=True,
)
async def company(run: CaseContext, here: HungService) -> None:
    """A service that hangs takes no other service with it.

    Sends: reads of every service; then one service is made to hang, on a lease and seen by a probe, and is
        called 150 times a second, while the others are read as before
    Passes when: the others answered as often and as fast as before
    Reading FAIL: the finding names the service that is well and whose callers were turned away or had to wait
    Least evidence: 50 calls that waited on the hanging service, and 20 reads of each of the others
    """
    accounts = list(await run.accounts(4))
    run.doing("calling services that are well")
    await run.run(*_company(run, here, accounts, _BEFORE, _BEFORE_NS))
    async with run.turn(), run.fault(here.victim, breaking_kind(run.target, here.victim, HANGS) or HANGS[0], _LOST_NS):
        run.doing(f"calling {here.victim}, which hangs, and the others")
        most = math.ceil(_HANGING_PER_SECOND * _HANGING_NS / NS_PER_SECOND)
        hanging = ConstantRate(
            name=run.step(_HANGING),
            run=here.operation,
            rate=_HANGING_PER_SECOND,
            for_ns=_HANGING_NS,
            sources=tuple(run.target.sources or run.sources(most // 4)),
            identities=tuple(account.identity() for account in accounts),
            max_users=most,
            graceful_ns=_LOST_NS,
        )
        begun_ns = run.clock.now_ns()
        # The calls that hang are let go by the mending, so that they come to their end and the circuit to no harm.
        driving = asyncio.create_task(run.run(hanging, *_company(run, here, accounts, _MEANWHILE, _MEANWHILE_NS)))
        try:
            await run.clock.sleep_until_ns(begun_ns + _MEANWHILE_NS)
        except BaseException:
            driving.cancel()
            raise
    await driving
    await _well_again(run, here, accounts[0])


def _company(
    run: CaseContext, here: HungService, accounts: Sequence[Account], step: str, for_ns: int
) -> list[ConstantRate]:
    each = math.ceil(_COMPANY_PER_SECOND * for_ns / NS_PER_SECOND)
    return [
        ConstantRate(
            name=run.step(f"{step} {service}"),
            run=operation,
            rate=_COMPANY_PER_SECOND,
            for_ns=for_ns,
            sources=tuple(run.target.sources or run.sources(math.ceil(each / polite_count(run.target, each)))),
            identities=tuple(account.identity() for account in accounts),
            max_users=each,
            warm_users=4,
        )
        for service, operation in here.company
    ]


@case(
    "TC-RES-005",
    "A hanging service is given up on",
    Category.RESILIENCE,
    Priority.HIGH,
    phase=6,
    requires=HANGING_WITH_TIMEOUT,
    uses=lambda _: (),
    breaks=_victim,
    takes=lambda here: here.timeout_ns + 6 * NS_PER_SECOND,
)
async def giving_up(run: CaseContext, here: HungService) -> None:
    """Who calls a service that hangs is answered within the promised time, retries included.

    Sends: 3 calls of a service that was made to hang, on a lease and seen by a probe
    Passes when: each was answered within the declared timeout and a quarter more
    Reading FAIL: the finding shows the call that had no answer; look for a missing timeout, or retries that
        each have one of their own
    Least evidence: a call during all of which the service hung
    """
    accounts = await run.accounts(_CALLS)
    within_ns = here.timeout_ns
    patience_ns = 2 * within_ns + NS_PER_SECOND

    async def call(user: User) -> None:
        await user.request(here.operation, timeout_s=patience_ns / NS_PER_SECOND)

    run.doing(f"calling {here.victim} while it is well")
    await run.run(run.crowd(_BEFORE, call, _CALLS, 1, accounts=accounts, sources=run.sources(_CALLS)))
    hangs = breaking_kind(run.target, here.victim, HANGS) or HANGS[0]
    async with run.turn(), run.fault(here.victim, hangs, patience_ns + _LOST_NS):
        run.doing(f"waiting for an answer in place of {here.victim}, which hangs")
        await run.run(run.crowd(_CALLERS, call, _CALLS, 1, accounts=accounts, sources=run.sources(_CALLS)))
    await _well_again(run, here, accounts[0])


async def _well_again(run: CaseContext, here: HungService, account: Account) -> None:
    """Wait until the service is served again: whoever comes next shall find its circuit closed."""
    open_ns = max((one.open_for for one in run.target.policies.circuit_breaker), default=60 * NS_PER_SECOND)
    until_ns = run.clock.now_ns() + open_ns + _LOST_NS
    served: list[bool] = []

    async def once(user: User) -> None:
        served.append((await user.request(here.operation)).ok)

    number = 0
    # Three successes close a half-open circuit; an open one lets nobody through before its time.
    while sum(served[-_CALLS:]) < _CALLS and run.clock.now_ns() < until_ns:
        number += 1
        await run.run(run.steps(f"{_MENDED} {number}", once, account=account, source=run.source()))
        if not served[-1]:
            await run.wait_until_ns(run.clock.now_ns() + NS_PER_SECOND, f"{here.victim} to be served again")


@company.judge
def judge_cascade(evidence: Evidence, here: HungService) -> list[Finding]:
    """TC-CB-003: while one service hangs, calls of the others are answered as before."""
    company = [
        Company(service, rows_of(evidence, f"{_BEFORE} {service}"), rows_of(evidence, f"{_MEANWHILE} {service}"))
        for service, _ in here.company
    ]
    findings = judge_company(evidence.history, _span(evidence, here), rows_of(evidence, _HANGING), company)
    ours = np.concatenate([rows for one in company for rows in (one.before, one.meanwhile)])
    delivered = judge_delivery(evidence.history, rows=ours, bounds=_BOUNDS)
    return [*rest_on(findings, delivered, fail_survives=_punctual(delivered)), *delivered]


@giving_up.judge
def judge_timeout(evidence: Evidence, here: HungService) -> list[Finding]:
    """TC-RES-005: who calls a hanging service is answered within the time that is promised."""
    within_ns = here.timeout_ns
    return judge_giving_up(evidence.history, _span(evidence, here), rows_of(evidence, _CALLERS), within_ns)


def _punctual(delivered: Sequence[Finding]) -> bool:
    """Return whether our own side was on time: only then is slowness the target's."""
    return not any(one.rule == "delivery.send_lag" and one.outcome.name == "INCONCLUSIVE" for one in delivered)


def _span(evidence: Evidence, here: HungService) -> FaultSpan | None:
    return next((span for span in spans(evidence.edges) if span.service == here.victim), None)

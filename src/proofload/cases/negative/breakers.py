"""TC-NEG-004 to 006: what must never open a circuit: 4xx, failures with a success between them, another's circuit."""

from __future__ import annotations

import numpy as np
import polars as pl

from proofload.cases.case import Category, Priority, case
from proofload.cases.circuit_breaker.calls import (
    FAULT_NS,
    breakable,
    call,
    calls_in,
    circuit_context,
    failing_kind,
    its_operation,
    its_service,
    settle,
    unsettled,
)
from proofload.cases.circuit_breaker.independence import APART, SEVERAL_CIRCUITS, Circuits, judge_healthy
from proofload.cases.context import CaseContext
from proofload.cases.evidence_rows import delivered
from proofload.cases.requirement import Missing, Requirement
from proofload.core.units import NS_PER_SECOND
from proofload.drive.user import User
from proofload.judge.breaker import CallKind, calls_of, judge_never_trips
from proofload.judge.evidence import Evidence
from proofload.judge.verdict import Finding, held
from proofload.plan.policies import CircuitBreakerPolicy
from proofload.plan.target import Target
from proofload.plan.workload import Script

_ROUNDS = 3
_GOOD = 2
CLIENT_ERRORS, FAILURES_APART = "cb.client_errors_seen", "cb.failures_seen"


def _answered_4xx(target: Target) -> CircuitBreakerPolicy | Missing:
    if not target.policies.circuit_breaker:
        return Missing("the target declares no circuit breaker (policies.circuit_breaker)")
    return next(
        (one for one in target.policies.circuit_breaker if one.failing_operation is not None),
        Missing("no declared breaker names an operation that is answered 4xx (failing_operation)"),
    )


def _counts_in_a_row(target: Target) -> CircuitBreakerPolicy | Missing:
    circuit = breakable(target)
    if isinstance(circuit, Missing):
        return circuit
    if circuit.ratio is not None:
        return Missing("the circuit opens by a share of failures, so that a success between them promises nothing")
    return circuit if circuit.failures > 1 else Missing("the first failure opens the circuit")


CLIENT_ERROR = Requirement(
    "circuit breaker with an operation that is answered 4xx",
    "policies.circuit_breaker.failing_operation",
    _answered_4xx,
)
CONSECUTIVE = Requirement(
    "circuit breaker that counts failures in a row, whose service can be stopped and probed",
    "policies.circuit_breaker, faults, services.<name>.health",
    _counts_in_a_row,
)


@case(
    "TC-NEG-004",
    "4xx never trips a circuit",
    Category.NEGATIVE,
    Priority.NEGATIVE,
    phase=3,
    requires=CLIENT_ERROR,
    uses=its_operation,
    takes=2 * NS_PER_SECOND,
)
async def client_errors(run: CaseContext, policy: CircuitBreakerPolicy) -> None:
    """That a client asks for what isn't there is no failure of the service.

    Sends: four times as many requests that the service answers 4xx as failures would open its circuit, one by
        one and all at once, and two good ones
    Passes when: no request was rejected by the circuit
    Reading FAIL: the finding shows the rejected call and the 4xx before it
    Least evidence: twice as many 4xx as failures would open the circuit
    """
    (account,) = await run.accounts(1)
    await settle(run, policy, account)
    run.doing("sending requests that are the client's own fault")
    source = run.source()
    await run.run(
        run.steps("4xx one by one", _wrong(policy, 2 * policy.failures), account=account, source=source),
    )
    await run.run(
        run.burst("4xx at once", _wrong(policy, 1), 2 * policy.failures, account=account, source=run.source())
    )
    await run.run(run.steps("then well", call(policy, _GOOD), account=account, source=source))


@client_errors.judge
def judge_client_errors(evidence: Evidence, policy: CircuitBreakerPolicy) -> list[Finding]:
    """TC-NEG-004: the circuit stayed closed, however many 4xx went through it."""
    if doubt := unsettled(evidence):
        return doubt
    context = circuit_context(policy, evidence.history, evidence)
    rows = calls_in(evidence.history, f"{evidence.case}/4xx", f"{evidence.case}/then well")
    calls = calls_of(context, rows)
    seen = int(np.count_nonzero(calls.of(CallKind.NEUTRAL) & ~calls.aside))
    told = held(CLIENT_ERRORS, f"{seen} answers were 4xx", examined=seen, needed=2 * policy.failures)
    return delivered(evidence, [*judge_never_trips(context, rows, "4xx answers"), told])


@case(
    "TC-NEG-005",
    "Four failures and a success never trip a circuit",
    Category.NEGATIVE,
    Priority.NEGATIVE,
    phase=3,
    requires=CONSECUTIVE,
    uses=lambda _: (),
    breaks=its_service,
    takes=8 * NS_PER_SECOND,
)
async def failures_apart(run: CaseContext, policy: CircuitBreakerPolicy) -> None:
    """Only failures in a row open a circuit: a success starts the count again.

    Sends: one failure less than opens the circuit, while the service is stopped, and then two successes; three
        times
    Passes when: the failures came through, and no call was rejected by the circuit
    Reading FAIL: the finding shows the rejected call, and the failures and successes before it
    Least evidence: failures of two rounds while a probe saw the service down
    """
    (account,) = await run.accounts(1)
    await settle(run, policy, account)
    source = run.source()
    for i in range(1, _ROUNDS + 1):
        async with run.fault(policy.service, failing_kind(run.target, policy), FAULT_NS):
            run.doing(f"failing {policy.failures - 1} times, round {i} of {_ROUNDS}")
            await run.run(run.steps(f"failing {i}", call(policy, policy.failures - 1), account=account, source=source))
        await run.run(run.steps(f"well {i}", call(policy, _GOOD), account=account, source=source))


@failures_apart.judge
def judge_failures_apart(evidence: Evidence, policy: CircuitBreakerPolicy) -> list[Finding]:
    """TC-NEG-005: failures that never were enough in a row left the circuit closed."""
    if doubt := unsettled(evidence):
        return doubt
    context = circuit_context(policy, evidence.history, evidence)
    rows = calls_in(evidence.history, f"{evidence.case}/failing", f"{evidence.case}/well")
    calls = calls_of(context, rows)
    failed = int(np.count_nonzero(calls.demanded & calls.of(CallKind.FAILURE)))
    told = held(
        FAILURES_APART,
        f"{failed} calls failed while the service was proven to be down",
        examined=failed,
        needed=2 * (policy.failures - 1),
    )
    return delivered(evidence, [*judge_never_trips(context, rows, "failures with a success between them"), told])


@case(
    "TC-NEG-006",
    "A healthy service stays served while another's circuit is open",
    Category.NEGATIVE,
    Priority.NEGATIVE,
    phase=3,
    requires=SEVERAL_CIRCUITS,
    after=(APART,),
    uses=lambda _: (),
    takes=0,
)
async def healthy_served(_run: CaseContext, _circuits: Circuits) -> None:
    """Whoever does not need the failing service does not notice that it fails.

    Sends: nothing of its own: it looks at the calls of healthy services that TC-CB-004 made before and after the
        other's circuit opened; that case asks whether circuits count by themselves, this one what users got
    Passes when: every one of these calls was served
    Reading FAIL: the finding names the service and the call that was not served
    Least evidence: five calls of each healthy service
    """


@healthy_served.judge
def judge_healthy_served(evidence: Evidence, circuits: Circuits) -> list[Finding]:
    """TC-NEG-006: each call to a healthy service was served, from before the other's circuit opened to after."""
    shared = evidence.others[APART]
    findings = judge_healthy(shared, circuits)
    history = shared.history
    for policy in circuits.healthy:
        rows = calls_in(history, f"{APART}/", operation=policy.operation)
        accepted = list(evidence.target.operations[policy.operation].statuses)
        served = int(history.frame[list(rows)].filter(pl.col("status").is_in(accepted)).height) if rows else 0
        says = f"{served} of {len(rows)} calls of {policy.service} were served meanwhile"
        findings.append(held("cb.healthy_served", says, examined=served, needed=max(5, len(rows))))
    return delivered(shared, findings)


def _wrong(policy: CircuitBreakerPolicy, count: int) -> Script:
    name = policy.failing_operation
    assert name is not None

    async def script(user: User) -> None:
        for _ in range(count):
            await user.request(name, keep_body=True)

    return script

"""TC-NEG-004 to 006: what must never open a circuit: 4xx, failures with a success between them, another's circuit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from proofload.cases.circuit_breaker.calls import (
    FAULT_NS,
    breakable,
    call,
    calls_in,
    policy_of,
    settle,
    stage_of,
    unsettled,
)
from proofload.cases.circuit_breaker.calls import missing as missing_breaker
from proofload.cases.circuit_breaker.independence import APART, healthy_policies, judge_healthy
from proofload.cases.context import Lab
from proofload.cases.evidence_rows import delivered
from proofload.drive.user import User
from proofload.judge.breaker import CallKind, CircuitContext, calls_of, judge_never_trips
from proofload.judge.evidence import Evidence
from proofload.judge.verdict import Finding, held
from proofload.plan.policies import CircuitBreakerPolicy
from proofload.plan.target import Target
from proofload.plan.workload import Script

_ROUNDS = 3
_GOOD = 2
CLIENT_ERRORS, FAILURES_APART = "cb.client_errors_seen", "cb.failures_seen"


def missing_client_error(target: Target) -> str:
    """Return why no 4xx can be sent through a circuit, or nothing."""
    if not target.policies.circuit_breaker:
        return "the target declares no circuit breaker (policies.circuit_breaker)"
    return "" if _erring(target) else "no declared breaker names an operation that is answered 4xx (failing_operation)"


def _erring(target: Target) -> CircuitBreakerPolicy | None:
    return next((one for one in target.policies.circuit_breaker if one.failing_operation is not None), None)


async def drive_client_errors(lab: Lab) -> None:
    """Send three times as many requests that the service answers 4xx as failures would open its circuit."""
    policy = _erring(lab.target)
    assert policy is not None
    (account,) = await lab.accounts(1)
    await settle(lab, policy, account)
    lab.doing("sending requests that are the client's own fault")
    source = lab.source()
    await lab.run(
        lab.steps("4xx one by one", _wrong(policy, 2 * policy.failures), account=account, source=source),
    )
    await lab.run(
        lab.burst("4xx at once", _wrong(policy, 1), 2 * policy.failures, account=account, source=lab.source())
    )
    await lab.run(lab.steps("then well", call(policy, _GOOD), account=account, source=source))


def judge_client_errors(evidence: Evidence) -> list[Finding]:
    """TC-NEG-004: the circuit stayed closed, however many 4xx went through it."""
    if doubt := unsettled(evidence):
        return doubt
    policy = _erring(evidence.target)
    assert policy is not None
    stage = CircuitContext(policy, evidence.history)
    rows = calls_in(evidence.history, f"{evidence.case}/4xx", f"{evidence.case}/then well")
    seen = _count(stage, rows, CallKind.NEUTRAL)
    told = held(CLIENT_ERRORS, f"{seen} answers were 4xx", examined=seen, needed=2 * policy.failures)
    return delivered(evidence, [*judge_never_trips(stage, rows, "4xx answers"), told])


def missing_failures_apart(target: Target) -> str:
    """Return why failures can't be kept below what opens the circuit, or nothing."""
    policy = breakable(target)
    if policy is None:
        return missing_breaker(target)
    if policy.ratio is not None:
        return "the circuit opens by a share of failures, so that a success between them promises nothing"
    return "the first failure opens the circuit" if policy.failures < 2 else ""


async def drive_failures_apart(lab: Lab) -> None:
    """Let a service fail one time less than opens its circuit, then succeed, and again, and again."""
    policy = policy_of(lab.target)
    (account,) = await lab.accounts(1)
    await settle(lab, policy, account)
    source = lab.source()
    for i in range(1, _ROUNDS + 1):
        async with lab.fault(policy.service, "stop", FAULT_NS):
            lab.doing(f"failing {policy.failures - 1} times, round {i} of {_ROUNDS}")
            await lab.run(lab.steps(f"failing {i}", call(policy, policy.failures - 1), account=account, source=source))
        await lab.run(lab.steps(f"well {i}", call(policy, _GOOD), account=account, source=source))


def judge_failures_apart(evidence: Evidence) -> list[Finding]:
    """TC-NEG-005: failures that never were enough in a row left the circuit closed."""
    if doubt := unsettled(evidence):
        return doubt
    policy = policy_of(evidence.target)
    stage = stage_of(policy, evidence.history, evidence)
    rows = calls_in(evidence.history, f"{evidence.case}/failing", f"{evidence.case}/well")
    calls = calls_of(stage, rows)
    failed = int(np.count_nonzero(calls.demanded & calls.of(CallKind.FAILURE)))
    told = held(
        FAILURES_APART,
        f"{failed} calls failed while the service was proven to be down",
        examined=failed,
        needed=2 * (policy.failures - 1),
    )
    return delivered(evidence, [*judge_never_trips(stage, rows, "failures with a success between them"), told])


def missing_healthy(target: Target) -> str:
    """Return why no healthy service can be watched while another's circuit is open, or nothing."""
    if reason := missing_breaker(target):
        return reason
    return "" if healthy_policies(target) else "only one service has a declared circuit"


async def drive_nothing(_: Lab) -> None:
    """Send nothing: what TC-CB-004 sent and got is looked at again, with another question."""


def judge_healthy_served(evidence: Evidence) -> list[Finding]:
    """TC-NEG-006: each call to a healthy service was served, from before the other's circuit opened to after."""
    shared = evidence.others[APART]
    findings = judge_healthy(shared)
    history = shared.history
    for policy in healthy_policies(evidence.target):
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


def _count(stage: CircuitContext, rows: Sequence[int], *kinds: CallKind) -> int:
    calls = calls_of(stage, rows)
    return int(np.count_nonzero(calls.of(*kinds)))

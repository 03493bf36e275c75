"""TC-CB-004 and TC-CB-007: circuits that don't know of each other, and that outlive the gateway's own processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from proofload.cases.accounts import Account
from proofload.cases.case import Case, Category, Priority
from proofload.cases.circuit_breaker.calls import (
    BROKEN,
    FAULT_NS,
    breakable,
    call,
    calls_in,
    missing,
    policy_of,
    restore,
    settle,
    stage_of,
    unsettled,
)
from proofload.cases.context import Lab
from proofload.cases.evidence_rows import delivered
from proofload.core.units import NS_PER_SECOND
from proofload.drive.user import User
from proofload.judge.breaker import OPENING, judge_breaker, judge_isolation
from proofload.judge.evidence import Evidence
from proofload.judge.verdict import Finding, Outcome, held
from proofload.plan.policies import CircuitBreakerPolicy
from proofload.plan.target import Target
from proofload.plan.workload import Script
from proofload.record.fault_edge import spans

APART, RESTARTED = "TC-CB-004", "TC-CB-007"
GATEWAY = "gateway"
LOST = "cb.lost_on_restart"
_REJECTIONS = 10
_HEALTHY = 8
_AFTER = 10


def healthy_policies(target: Target) -> Sequence[CircuitBreakerPolicy]:
    """Return the declared circuits beside the one whose service is broken."""
    broken = breakable(target)
    return [one for one in target.policies.circuit_breaker if broken is not None and one.service != broken.service]


def missing_other(target: Target) -> str:
    """Return why independence can't be put to the test, or nothing."""
    if reason := missing(target):
        return reason
    return "" if healthy_policies(target) else "only one service has a declared circuit (policies.circuit_breaker)"


def missing_restart(target: Target) -> str:
    """Return why the gateway can't be restarted while a circuit is open, or nothing."""
    if reason := missing_other(target):
        return reason
    service = target.services.get(GATEWAY)
    if GATEWAY not in target.faults or service is None or service.health is None:
        return f"the target declares no way to restart its gateway (faults.{GATEWAY}, services.{GATEWAY}.health)"
    return ""


async def drive_apart(lab: Lab) -> None:
    """Open one service's circuit amid successes of the others, call those meanwhile, and restart the gateway."""
    broken, others = policy_of(lab.target), healthy_policies(lab.target)
    (account,) = await lab.accounts(1)
    await settle(lab, broken, account, many_workers=True)
    source = lab.source()
    # In silence, for a short open period must not pass while others have their turns.
    async with lab.fault(broken.service, "stop", FAULT_NS), lab.silence():
        lab.doing(f"failing {broken.service} amid successes of {', '.join(one.service for one in others)}")
        count = broken.failures + _REJECTIONS
        await lab.run(lab.steps("failing", _amid(broken, others, count), account=account, source=source))
        lab.doing("calling healthy services while the circuit is open")
        healthy = [
            lab.steps(f"healthy {one.service}", call(one, _HEALTHY), account=account, source=lab.source())
            for one in others
        ]
        await lab.run(*healthy, lab.steps("still open", call(broken, 3), account=account, source=lab.source()))
        if not missing_restart(lab.target):
            await _restart(lab, broken, account)
    lab.doing(f"waiting for the circuit of {broken.service} to close, so that others find it as it was")
    await settle(lab, broken, account, "leave")


async def _restart(lab: Lab, broken: CircuitBreakerPolicy, account: Account) -> None:
    """Stop and start the gateway, and call the open circuit by each of its workers."""
    async with lab.fault(GATEWAY, "stop", FAULT_NS):
        lab.doing("restarting the gateway")
    after = lab.steps("after restart", call(broken, 1), _AFTER, account=account, source=lab.source())
    await lab.run(replace(after, fresh_connections=True))


def judge_apart(evidence: Evidence) -> list[Finding]:
    """TC-CB-004: the one circuit opened on its own failures alone, and the others stayed closed."""
    if doubt := unsettled(evidence):
        return doubt
    policy = policy_of(evidence.target)
    stage = stage_of(policy, evidence.history, evidence)
    rows = calls_in(evidence.history, *_before_restart(), operation=policy.operation)
    found = judge_breaker(stage, rows, expect=OPENING)
    return delivered(evidence, [*found, *judge_healthy(evidence)])


def judge_healthy(evidence: Evidence) -> list[Finding]:
    """Return whether the circuits of the services that were not broken stayed closed throughout."""
    findings: list[Finding] = []
    for policy in healthy_policies(evidence.target):
        stage = stage_of(policy, evidence.history, evidence)
        rows = calls_in(evidence.history, *_before_restart(), operation=policy.operation)
        findings += [replace(one, says=f"{policy.service}: {one.says}") for one in judge_isolation(stage, rows)]
    return findings


def judge_restart(evidence: Evidence) -> list[Finding]:
    """TC-CB-007: no worker of the restarted gateway let a call through while the circuit had to be open."""
    shared = evidence.others[APART]
    policy = policy_of(evidence.target)
    stage = stage_of(policy, shared.history, shared)
    before = calls_in(shared.history, *_before_restart(), operation=policy.operation)
    after = calls_in(shared.history, f"{APART}/after restart")
    restarts = [span for span in spans(shared.edges) if span.service == GATEWAY and span.held and span.mended]
    if not restarts:
        says = "the gateway was not proven to have been restarted"
        return [Finding(LOST, Outcome.INCONCLUSIVE, says)]
    found = judge_breaker(stage, [*before, *after], expect=OPENING)
    broken = [one for one in found if one.outcome is Outcome.FAIL]
    if broken:
        return delivered(shared, [replace(broken[0], rule=LOST, look_at="where the state of circuits is kept")])
    status = shared.history.numbers("status")[after]
    done = shared.history.numbers("done_ns")[after]
    opened = max((int(shared.history.numbers("done_ns")[row]) for row in before), default=0)
    inside = int(((status == policy.status_when_open) & (done < opened + policy.open_for - stage.slack)).sum())
    says = f"{inside} calls after the restart were rejected as before"
    return delivered(shared, [held(LOST, says, examined=inside, needed=_AFTER // 2)])


async def drive_nothing(_: Lab) -> None:
    """Send nothing: TC-CB-004 restarted the gateway while its circuit was open."""


def _before_restart() -> tuple[str, ...]:
    return tuple(f"{APART}/{step}" for step in ("failing", "healthy", "still open"))


def _amid(broken: CircuitBreakerPolicy, others: Sequence[CircuitBreakerPolicy], count: int) -> Script:
    async def script(user: User) -> None:
        for i in range(count):
            await user.request(broken.operation, keep_body=True)
            await user.request(others[i % len(others)].operation, keep_body=True)

    return script


def _one_period_and(extra_s: int, target: Target) -> int:
    policy = breakable(target)
    return (policy.open_for if policy else 0) + extra_s * NS_PER_SECOND


CASES = (
    Case(
        id=APART,
        title="Circuit breakers are independent",
        category=Category.CIRCUIT_BREAKER,
        priority=Priority.HIGH,
        phase=3,
        purpose="Each service has a circuit of its own: its failures open no other, and no other's successes save it.",
        sends="calls of a stopped service, each followed by one of a healthy service, well beyond the failures that "
        "must open its circuit; then calls of every healthy service while it is open",
        passes_when="the circuit opened with its own failures, not earlier and not later, and every call of a healthy "
        "service was let through",
        read_fail="the finding names the healthy service whose call was rejected, or the failure that did not count",
        least_evidence="a proven fault, an opened circuit, and 5 calls of a healthy service",
        needs=("policies.circuit_breaker of two services", "faults", "services.<name>.health"),
        missing=missing_other,
        expected_ns=lambda target: _one_period_and(10, target),
        drive=drive_apart,
        judge=judge_apart,
        uses=frozenset({"service:user", "service:auth"}),
        disturbs=BROKEN,
        restore=restore,
    ),
    Case(
        id=RESTARTED,
        title="Open circuit survives a restart of the gateway",
        category=Category.CIRCUIT_BREAKER,
        priority=Priority.HIGH,
        phase=3,
        purpose="A gateway that comes up anew does not call a service that is being left alone.",
        sends="nothing of its own: TC-CB-004 stopped and started the gateway, in silence, while its circuit was open, "
        f"and called it {_AFTER} times over fresh connections",
        passes_when="every one of those calls was rejected by the circuit",
        read_fail="the finding shows the call that the restarted gateway let through",
        least_evidence=f"a proven restart and {_AFTER // 2} calls before the open time was over",
        needs=("policies.circuit_breaker of two services", "faults.gateway", "services.gateway.health"),
        missing=missing_restart,
        expected_ns=lambda _: 0,
        drive=drive_nothing,
        judge=judge_restart,
        prerequisites=(APART,),
    ),
)

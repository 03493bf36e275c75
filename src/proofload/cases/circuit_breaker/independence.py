"""TC-CB-004 and TC-CB-007: circuits that don't know of each other, and that outlive the gateway's own processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from proofload.cases.accounts import Account
from proofload.cases.case import Category, Priority, case
from proofload.cases.circuit_breaker.calls import (
    FAULT_NS,
    breakable,
    call,
    calls_in,
    circuit_context,
    failing_kind,
    settle,
    unsettled,
)
from proofload.cases.context import CaseContext
from proofload.cases.evidence_rows import delivered
from proofload.cases.fault_control import can_break
from proofload.cases.isolation import disturbed_by, gateway_service, service_resource
from proofload.cases.requirement import Missing, Requirement
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
LOST = "cb.lost_on_restart"
_LET_THROUGH = ("cb.opens_late", "cb.never_opens", "cb.reached_while_open", "cb.wrong_status_when_open")
_REJECTIONS = 10
_HEALTHY = 8
_AFTER = 10


@dataclass(frozen=True, slots=True)
class Circuits:
    """The circuit whose service is broken, the others, and the gateway's service where it can be restarted."""

    broken: CircuitBreakerPolicy
    healthy: Sequence[CircuitBreakerPolicy]
    gateway: str | None = None


def several_circuits(target: Target) -> Circuits | Missing:
    """Return the circuit to open, and the declared circuits of other services that don't depend on the broken one."""
    broken = breakable(target)
    if isinstance(broken, Missing):
        return broken
    shaken = disturbed_by(target, [broken.service])
    others = [one for one in target.policies.circuit_breaker if service_resource(one.service) not in shaken]
    if not others:
        return Missing("only one service has a declared circuit (policies.circuit_breaker)")
    gateway = gateway_service(target)
    return Circuits(broken, others, gateway if gateway and can_break(target, gateway, "stop") else None)


def restartable(target: Target) -> Circuits | Missing:
    """Return the same, where the gateway can be restarted while a circuit is open."""
    found = several_circuits(target)
    if isinstance(found, Circuits) and found.gateway is None:
        return Missing(
            "the target declares no way to restart its gateway (a service at its own address, and its fault)"
        )
    return found


SEVERAL_CIRCUITS = Requirement(
    "circuit breakers of two services, one of which can be stopped and probed",
    "policies.circuit_breaker of two services, faults, services.<name>.health",
    several_circuits,
)
RESTARTABLE = Requirement(
    "circuit breakers of two services, and a gateway that can be restarted",
    "policies.circuit_breaker of two services, faults.<gateway>, services.<gateway>.health",
    restartable,
)


def _healthy_operations(circuits: Circuits) -> list[str]:
    return [one.operation for one in circuits.healthy]


@case(
    "TC-CB-004",
    "Circuit breakers are independent",
    Category.CIRCUIT_BREAKER,
    Priority.HIGH,
    phase=3,
    requires=SEVERAL_CIRCUITS,
    uses=_healthy_operations,
    breaks=lambda circuits: (circuits.broken.service,),
    takes=lambda circuits: circuits.broken.open_for + 10 * NS_PER_SECOND,
)
async def apart(run: CaseContext, circuits: Circuits) -> None:
    """Each service has a circuit of its own: its failures open no other, and no other's successes save it.

    Sends: calls of a stopped service, each followed by one of a healthy service, well beyond the failures that
        must open its circuit; then calls of every healthy service while it is open
    Passes when: the circuit opened with its own failures, not earlier and not later, and every call of a
        healthy service was let through
    Reading FAIL: the finding names the healthy service whose call was rejected, or the failure that did not
        count
    Least evidence: a proven fault, an opened circuit, and 5 calls of a healthy service
    """
    broken, others = circuits.broken, circuits.healthy
    (account,) = await run.accounts(1)
    await settle(run, broken, account, many_workers=True)
    source = run.source()
    # In silence, for a short open period must not pass while others have their turns.
    async with run.fault(broken.service, failing_kind(run.target, broken), FAULT_NS), run.exclusive():
        run.doing(f"failing {broken.service} amid successes of {', '.join(one.service for one in others)}")
        count = broken.failures + _REJECTIONS
        await run.run(run.steps("failing", _amid(broken, others, count), account=account, source=source))
        run.doing("calling healthy services while the circuit is open")
        healthy = [
            run.steps(f"healthy {one.service}", call(one, _HEALTHY), account=account, source=run.source())
            for one in others
        ]
        await run.run(*healthy, run.steps("still open", call(broken, 3), account=account, source=run.source()))
        if circuits.gateway is not None:
            await _restart(run, circuits.gateway, broken, account)
    run.doing(f"waiting for the circuit of {broken.service} to close, so that others find it as it was")
    await settle(run, broken, account, "leave")


async def _restart(run: CaseContext, gateway: str, broken: CircuitBreakerPolicy, account: Account) -> None:
    """Stop and start the gateway, and call the open circuit by each of its workers."""
    async with run.fault(gateway, "stop", FAULT_NS):
        run.doing("restarting the gateway")
    after = run.steps("after restart", call(broken, 1), _AFTER, account=account, source=run.source())
    await run.run(replace(after, fresh_connections=True))


@apart.judge
def judge_apart(evidence: Evidence, circuits: Circuits) -> list[Finding]:
    """TC-CB-004: the one circuit opened on its own failures alone, and the others stayed closed."""
    if doubt := unsettled(evidence):
        return doubt
    policy = circuits.broken
    stage = circuit_context(policy, evidence.history, evidence)
    rows = calls_in(evidence.history, *_before_restart(), operation=policy.operation)
    found = judge_breaker(stage, rows, expect=OPENING)
    return delivered(evidence, [*found, *judge_healthy(evidence, circuits)])


def judge_healthy(evidence: Evidence, circuits: Circuits) -> list[Finding]:
    """Return whether the circuits of the services that were not broken stayed closed throughout."""
    findings: list[Finding] = []
    for policy in circuits.healthy:
        stage = circuit_context(policy, evidence.history, evidence)
        rows = calls_in(evidence.history, *_before_restart(), operation=policy.operation)
        findings += [replace(one, says=f"{policy.service}: {one.says}") for one in judge_isolation(stage, rows)]
    return findings


@case(
    RESTARTED,
    "Open circuit survives a restart of the gateway",
    Category.CIRCUIT_BREAKER,
    Priority.HIGH,
    phase=3,
    requires=RESTARTABLE,
    after=(APART,),
    uses=lambda _: (),
    takes=0,
)
async def restarted(_run: CaseContext, _circuits: Circuits) -> None:
    """A gateway that comes up again does not call a service that is being left alone.

    Sends: nothing of its own: TC-CB-004 stopped and started the gateway, exclusively, while its circuit was open,
        and called it 10 times over fresh connections
    Passes when: every one of those calls was rejected by the circuit
    Reading FAIL: the finding shows the call that the restarted gateway let through
    Least evidence: a proven restart and 5 calls before the open time was over
    """


@restarted.judge
def judge_restart(evidence: Evidence, circuits: Circuits) -> list[Finding]:
    """TC-CB-007: no worker of the restarted gateway let a call through while the circuit had to be open."""
    shared = evidence.others[APART]
    policy = circuits.broken
    stage = circuit_context(policy, shared.history, shared)
    before = calls_in(shared.history, *_before_restart(), operation=policy.operation)
    after = calls_in(shared.history, f"{APART}/after restart")
    restarts = [span for span in spans(shared.edges) if span.service == circuits.gateway and span.held and span.mended]
    if not restarts:
        says = "the gateway was not proven to have been restarted"
        return [Finding(LOST, Outcome.INCONCLUSIVE, says)]
    found = judge_breaker(stage, [*before, *after], expect=OPENING)
    broken = [one for one in found if one.outcome is Outcome.FAIL and one.rule in _LET_THROUGH]
    if broken:
        return delivered(shared, [replace(broken[0], rule=LOST, look_at="where the state of circuits is kept")])
    status = shared.history.numbers("status")[after]
    done = shared.history.numbers("done_ns")[after]
    opened = max((int(shared.history.numbers("done_ns")[row]) for row in before), default=0)
    inside = int(((status == policy.status_when_open) & (done < opened + policy.open_for - stage.slack)).sum())
    says = f"{inside} calls after the restart were rejected as before"
    return delivered(shared, [held(LOST, says, examined=inside, needed=_AFTER // 2)])


def _before_restart() -> tuple[str, ...]:
    return tuple(f"{APART}/{step}" for step in ("failing", "healthy", "still open"))


def _amid(broken: CircuitBreakerPolicy, others: Sequence[CircuitBreakerPolicy], count: int) -> Script:
    async def script(user: User) -> None:
        for i in range(count):
            await user.request(broken.operation, keep_body=True)
            await user.request(others[i % len(others)].operation, keep_body=True)

    return script

"""TC-CB-005 and TC-CB-006: a service that hangs, and the trials of a half-open circuit, those that fail included."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from proofload.cases.case import Category, Priority, case
from proofload.cases.circuit_breaker.calls import (
    FAULT_NS,
    RESTART_NS,
    breakable,
    call,
    call_until_served,
    calls_in,
    circuit_context,
    failing_kind,
    settle,
    unsettled,
)
from proofload.cases.context import CaseContext
from proofload.cases.evidence_rows import delivered
from proofload.cases.fault_control import HANGS, breaking_kind, can_break
from proofload.cases.requirement import Missing, Requirement
from proofload.core.units import NS_PER_SECOND
from proofload.drive.user import User
from proofload.judge.breaker import OPENING, REOPENING, TRIALS, judge_breaker
from proofload.judge.evidence import Evidence
from proofload.judge.verdict import Finding, held
from proofload.plan.policies import CircuitBreakerPolicy
from proofload.plan.target import Target
from proofload.plan.workload import Script
from proofload.record.history import History

HANGING, TRIED = "TC-CB-005", "TC-CB-006"
_REJECTIONS = 6
_CALLS_AT_ONCE = 10
_AFTER_TRIAL = 6
_SPARE_NS = 2 * NS_PER_SECOND
_LEASE_NS = 90 * NS_PER_SECOND
HALF_OPENED = "cb.half_open_seen"


@dataclass(frozen=True, slots=True)
class HangingCircuit:
    """A circuit whose service can be paused, and for which the gateway promises a timeout."""

    policy: CircuitBreakerPolicy
    timeout_ns: int


def can_hang(target: Target) -> HangingCircuit | Missing:
    """Return the circuit to put to the test, and how long a call of its service may hang."""
    policy = breakable(target)
    if isinstance(policy, Missing):
        return policy
    if not can_break(target, policy.service, *HANGS):
        return Missing(
            f"the service {policy.service} can't be made to hang by its declared fault (faults.{policy.service})"
        )
    timeout_ns = target.services[policy.service].timeout or 0
    if timeout_ns == 0:
        return Missing(f"the target promises no timeout for {policy.service} (services.{policy.service}.timeout)")
    return HangingCircuit(policy, timeout_ns)


HANGING_CIRCUIT = Requirement(
    "circuit breaker whose service can be paused, with a timeout",
    "policies.circuit_breaker, faults that can pause and stop, services.<name>.timeout, services.<name>.health",
    can_hang,
)


def _its_service(circuit: HangingCircuit) -> tuple[str, ...]:
    return (circuit.policy.service,)


@case(
    "TC-CB-005",
    "Hanging service opens the circuit",
    Category.CIRCUIT_BREAKER,
    Priority.HIGH,
    phase=3,
    requires=HANGING_CIRCUIT,
    uses=lambda _: (),
    breaks=_its_service,
    takes=lambda circuit: circuit.timeout_ns + 8 * NS_PER_SECOND,
)
async def hanging(run: CaseContext, circuit: HangingCircuit) -> None:
    """A service that takes connections and never answers is a failing service.

    Sends: as many calls at once as open the circuit, while the service is paused; then a few more at once
    Passes when: these calls opened the circuit, and every later one was rejected quickly: the service was not
        asked (how long each may hang is the matter of TC-RES-005)
    Reading FAIL: the finding shows the call that was let through, or the slow rejections
    Least evidence: a pause that a probe saw to hold, and calls beyond the declared number of failures
    """
    policy = circuit.policy
    (account,) = await run.accounts(1)
    await settle(run, policy, account, many_workers=True)
    async with run.fault(policy.service, breaking_kind(run.target, policy.service, HANGS) or HANGS[0], _LEASE_NS):
        run.doing(f"calling {policy.operation} while its service hangs")
        once = _patiently(circuit)
        await run.run(run.burst("hanging", once, policy.failures, account=account, source=run.source()))
        run.doing("calling the circuit that must be open now")
        # All at once again: where the circuit did not open, each of them hangs.
        await run.run(run.burst("rejected", once, _REJECTIONS, account=account, source=run.source()))


@hanging.judge
def judge_hanging(evidence: Evidence, circuit: HangingCircuit) -> list[Finding]:
    """TC-CB-005: calls that hang count as failures and open the circuit, which then answers at once."""
    if doubt := unsettled(evidence):
        return doubt
    policy = circuit.policy
    context = circuit_context(policy, evidence.history, evidence)
    rows = calls_in(evidence.history, f"{HANGING}/hanging", f"{HANGING}/rejected")
    # Calls that hang tell the instant of opening only to within their whole length: too vaguely for a short period.
    rules = OPENING if policy.open_for > 2 * circuit.timeout_ns else OPENING[:2]
    return delivered(evidence, judge_breaker(context, rows, expect=rules))


@case(
    "TC-CB-006",
    "Half-open circuit: trials that fail",
    Category.CIRCUIT_BREAKER,
    Priority.HIGH,
    phase=3,
    requires=HANGING_CIRCUIT,
    after=("TC-CB-005",),
    uses=lambda _: (),
    breaks=_its_service,
    takes=lambda circuit: 3 * circuit.policy.open_for + circuit.timeout_ns + 12 * NS_PER_SECOND,
)
async def trials(run: CaseContext, circuit: HangingCircuit) -> None:
    """A half-open circuit tries one call at a time; a failure reopens it for its whole time and forgets successes.

    Sends: calls to the open circuit of TC-CB-005 until trials succeed, one too few to close it; many at once
        with the service stopped; after the next open period one success, and a failure
    Passes when: only the promised trials were let through at once, and after each failed trial every call was
        rejected until a whole open period had passed
    Reading FAIL: the finding shows the calls that were let through beside the trial, or after it had failed
    Least evidence: two trials that failed, and calls that were rejected beside and after them
    """
    policy = circuit.policy
    (account,) = await run.accounts(1)
    longest_ns = policy.open_for * 5 // 4 + RESTART_NS
    if not await call_until_served(run, policy, account, "first round", longest_ns):
        return
    if policy.successes - 2 > 0:
        few = call(policy, policy.successes - 2)
        await run.run(run.steps("nearly closed", few, account=account, source=run.source()))
    async with run.fault(policy.service, failing_kind(run.target, policy), FAULT_NS):
        burst = _CALLS_AT_ONCE + policy.half_open_trials
        run.doing(f"calling a half-open circuit {burst} times at once while its service is down")
        await run.run(run.burst("trial at once", call(policy, 1), burst, account=account, source=run.source()))
    if not await call_until_served(run, policy, account, "second round", longest_ns):
        return
    async with run.fault(policy.service, failing_kind(run.target, policy), FAULT_NS):
        run.doing("failing a trial after a success")
        await run.run(run.steps("trial fails", call(policy, _AFTER_TRIAL), account=account, source=run.source()))
    run.doing(f"waiting for the circuit of {policy.service} to close, so that others find it as it was")
    await settle(run, policy, account, "leave")


@trials.judge
def judge_trials(evidence: Evidence, circuit: HangingCircuit) -> list[Finding]:
    """TC-CB-006: one trial at a time; a failed one opens for a full period, and its successes are forgotten."""
    before = evidence.others[HANGING]
    policy = circuit.policy
    history = History.concat([before.history, evidence.history])
    context = circuit_context(policy, history, before, evidence)
    steps = ("first round", "nearly closed", "trial at once", "second round", "trial fails")
    rows = calls_in(
        history, f"{HANGING}/hanging", f"{HANGING}/rejected", *(f"{evidence.case}/{step}" for step in steps)
    )
    findings = judge_breaker(context, rows, expect=(*REOPENING, *TRIALS))
    return delivered(evidence, [*findings, _failed_trials(policy, evidence)])


def _failed_trials(policy: CircuitBreakerPolicy, evidence: Evidence) -> Finding:
    """Return whether both trials that had to fail did: without them there is nothing to judge."""
    history = evidence.history
    status = history.numbers("status")
    rounds = [
        [row for row in calls_in(history, f"{evidence.case}/{step}") if status[row] not in (0, policy.status_when_open)]
        for step in ("trial at once", "trial fails")
    ]
    seen = sum(1 for rows in rounds if np.any(status[rows] >= 500))
    return held(HALF_OPENED, f"{seen} of 2 trials were made to fail", examined=seen, needed=2)


def _patiently(circuit: HangingCircuit) -> Script:
    """Return a script that makes one call and waits for twice the time that it may hang, and a little more."""
    seconds = (2 * circuit.timeout_ns + _SPARE_NS) / NS_PER_SECOND

    async def script(user: User) -> None:
        await user.request(circuit.policy.operation, keep_body=True, timeout_s=seconds)

    return script

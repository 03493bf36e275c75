"""TC-CB-005 and TC-CB-006: a service that hangs, and the trials of a half-open circuit, those that fail included."""

from __future__ import annotations

import numpy as np

from proofload.cases.case import Case, Category, Priority
from proofload.cases.circuit_breaker.calls import (
    BROKEN,
    FAULT_NS,
    RESTART_NS,
    breakable,
    call,
    calls_in,
    knock_until_served,
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
from proofload.judge.breaker import OPENING, REOPENING, TRIALS, judge_breaker
from proofload.judge.evidence import Evidence
from proofload.judge.verdict import Finding, held
from proofload.plan.policies import CircuitBreakerPolicy
from proofload.plan.target import Target
from proofload.plan.workload import Script
from proofload.record.history import History

HANGING, TRIED = "TC-CB-005", "TC-CB-006"
_REJECTIONS = 6
_KNOCKS_AT_ONCE = 10
_AFTER_TRIAL = 6
_SPARE_NS = 2 * NS_PER_SECOND
_LEASE_NS = 90 * NS_PER_SECOND
HALF_OPENED = "cb.half_open_seen"


def missing_hang(target: Target) -> str:
    """Return why a service can't be made to hang, or nothing."""
    if reason := missing(target):
        return reason
    policy = policy_of(target)
    if getattr(target.faults[policy.service], "driver", "") not in ("supervised", "docker"):
        return f"the service {policy.service} can't be paused by its declared fault (faults.{policy.service})"
    if timeout_of(target) == 0:
        return f"the target promises no timeout for {policy.service} (services.{policy.service}.timeout)"
    return ""


def timeout_of(target: Target) -> int:
    """Return how long a call of the service may hang, in nanoseconds; 0 where nothing is promised."""
    return target.services[policy_of(target).service].timeout or 0


async def drive_hanging(lab: Lab) -> None:
    """Freeze the service behind a closed circuit and make the calls that must open it, all at once."""
    policy = policy_of(lab.target)
    (account,) = await lab.accounts(1)
    await settle(lab, policy, account, many_workers=True)
    async with lab.fault(policy.service, "pause", _LEASE_NS):
        lab.doing(f"calling {policy.operation} while its service hangs")
        once = _patiently(lab.target)
        await lab.run(lab.burst("hanging", once, policy.failures, account=account, source=lab.source()))
        lab.doing("calling the circuit that must be open now")
        # All at once again: where the circuit did not open, each of them hangs.
        await lab.run(lab.burst("rejected", once, _REJECTIONS, account=account, source=lab.source()))


def judge_hanging(evidence: Evidence) -> list[Finding]:
    """TC-CB-005: calls that hang count as failures and open the circuit, which then answers at once."""
    if doubt := unsettled(evidence):
        return doubt
    policy = policy_of(evidence.target)
    stage = stage_of(policy, evidence.history, evidence)
    rows = calls_in(evidence.history, f"{HANGING}/hanging", f"{HANGING}/rejected")
    # Calls that hang tell the instant of opening only to within their whole length: too vaguely for a short period.
    rules = OPENING if policy.open_for > 2 * timeout_of(evidence.target) else OPENING[:2]
    return delivered(evidence, judge_breaker(stage, rows, expect=rules))


async def drive_trials(lab: Lab) -> None:
    """Let trials of the half-open circuit succeed too few times and then fail: once many at once, once one by one."""
    policy = policy_of(lab.target)
    (account,) = await lab.accounts(1)
    longest_ns = policy.open_for * 5 // 4 + RESTART_NS
    if not await knock_until_served(lab, policy, account, "first round", longest_ns):
        return
    if policy.successes - 2 > 0:
        few = call(policy, policy.successes - 2)
        await lab.run(lab.steps("nearly closed", few, account=account, source=lab.source()))
    async with lab.fault(policy.service, "stop", FAULT_NS):
        burst = _KNOCKS_AT_ONCE + policy.half_open_trials
        lab.doing(f"calling a half-open circuit {burst} times at once while its service is down")
        await lab.run(lab.burst("trial at once", call(policy, 1), burst, account=account, source=lab.source()))
    if not await knock_until_served(lab, policy, account, "second round", longest_ns):
        return
    async with lab.fault(policy.service, "stop", FAULT_NS):
        lab.doing("failing a trial after a success")
        await lab.run(lab.steps("trial fails", call(policy, _AFTER_TRIAL), account=account, source=lab.source()))
    lab.doing(f"waiting for the circuit of {policy.service} to close, so that others find it as it was")
    await settle(lab, policy, account, "leave")


def judge_trials(evidence: Evidence) -> list[Finding]:
    """TC-CB-006: one trial at a time; a failed one opens for a full period, and its successes are forgotten."""
    before = evidence.others[HANGING]
    policy = policy_of(evidence.target)
    history = History.concat([before.history, evidence.history])
    stage = stage_of(policy, history, before, evidence)
    steps = ("first round", "nearly closed", "trial at once", "second round", "trial fails")
    rows = calls_in(
        history, f"{HANGING}/hanging", f"{HANGING}/rejected", *(f"{evidence.case}/{step}" for step in steps)
    )
    findings = judge_breaker(stage, rows, expect=(*REOPENING, *TRIALS))
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


def _patiently(target: Target) -> Script:
    """Return a script that makes one call and waits for twice the time that it may hang, and a little more."""
    policy = policy_of(target)
    seconds = (2 * timeout_of(target) + _SPARE_NS) / NS_PER_SECOND

    async def script(user: User) -> None:
        await user.request(policy.operation, keep_body=True, timeout_s=seconds)

    return script


def _expected_ns(periods: int, extra_s: int, target: Target) -> int:
    policy = breakable(target)
    if policy is None:
        return 0
    return policy.open_for * periods + timeout_of(target) + extra_s * NS_PER_SECOND


CASES = (
    Case(
        id=HANGING,
        title="Hanging service opens the circuit",
        category=Category.CIRCUIT_BREAKER,
        priority=Priority.HIGH,
        phase=3,
        purpose="A service that takes connections and never answers is a failing service.",
        sends="as many calls at once as open the circuit, while the service is paused; then a few more at once",
        passes_when="these calls opened the circuit, and every later one was rejected quickly: the service was not "
        "asked (how long each may hang is the matter of TC-RES-005)",
        read_fail="the finding shows the call that was let through, or the slow rejections",
        least_evidence="a pause that a probe saw to hold, and calls beyond the declared number of failures",
        needs=("services.<name>.timeout", "faults that can pause", "services.<name>.health"),
        missing=missing_hang,
        expected_ns=lambda target: _expected_ns(0, 8, target),
        drive=drive_hanging,
        judge=judge_hanging,
        disturbs=BROKEN,
        restore=restore,
    ),
    Case(
        id=TRIED,
        title="Half-open circuit: trials that fail",
        category=Category.CIRCUIT_BREAKER,
        priority=Priority.HIGH,
        phase=3,
        purpose="A half-open circuit tries carefully: one call at a time, a failure opens it anew for its whole time, "
        "and successes of an earlier round count for nothing.",
        sends="calls to the open circuit of TC-CB-005 until trials succeed, one too few to close it; many at once with "
        "the service stopped; after the next open period one success, and a failure",
        passes_when="only the promised trials were let through at once, and after each failed trial every call was "
        "rejected until a whole open period had passed",
        read_fail="the finding shows the calls that were let through beside the trial, or after it had failed",
        least_evidence="two trials that failed, and calls that were rejected beside and after them",
        needs=("services.<name>.timeout", "faults that can pause and stop", "services.<name>.health"),
        missing=missing_hang,
        expected_ns=lambda target: _expected_ns(3, 12, target),
        drive=drive_trials,
        judge=judge_trials,
        prerequisites=(HANGING,),
        disturbs=BROKEN,
        restore=restore,
    ),
)

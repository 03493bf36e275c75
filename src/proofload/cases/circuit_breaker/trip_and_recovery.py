"""TC-CB: whether a circuit opens when its service fails, answers at once meanwhile, and closes again in its time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from proofload.cases.accounts import Account
from proofload.cases.case import Case, Category, Priority
from proofload.cases.circuit_breaker import half_open as breaker_trials
from proofload.cases.circuit_breaker import independence as breaker_apart
from proofload.cases.circuit_breaker.calls import (
    BROKEN,
    FAULT_NS,
    RESTART_NS,
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
from proofload.judge.breaker import OPENING, RECOVERY, judge_breaker
from proofload.judge.evidence import Evidence
from proofload.judge.verdict import Finding
from proofload.plan.policies import CircuitBreakerPolicy
from proofload.plan.target import Target
from proofload.record.history import History

_TRIP = "TC-CB-001"
_REJECTIONS = 15
_MORE_AFTER = 10


async def drive_trip(lab: Lab) -> None:
    """Stop the service behind a closed circuit and go on calling it, well beyond the failures that must open it."""
    policy = policy_of(lab.target)
    (account,) = await lab.accounts(1)
    await settle(lab, policy, account, many_workers=True)
    source = lab.source()
    lab.doing(f"calling {policy.operation} while its service is up")
    await lab.run(lab.steps("before", call(policy, 3), account=account, source=source))
    async with lab.fault(policy.service, "stop", FAULT_NS):
        lab.doing("failing, until the circuit opens and beyond")
        # Each over a connection of its own: all workers of the gateway must know of each other's failures.
        failing = lab.steps("failing", policy.operation, policy.failures + _REJECTIONS, account=account, source=source)
        await lab.run(replace(failing, run=call(policy, 1), fresh_connections=True))


async def drive_recovery(lab: Lab) -> None:
    """Keep calling the open circuit of the mended service once a second, until it lets trials through and closes."""
    policy = policy_of(lab.target)
    (account,) = await lab.accounts(1)
    source = lab.source()
    until_ns = lab.clock.now_ns() + policy.open_for * 5 // 4 + RESTART_NS
    step_ns = max(NS_PER_SECOND // 5, min(NS_PER_SECOND, policy.open_for // 20))
    served = 0
    knock = 0
    while served == 0 and lab.clock.now_ns() < until_ns:
        await lab.wait_until_ns(lab.clock.now_ns() + step_ns, "the open circuit to let a trial through")
        knock += 1
        served = await _knock(lab, policy, account, source, knock)
    lab.doing("closing the circuit, and calling on")
    more = policy.successes - 1 + _MORE_AFTER
    await lab.run(lab.steps("after", call(policy, more), account=account, source=lab.source()))


async def _knock(lab: Lab, policy: CircuitBreakerPolicy, account: Account, source: str | None, number: int) -> int:
    got: list[bool] = []

    async def once(user: User) -> None:
        got.append((await user.request(policy.operation, keep_body=True)).ok)

    # A fresh address now and then: knocking for a minute must not run into the rate limit.
    fresh = source if number % 40 else lab.source()
    await lab.run(lab.steps(f"knock {number}", once, account=account, source=fresh))
    return sum(got)


def judge_trip(evidence: Evidence) -> list[Finding]:
    """TC-CB-001: opens on the declared number of consecutive failures, not before, and answers at once from then on."""
    if doubt := unsettled(evidence):
        return doubt
    stage = stage_of(policy_of(evidence.target), evidence.history, evidence)
    return delivered(evidence, judge_breaker(stage, _rows(evidence.history), expect=OPENING))


def judge_recovery(evidence: Evidence) -> list[Finding]:
    """TC-CB-002: lets a trial through after its time, and closes after the declared successes."""
    before = evidence.others.get(_TRIP)
    parts = [before.history, evidence.history] if before is not None else [evidence.history]
    history = History.concat(parts)
    stage = stage_of(policy_of(evidence.target), history, before or evidence)
    return delivered(evidence, judge_breaker(stage, _rows(history), expect=RECOVERY))


def _rows(history: History) -> Sequence[int]:
    """Return the calls of both cases, but for those that saw to it that the circuit was closed before."""
    every = calls_in(history, "TC-CB-")
    settling = set(calls_in(history, f"{_TRIP}/settle"))
    return [row for row in every if row not in settling]


def _expected_ns(open_periods: int, extra_s: int) -> Callable[[Target], int]:
    def expected_ns(target: Target) -> int:
        policy = breakable(target)
        return (policy.open_for if policy else 0) * open_periods + extra_s * NS_PER_SECOND

    return expected_ns


_CASES = (
    Case(
        id=_TRIP,
        title="Circuit breaker trip on failures",
        category=Category.CIRCUIT_BREAKER,
        priority=Priority.CRITICAL,
        phase=3,
        purpose="The circuit opens on its declared number of consecutive failures, and then answers at once.",
        sends="three calls while the service is up; then the service is stopped, on a lease and proven by a probe, and "
        f"called the declared number of times and {_REJECTIONS} times more",
        passes_when="the declared number of failures came through and not one more; every later call was rejected with "
        "the declared status and code, quickly",
        read_fail="the finding shows the call that came through too late, or was rejected too early, with what came "
        "before it",
        least_evidence="a fault that a probe saw to hold, and calls beyond the declared number of failures",
        needs=("policies.circuit_breaker", "faults", "services.<name>.health"),
        missing=missing,
        expected_ns=_expected_ns(0, 5),
        drive=drive_trip,
        judge=judge_trip,
        disturbs=BROKEN,
        restore=restore,
    ),
    Case(
        id="TC-CB-002",
        title="Circuit breaker recovery",
        category=Category.CIRCUIT_BREAKER,
        priority=Priority.HIGH,
        phase=3,
        purpose="The open circuit lets a trial through after its time, and closes after its successes.",
        sends="a call a second to the open circuit of TC-CB-001, whose service is up again, until one is served; then "
        "the successes that close it and ten more",
        passes_when="no call came through before the time was over, rejections did not prolong it, and after the "
        "declared successes every call was served",
        read_fail="the finding shows the call that came through too early, or the one still rejected too late",
        least_evidence="calls just before and after the end of the open time",
        needs=("policies.circuit_breaker", "faults", "services.<name>.health"),
        missing=missing,
        expected_ns=_expected_ns(1, 4),
        drive=drive_recovery,
        judge=judge_recovery,
        prerequisites=(_TRIP,),
        disturbs=BROKEN,
        restore=restore,
    ),
    *breaker_apart.CASES,
    *breaker_trials.CASES,
)

CASES = tuple(sorted(_CASES, key=lambda case: case.id))

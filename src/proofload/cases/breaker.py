"""TC-CB: whether a circuit opens when its service fails, answers at once meanwhile, and closes again in its time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import polars as pl

from proofload.cases.accounts import Account
from proofload.cases.case import Case, Category, Priority
from proofload.cases.lab import Lab
from proofload.core.units import NS_PER_SECOND
from proofload.drive.user import User
from proofload.judge.breaker import OPENING, RECOVERY, Stage, judge_breaker
from proofload.judge.delivery import judge_delivery, rest_on
from proofload.judge.evidence import Evidence
from proofload.judge.verdict import Finding
from proofload.plan.policies import CircuitBreakerPolicy
from proofload.plan.target import Target
from proofload.plan.workload import Script
from proofload.record.fault_edge import spans
from proofload.record.history import History

_TRIP = "TC-CB-001"
_REJECTIONS = 15
_FAULT_NS = 30 * NS_PER_SECOND
_MORE_AFTER = 10
_RESTART_NS = 5 * NS_PER_SECOND


def breakable(target: Target) -> CircuitBreakerPolicy | None:
    """Return the first declared breaker whose service we can break, and see to be broken."""
    for policy in target.policies.circuit_breaker:
        service = target.services.get(policy.service)
        if policy.service in target.faults and service is not None and service.health is not None:
            return policy
    return None


def missing(target: Target) -> str:
    """Return why no circuit can be put to the test, or nothing."""
    if not target.policies.circuit_breaker:
        return "the target declares no circuit breaker (policies.circuit_breaker)"
    if breakable(target) is None:
        return "no service with a declared breaker has a way to break it (faults) and a health URL (services)"
    return ""


async def drive_trip(lab: Lab) -> None:
    """Stop the service behind a closed circuit and go on calling it, well beyond the failures that must open it."""
    policy = _policy(lab.target)
    (account,) = await lab.accounts(1)
    source = lab.source()
    lab.doing(f"calling {policy.operation} while its service is up")
    await lab.run(lab.steps("before", _call(policy, 3), account=account, source=source))
    async with lab.fault(policy.service, "stop", _FAULT_NS):
        lab.doing("failing, until the circuit opens and beyond")
        await lab.run(
            lab.steps("failing", _call(policy, policy.failures + _REJECTIONS), account=account, source=source)
        )


async def drive_recovery(lab: Lab) -> None:
    """Keep calling the open circuit of the mended service once a second, until it lets trials through and closes."""
    policy = _policy(lab.target)
    (account,) = await lab.accounts(1)
    source = lab.source()
    until_ns = lab.clock.now_ns() + policy.open_for * 5 // 4 + _RESTART_NS
    step_ns = max(NS_PER_SECOND // 5, min(NS_PER_SECOND, policy.open_for // 20))
    served = 0
    knock = 0
    while served == 0 and lab.clock.now_ns() < until_ns:
        await lab.wait_until_ns(lab.clock.now_ns() + step_ns, "the open circuit to let a trial through")
        knock += 1
        served = await _knock(lab, policy, account, source, knock)
    lab.doing("closing the circuit, and calling on")
    more = policy.successes - 1 + _MORE_AFTER
    await lab.run(lab.steps("after", _call(policy, more), account=account, source=lab.source()))


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
    stage = _stage(evidence, evidence.history)
    findings = judge_breaker(stage, _rows(evidence.history), expect=OPENING)
    return _rested(evidence.history, findings)


def judge_recovery(evidence: Evidence) -> list[Finding]:
    """TC-CB-002: lets a trial through after its time, and closes after the declared successes."""
    before = evidence.others.get(_TRIP)
    parts = [before.history, evidence.history] if before is not None else [evidence.history]
    history = History.concat(parts)
    stage = _stage(before or evidence, history)
    findings = judge_breaker(stage, _rows(history), expect=RECOVERY)
    return _rested(evidence.history, findings)


def _stage(evidence: Evidence, history: History) -> Stage:
    policy = _policy(evidence.target)
    ours = tuple(span for span in spans(evidence.edges) if span.service == policy.service)
    return Stage(policy, history, ours)


def _rows(history: History) -> Sequence[int]:
    rows = history.rows_where(pl.col("workload").cast(pl.String).str.starts_with("TC-CB-"))
    return [int(row) for row in rows[np.argsort(history.numbers("sent_ns")[rows], kind="stable")]]


def _rested(history: History, findings: list[Finding]) -> list[Finding]:
    delivered = [one for one in judge_delivery(history) if one.rule != "delivery.send_lag"]
    return [*rest_on(findings, delivered), *delivered]


def _policy(target: Target) -> CircuitBreakerPolicy:
    policy = breakable(target)
    assert policy is not None
    return policy


def _call(policy: CircuitBreakerPolicy, count: int) -> Script:
    async def script(user: User) -> None:
        for _ in range(count):
            await user.request(policy.operation, keep_body=True)

    return script


def _expected_ns(open_periods: int, extra_s: int) -> Callable[[Target], int]:
    def expected_ns(target: Target) -> int:
        policy = breakable(target)
        return (policy.open_for if policy else 0) * open_periods + extra_s * NS_PER_SECOND

    return expected_ns


_BROKEN = frozenset({"service:order"})

CASES = (
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
        disturbs=_BROKEN,
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
        disturbs=_BROKEN,
    ),
)

"""TC-CB: whether a circuit opens when its service fails, answers at once meanwhile, and closes again in its time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from proofload.cases.accounts import Account
from proofload.cases.backend_hits import hits_between
from proofload.cases.case import Category, Priority, case
from proofload.cases.circuit_breaker.calls import (
    CIRCUIT,
    FAULT_NS,
    RESTART_NS,
    call,
    calls_in,
    circuit_context,
    failing_kind,
    its_service,
    settle,
    spread,
    unsettled,
)
from proofload.cases.context import CaseContext
from proofload.cases.declared_limits import polite_count
from proofload.cases.evidence_rows import delivered
from proofload.core.units import NS_PER_SECOND
from proofload.drive.user import User
from proofload.judge.breaker import OPENING, RECOVERY, judge_breaker
from proofload.judge.evidence import Evidence
from proofload.judge.verdict import Finding
from proofload.plan.policies import CircuitBreakerPolicy
from proofload.record.history import History

_TRIP = "TC-CB-001"
_REJECTIONS = 15
_MORE_AFTER = 10
_LOOK_EVERY, _LOOK_SOON = 12, 4
_WHILE_OPEN = "while open"
_SETTLING = 20
"""Successes with which a circuit was settled, at the most."""
_MOST_FAILING = 400
_LONGEST_WINDOW_NS = 60 * NS_PER_SECOND


def _trip_ns(circuit: CircuitBreakerPolicy) -> int:
    window_ns = (circuit.ratio_window or 0) if circuit.ratio is not None else 0
    return 5 * NS_PER_SECOND + min(window_ns, _LONGEST_WINDOW_NS)


@case(
    "TC-CB-001",
    "Circuit breaker trip on failures",
    Category.CIRCUIT_BREAKER,
    Priority.CRITICAL,
    phase=3,
    requires=CIRCUIT,
    uses=lambda _: (),
    breaks=its_service,
    takes=_trip_ns,
)
async def trip(run: CaseContext, circuit: CircuitBreakerPolicy) -> None:
    """The circuit opens on its declared number of consecutive failures, and then answers at once.

    Sends: three calls while the service is up; then the service is stopped, on a lease and proven by a probe,
        and called the declared number of times and 15 times more
    Passes when: the declared number of failures came through and not one more; every later call was rejected
        with the declared status and code, quickly
    Reading FAIL: the finding shows the call that came through too late, or was rejected too early, with what
        came before it
    Least evidence: a fault that a probe saw to hold, and calls beyond the declared number of failures
    """
    (account,) = await run.accounts(1)
    await settle(run, circuit, account, many_workers=True)
    run.doing(f"calling {circuit.operation} while its service is up")
    await spread(run, "before", call(circuit, 1), 3, account)
    if circuit.ratio is not None and circuit.ratio_window is not None:
        over_ns = run.clock.now_ns() + min(circuit.ratio_window, _LONGEST_WINDOW_NS)
        await run.wait_until_ns(over_ns, "the calls so far to leave the circuit's window")
    async with run.fault(circuit.service, failing_kind(run.target, circuit), FAULT_NS):
        run.doing("failing, until the circuit opens and beyond")
        # Each over a connection of its own: all workers of the gateway must know of each other's failures.
        count = failing_calls(circuit) + _REJECTIONS
        await spread(run, "failing", call(circuit, 1), count, account, fresh_connections=True)


def failing_calls(circuit: CircuitBreakerPolicy) -> int:
    """Return how many calls must fail to open the circuit for certain, after the successes that settled it."""
    if circuit.ratio is None:
        return circuit.failures
    # The successes may still be in a window that counts calls; of one that tumbles, two may be needed.
    outweighed = math.ceil(_SETTLING * circuit.ratio / (1 - circuit.ratio)) + 1 if circuit.ratio < 1 else _SETTLING
    return min(_MOST_FAILING, max(2 * circuit.minimum_calls, circuit.ratio_calls or 0, outweighed))


@case(
    "TC-CB-002",
    "Circuit breaker recovery",
    Category.CIRCUIT_BREAKER,
    Priority.HIGH,
    phase=3,
    requires=CIRCUIT,
    after=("TC-CB-001",),
    uses=lambda _: (),
    breaks=its_service,
    takes=lambda circuit: circuit.open_for + 4 * NS_PER_SECOND,
)
async def recovery(run: CaseContext, circuit: CircuitBreakerPolicy) -> None:
    """The open circuit lets a trial through after its time, and closes after its successes.

    Sends: a call a second to the open circuit of TC-CB-001, whose service is up again, until one is served;
        then the successes that close it and ten more
    Passes when: no call came through before the time was over, none that was rejected reached the service,
        rejections did not prolong it, and after the declared successes every call was served
    Reading FAIL: the finding shows the call that came through too early, or the one still rejected too late
    Least evidence: calls just before and after the end of the open time
    """
    (account,) = await run.accounts(1)
    source = run.source()
    until_ns = run.clock.now_ns() + circuit.open_for * 5 // 4 + RESTART_NS
    step_ns = max(NS_PER_SECOND // 5, min(NS_PER_SECOND, circuit.open_for // 20))
    served = 0
    attempt = 0
    while served == 0 and run.clock.now_ns() < until_ns:
        if attempt % _LOOK_EVERY == 0 or attempt == _LOOK_SOON:
            # The service is up again, and its own count tells whether rejected calls reach it all the same.
            await run.readings.services(f"{_WHILE_OPEN} {attempt}")
        await run.wait_until_ns(run.clock.now_ns() + step_ns, "the open circuit to let a trial through")
        attempt += 1
        served = await _try(run, circuit, account, source, attempt)
    run.doing("closing the circuit, and calling on")
    more = circuit.successes - 1 + _MORE_AFTER
    await spread(run, "after", call(circuit, 1), more, account)


async def _try(
    run: CaseContext, circuit: CircuitBreakerPolicy, account: Account, source: str | None, number: int
) -> int:
    got: list[bool] = []

    async def once(user: User) -> None:
        got.append((await user.request(circuit.operation, keep_body=True)).ok)

    # A fresh address now and then: trying for a minute must not run into the rate limit.
    few = polite_count(run.target, 40, operations=[circuit.operation])
    fresh = source if number % few else run.source()
    await run.run(run.steps(f"attempt {number}", once, account=account, source=fresh))
    return sum(got)


@trip.judge
def judge_trip(evidence: Evidence, circuit: CircuitBreakerPolicy) -> list[Finding]:
    """TC-CB-001: opens on the declared number of consecutive failures, not before, and answers at once from then on."""
    if doubt := unsettled(evidence):
        return doubt
    context = circuit_context(circuit, evidence.history, evidence)
    return delivered(evidence, judge_breaker(context, _rows(circuit, evidence.history), expect=OPENING))


@recovery.judge
def judge_recovery(evidence: Evidence, circuit: CircuitBreakerPolicy) -> list[Finding]:
    """TC-CB-002: lets a trial through after its time, and closes after the declared successes."""
    before = evidence.others.get(_TRIP)
    parts = [before.history, evidence.history] if before is not None else [evidence.history]
    history = History.concat(parts)
    context = circuit_context(circuit, history, before or evidence)
    hits = tuple(hits_between(evidence, circuit.service, circuit.operation, _WHILE_OPEN))
    context = replace(context, hits=hits)
    return delivered(evidence, judge_breaker(context, _rows(circuit, history), expect=RECOVERY))


def _rows(circuit: CircuitBreakerPolicy, history: History) -> Sequence[int]:
    """Return the calls of both cases, but for those that saw to it that the circuit was closed before."""
    every = calls_in(history, "TC-CB-")
    if circuit.ratio is not None:
        # A window of calls or of time still holds those that settled the circuit.
        return every
    settling = set(calls_in(history, f"{_TRIP}/settle"))
    return [row for row in every if row not in settling]

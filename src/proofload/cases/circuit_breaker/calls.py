"""What every case on circuits does: find one that can be broken, make sure it is closed, call it, pick its rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import polars as pl

from proofload.cases.accounts import Account
from proofload.cases.context import Lab
from proofload.core.units import NS_PER_SECOND
from proofload.drive.user import Answer, User
from proofload.judge.breaker import CircuitContext
from proofload.judge.evidence import Evidence
from proofload.judge.verdict import Finding, Outcome
from proofload.plan.policies import CircuitBreakerPolicy
from proofload.plan.target import Target
from proofload.plan.workload import Script
from proofload.record.fault_edge import spans
from proofload.record.history import History

BROKEN = frozenset({"service:order"})
"""What these cases disturb: the service that they break, under the name by which other cases say that they use it."""
FAULT_NS = 30 * NS_PER_SECOND
RESTART_NS = 5 * NS_PER_SECOND
SETTLED = "settled"
_PATIENCE_NS = 15 * NS_PER_SECOND
_SAME_ADDRESS = 40
"""So many calls come from one address: a minute of knocking must not run into the rate limit."""


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


def policy_of(target: Target) -> CircuitBreakerPolicy:
    """Return the breaker to put to the test, which `missing` has seen to be there."""
    policy = breakable(target)
    assert policy is not None
    return policy


def call(policy: CircuitBreakerPolicy, count: int) -> Script:
    """Return a script that calls the circuit's operation so many times, and keeps what is answered."""

    async def script(user: User) -> None:
        for _ in range(count):
            await user.request(policy.operation, keep_body=True)

    return script


async def settle(
    lab: Lab, policy: CircuitBreakerPolicy, account: Account, step: str = "settle", *, many_workers: bool = False
) -> None:
    """Call until the circuit is surely closed with no failure on its count, whatever earlier cases left behind.

    Where that can't be had within an open period and some seconds, it is noted, and `unsettled` says so to the judge.
    With `many_workers` a dozen calls more go over fresh connections, so that each worker of the gateway has seen some.
    """
    until_ns = lab.clock.now_ns() + policy.open_for * 5 // 4 + _PATIENCE_NS
    step_ns = max(NS_PER_SECOND // 5, min(NS_PER_SECOND, policy.open_for // 20))
    source = lab.source()
    for number in range(1, 10_000):
        if number % (_SAME_ADDRESS // policy.successes + 1) == 0:
            source = lab.source()
        if await in_a_row(lab, policy, account, source, f"{step} {number}", policy.successes):
            break
        if lab.clock.now_ns() > until_ns:
            lab.note(SETTLED, False)
            return
        await lab.wait_until_ns(lab.clock.now_ns() + step_ns, f"the circuit of {policy.service} to close")
    if many_workers:
        more = lab.steps(f"{step} workers", call(policy, 1), 12, account=account, source=lab.source())
        await lab.run(replace(more, fresh_connections=True))
    lab.facts.setdefault(SETTLED, True)


async def restore(lab: Lab) -> None:
    """Close the circuit again, for cases that call its service and do not follow on what was done to it."""
    (account,) = await lab.accounts(1)
    await settle(lab, policy_of(lab.target), account)


async def in_a_row(
    lab: Lab, policy: CircuitBreakerPolicy, account: Account, source: str | None, step: str, count: int
) -> bool:
    """Call until an answer is no success, `count` times at the most; return whether all were."""
    served: list[bool] = []

    async def script(user: User) -> None:
        for _ in range(count):
            answer: Answer = await user.request(policy.operation, keep_body=True)
            served.append(answer.ok)
            if not answer.ok:
                return

    await lab.run(lab.steps(step, script, account=account, source=source))
    return len(served) == count and all(served)


async def knock_until_served(
    lab: Lab, policy: CircuitBreakerPolicy, account: Account, step: str, longest_ns: int
) -> bool:
    """Call the open circuit again and again until it lets a call through that succeeds; return whether it did."""
    until_ns = lab.clock.now_ns() + longest_ns
    step_ns = max(NS_PER_SECOND // 5, min(NS_PER_SECOND, policy.open_for // 20))
    source = lab.source()
    number = 0
    while lab.clock.now_ns() < until_ns:
        await lab.wait_until_ns(lab.clock.now_ns() + step_ns, "the open circuit to let a trial through")
        number += 1
        if number % _SAME_ADDRESS == 0:
            source = lab.source()
        if await in_a_row(lab, policy, account, source, f"{step} {number}", 1):
            return True
    return False


def unsettled(evidence: Evidence) -> list[Finding]:
    """Return INCONCLUSIVE where the circuit was not seen to be closed before the case began."""
    if evidence.facts.get(SETTLED):
        return []
    says = "the circuit was not seen to be closed with nothing on its count, so nothing can be told from there on"
    return [Finding("cb.not_settled", Outcome.INCONCLUSIVE, says)]


def stage_of(policy: CircuitBreakerPolicy, history: History, *parts: Evidence) -> CircuitContext:
    """Return the stage for the judges of a circuit: the history, and every fault of its service in these parts."""
    edges = [edge for part in parts for edge in part.edges]
    ours = tuple(span for span in spans(edges) if span.service == policy.service)
    return CircuitContext(policy, history, ours)


def calls_in(history: History, *prefixes: str, operation: str | None = None) -> Sequence[int]:
    """Return the rows of the workloads that begin with one of the prefixes, in the order in which they were sent."""
    workload = pl.col("workload").cast(pl.String)
    here = pl.any_horizontal(*(workload.str.starts_with(prefix) for prefix in prefixes))
    wanted: Iterable[pl.Expr] = (here,) if operation is None else (here, pl.col("operation") == operation)
    rows = history.rows_where(*wanted)
    return [int(row) for row in rows[np.argsort(history.numbers("sent_ns")[rows], kind="stable")]]

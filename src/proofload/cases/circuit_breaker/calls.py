"""What every case on circuits does: find one that can be broken, make sure it is closed, call it, pick its rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import polars as pl

from proofload.cases.accounts import Account
from proofload.cases.context import CaseContext
from proofload.cases.declared_limits import polite_count
from proofload.cases.fault_control import FAILS, breaking_kind, can_break
from proofload.cases.requirement import Missing, Requirement
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

FAULT_NS = 30 * NS_PER_SECOND
RESTART_NS = 5 * NS_PER_SECOND
SETTLED = "settled"
_PATIENCE_NS = 15 * NS_PER_SECOND
_SAME_ADDRESS = 40
"""At most so many calls come from one address, or fewer: a minute of calls must not run into the rate limit."""


def breakable(target: Target) -> CircuitBreakerPolicy | Missing:
    """Return the first declared circuit whose service can be stopped, and seen to be stopped."""
    if not target.policies.circuit_breaker:
        return Missing("the target declares no circuit breaker (policies.circuit_breaker)")
    return next(
        (one for one in target.policies.circuit_breaker if can_break(target, one.service, *FAILS)),
        Missing(
            "no service with a declared breaker has a way to fail (faults, by a driver that can stop it or answer in "
            "its place) and a health URL (services)"
        ),
    )


CIRCUIT = Requirement(
    "circuit breaker whose service can be made to fail, and be seen to",
    "policies.circuit_breaker, faults, services.<name>.health",
    breakable,
)


def its_service(circuit: CircuitBreakerPolicy) -> tuple[str, ...]:
    """Return the service behind the circuit: what these cases break."""
    return (circuit.service,)


def its_operation(circuit: CircuitBreakerPolicy) -> tuple[str, ...]:
    """Return the operation that calls through the circuit: what these cases use."""
    return (circuit.operation,)


def failing_kind(target: Target, circuit: CircuitBreakerPolicy) -> str:
    """Return how the circuit's service is made to fail, which `CIRCUIT` has seen to be possible."""
    return breaking_kind(target, circuit.service, FAILS) or FAILS[0]


async def spread(
    run: CaseContext, name: str, script: Script, count: int, account: Account, *, fresh_connections: bool = False
) -> None:
    """Run the script so many times, one after the other, from as many addresses as the declared limits ask for.

    What is looked for is what the circuit does: a client that meets its limit on the way would hide it.
    """
    each = polite_count(run.target, count)
    for number, begun in enumerate(range(0, count, each), 1):
        part = run.steps(
            name if number == 1 else f"{name} {number}",
            script,
            min(each, count - begun),
            account=account,
            source=run.source(),
            fresh_connections=fresh_connections,
        )
        await run.run(part)


def call(policy: CircuitBreakerPolicy, count: int) -> Script:
    """Return a script that calls the circuit's operation so many times, and keeps what is answered."""

    async def script(user: User) -> None:
        for _ in range(count):
            await user.request(policy.operation, keep_body=True)

    return script


async def settle(
    run: CaseContext,
    policy: CircuitBreakerPolicy,
    account: Account,
    step: str = "settle",
    *,
    many_workers: bool = False,
) -> None:
    """Call until the circuit is surely closed with no failure on its count, whatever earlier cases left behind.

    Where that can't be had within an open period and some seconds, it is noted, and `unsettled` says so to the judge.
    With `many_workers` a dozen calls more go over fresh connections, so that each worker of the gateway has seen some.
    """
    until_ns = run.clock.now_ns() + policy.open_for * 5 // 4 + _PATIENCE_NS
    step_ns = max(NS_PER_SECOND // 5, min(NS_PER_SECOND, policy.open_for // 20))
    source = run.source()
    for number in range(1, 10_000):
        if number % (polite_count(run.target, _SAME_ADDRESS) // policy.successes + 1) == 0:
            source = run.source()
        if await in_a_row(run, policy, account, source, f"{step} {number}", policy.successes):
            break
        if run.clock.now_ns() > until_ns:
            run.note(SETTLED, False)
            return
        await run.wait_until_ns(run.clock.now_ns() + step_ns, f"the circuit of {policy.service} to close")
    if many_workers:
        await spread(run, f"{step} workers", call(policy, 1), 12, account, fresh_connections=True)
    run.facts.setdefault(SETTLED, True)


async def in_a_row(
    run: CaseContext, policy: CircuitBreakerPolicy, account: Account, source: str | None, step: str, count: int
) -> bool:
    """Call until an answer is no success, `count` times at the most; return whether all were."""
    served: list[bool] = []

    async def script(user: User) -> None:
        for _ in range(count):
            answer: Answer = await user.request(policy.operation, keep_body=True)
            served.append(answer.ok)
            if not answer.ok:
                return

    await run.run(run.steps(step, script, account=account, source=source))
    return len(served) == count and all(served)


async def call_until_served(
    run: CaseContext, policy: CircuitBreakerPolicy, account: Account, step: str, longest_ns: int
) -> bool:
    """Call the open circuit again and again until it lets a call through that succeeds; return whether it did."""
    until_ns = run.clock.now_ns() + longest_ns
    step_ns = max(NS_PER_SECOND // 5, min(NS_PER_SECOND, policy.open_for // 20))
    source = run.source()
    number = 0
    while run.clock.now_ns() < until_ns:
        await run.wait_until_ns(run.clock.now_ns() + step_ns, "the open circuit to let a trial through")
        number += 1
        if number % polite_count(run.target, _SAME_ADDRESS) == 0:
            source = run.source()
        if await in_a_row(run, policy, account, source, f"{step} {number}", 1):
            return True
    return False


def unsettled(evidence: Evidence) -> list[Finding]:
    """Return INCONCLUSIVE where the circuit was not seen to be closed before the case began."""
    if evidence.facts.get(SETTLED):
        return []
    says = "the circuit was not seen to be closed with nothing on its count, so nothing can be told from there on"
    return [Finding("cb.not_settled", Outcome.INCONCLUSIVE, says)]


def circuit_context(policy: CircuitBreakerPolicy, history: History, *parts: Evidence) -> CircuitContext:
    """Return the context for the judges of a circuit: the history, and every fault of its service in these parts."""
    edges = [edge for part in parts for edge in part.edges]
    ours = tuple(span for span in spans(edges) if span.service == policy.service)
    answers = parts[0].answers if parts else None
    return CircuitContext(policy, history, ours, answers=answers, headers_kept=True)


def calls_in(history: History, *prefixes: str, operation: str | None = None) -> Sequence[int]:
    """Return the rows of the workloads that begin with one of the prefixes, in the order in which they were sent."""
    workload = pl.col("workload").cast(pl.String)
    here = pl.any_horizontal(*(workload.str.starts_with(prefix) for prefix in prefixes))
    wanted: Iterable[pl.Expr] = (here,) if operation is None else (here, pl.col("operation") == operation)
    rows = history.rows_where(*wanted)
    return [int(row) for row in rows[np.argsort(history.numbers("sent_ns")[rows], kind="stable")]]

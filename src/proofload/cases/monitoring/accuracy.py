"""TC-MON: whether the metrics count what really happened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import polars as pl

from proofload.cases.case import Category, Priority, case
from proofload.cases.context import CaseContext
from proofload.cases.declared_limits import allowance, gateway_limit
from proofload.cases.evidence_rows import delivered
from proofload.cases.metrics_and_audit import AT_SERVER, METRICS_PAGE, partly_anew, routes_of
from proofload.cases.monitoring.counts import COUNTABLE, beyond, ids_of, sending, totals_of
from proofload.cases.reads import guarded, without_token
from proofload.cases.workloads import once
from proofload.core.units import NS_PER_SECOND
from proofload.drive.user import User
from proofload.judge.evidence import Evidence
from proofload.judge.reconcile import Foreign, judge_histogram, judge_metrics
from proofload.judge.reconcile.labels import fit_labels
from proofload.judge.verdict import Finding
from proofload.plan.operation import Operation
from proofload.plan.policies import LockPolicy, MetricsPolicy
from proofload.plan.target import Target
from proofload.plan.workload import Script
from proofload.record.ledger import Reading

_CLIENTS = 6
_EACH = 30
_BURSTS = 3
_SETTLES_NS = NS_PER_SECOND + NS_PER_SECOND // 10
"""A target may count after it has answered; what is read later than this has been counted."""


COUNTED_READS = METRICS_PAGE & COUNTABLE


@case(
    "TC-MON-001",
    "Prometheus metrics accuracy",
    Category.MONITORING,
    Priority.MEDIUM,
    phase=4,
    requires=COUNTED_READS,
    uses=lambda _: (),
    takes=6 * NS_PER_SECOND,
    spends=True,
)
async def accuracy(run: CaseContext, found: tuple[MetricsPolicy, list[str]]) -> None:
    """The counters count every request once, under the route, method and status that it really had.

    Sends: reads by several clients, each operation another number of times and routes with a parameter with two
        ids, a third of them over new connections; requests without a token, requests beyond the limit, and
        operations that meet a held lock, while no other case sends, between two readings of the raw counters
    Passes when: each counter rose by exactly the number of answers that the clients got, and the histogram of
        durations observed each once, none of them slower than its client saw; no label holds a raw path
    Reading FAIL: the finding names the series, what was answered and what was counted
    Least evidence: 100 answers surely between the two readings
    """
    _, names = found
    accounts = await run.accounts(_CLIENTS)
    policy = gateway_limit(run.target)
    denied = guarded(run.target)
    also = {policy.probe: allowance(policy)} if policy is not None else {}
    totals = totals_of(run.target, names, _CLIENTS, also)
    user_names = [account.name for account in accounts]
    run.note("ids", {name: ids for name in names if (ids := ids_of(run.target.operations[name], user_names))})
    lock = contended(run.target)
    async with run.undisturbed(*names, *([lock.operation] if lock else [])), run.exclusive():
        run.doing("reading the metrics")
        await run.readings.services("quiet")
        await run.wait_until_ns(run.clock.now_ns() + NS_PER_SECOND, "what others send, before we send anything")
        await run.readings.services("before")
        await run.readings.prometheus("before")
        run.doing("sending a known number of requests")
        for name in names:
            script = sending(run.target.operations[name], totals[name], _CLIENTS)
            await run.run(
                run.crowd(f"served {name}", script, _CLIENTS, 1, accounts=accounts, sources=run.sources(_CLIENTS))
            )
        if denied is not None:
            await run.run(run.steps("unauthorised", _without_token(run.target.operations[denied]), source=run.source()))
        if policy is not None:
            account, size = accounts[0], allowance(policy)
            over = beyond(size, sum(totals.values()))
            await run.run(
                run.steps("limited", partly_anew(policy.probe), size + over, account=account, source=run.source())
            )
        if lock is not None:
            # Errors of the server's own class that nothing need be broken for: a user who meets a held lock.
            crowd = max(lock.concurrency, _CLIENTS)
            for i in range(1, _BURSTS + 1):
                step = f"contending {i}"
                await run.run(run.burst(step, once(lock.operation), crowd, account=accounts[0], source=run.source()))
        await run.wait_until_ns(run.clock.now_ns() + _SETTLES_NS, "the last counts to be written")
        await run.readings.services("after")
        await run.readings.prometheus("after")


def contended(target: Target) -> LockPolicy | None:
    """Return a lock whose refusals are errors of the server (5xx), and that no money is needed for."""
    found = (one for one in target.policies.locks if one.kind == "deposit" and one.on_contention == "reject")
    return next((one for one in found if one.status >= 500), None)


@accuracy.judge
def judge_accuracy(evidence: Evidence, found: tuple[MetricsPolicy, list[str]]) -> list[Finding]:
    """TC-MON-001: every request that was answered is counted once, under its route, method and status."""
    policy, _ = found
    labelled = [evidence.ledgers.reading(label, "gateway") for label in ("quiet", "before", "after")]
    readings = [reading for reading in labelled if reading is not None]
    if len(readings) < len(labelled):
        return judge_metrics(policy, evidence.history, readings, operations={})
    quiet, before, after = readings
    foreign = Foreign(exclusive=policy.exclusive, quiet=(quiet, before))
    findings = [
        *_compared(evidence, policy, [before, after], foreign),
        *_timed(evidence, policy, before, after),
        *_by_server(evidence, policy, foreign),
    ]
    return delivered(evidence, findings)


def _timed(evidence: Evidence, policy: MetricsPolicy, before: Reading, after: Reading) -> list[Finding]:
    """Return whether the histogram of durations observed each answer once, in seconds, operation by operation."""
    if policy.durations is None:
        return []
    findings: list[Finding] = []
    # As the counter calls them: where nothing is declared, frameworks have names of their own for both.
    routes = [route.route for route in routes_of(evidence.target).values()]
    fitted = {**policy.labels, **fit_labels([before, after], policy, policy.only, routes).names}
    labels = {name: fitted[name] for name in ("route", "method") if name in fitted}
    operation = evidence.history.frame["operation"].cast(pl.String)
    for name in sorted(operation.unique().drop_nulls().to_list()):
        declared = evidence.target.operations.get(name)
        if declared is None:
            continue
        values = {"route": declared.counted_as, "method": declared.method}
        where = {**policy.only, **{label: values[what] for what, label in labels.items()}}
        rows = np.flatnonzero((operation == name).to_numpy())
        timed = judge_histogram(
            *(policy.durations, evidence.history, before, after),
            rows=rows,
            where=where,
            exclusive=policy.exclusive,
            error_bound=policy.error_bound,
        )
        findings += [replace(one, says=f"{name}: {one.says}") for one in timed]
    return findings


def _compared(
    evidence: Evidence, policy: MetricsPolicy, readings: Sequence[Reading], foreign: Foreign
) -> list[Finding]:
    return judge_metrics(
        policy,
        evidence.history,
        readings,
        operations=routes_of(evidence.target),
        where=policy.only,
        foreign=foreign,
        uncounted_routes=policy.uncounted,
        sent_ids=evidence.facts.get("ids", {}),
        tell_apart=True,
    )


def _by_server(evidence: Evidence, policy: MetricsPolicy, foreign: Foreign) -> list[Finding]:
    """Return the same comparison with what the Prometheus server holds; none where no server was asked."""
    found = [evidence.ledgers.reading(label, "prometheus") for label in ("before", "after")]
    readings = [reading for reading in found if reading is not None]
    if not readings:
        return []
    found_there = [
        *_compared(evidence, policy, readings, foreign),
        *_timed(evidence, policy, readings[0], readings[-1]),
    ]
    return [replace(finding, says=f"{AT_SERVER}{finding.says}") for finding in found_there]


def times_each(target: Target, names: Sequence[str]) -> int:
    """Return how often one client may send each of these, and use up no more than half of its allowance."""
    policy = gateway_limit(target)
    return min(_EACH, allowance(policy) // (2 * len(names)) or 1) if policy else _EACH


def _without_token(operation: Operation) -> Script:
    async def script(user: User) -> None:
        for number in range(_EACH):
            if number % 3 == 2:
                user.reconnect()
            await without_token(user, operation)

    return script

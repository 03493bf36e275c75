"""TC-MON: whether the metrics count what really happened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import polars as pl

from proofload.cases.case import Case, Category, Priority
from proofload.cases.context import Lab
from proofload.cases.declared_limits import allowance, gateway_limit
from proofload.cases.lock.contention import once
from proofload.cases.metrics_and_audit import AT_SERVER, missing_metrics, routes_of
from proofload.cases.monitoring import freshness as monitoring_freshness
from proofload.cases.monitoring import log_pipeline as monitoring_logs
from proofload.cases.monitoring import overhead
from proofload.cases.monitoring import restart as monitoring_restart
from proofload.core.units import NS_PER_SECOND
from proofload.drive.user import User
from proofload.judge.delivery import judge_delivery, rest_on
from proofload.judge.evidence import Evidence
from proofload.judge.reconcile import Foreign, judge_histogram, judge_metrics
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


def missing(target: Target) -> str:
    """Return why the metrics can't be compared, or nothing."""
    if reason := missing_metrics(target):
        return reason
    return "" if repeatable(target) else "the target declares no operation that can be repeated without effect"


async def drive_accuracy(lab: Lab) -> None:
    """Send a known mix of answers (served, unauthorised, unknown, limited) in silence, between two readings."""
    names = repeatable(lab.target)
    accounts = await lab.accounts(_CLIENTS)
    policy = gateway_limit(lab.target)
    each = times_each(lab.target, names)
    lock = contended(lab.target)
    async with lab.using(*names, *([lock.operation] if lock else [])), lab.silence():
        lab.doing("reading the metrics")
        await lab.read_services("quiet")
        await lab.wait_until_ns(lab.clock.now_ns() + NS_PER_SECOND, "what others send, before we send anything")
        await lab.read_services("before")
        await lab.read_prometheus("before")
        lab.doing("sending a known number of requests")
        for name in names:
            await lab.run(
                lab.crowd(f"served {name}", name, _CLIENTS, each, accounts=accounts, sources=lab.sources(_CLIENTS))
            )
        guarded = next((name for name in names if lab.target.operations[name].auth == "bearer"), None)
        if guarded is not None:
            await lab.run(
                lab.steps("unauthorised", _without_token(lab.target.operations[guarded]), source=lab.source())
            )
        if policy is not None:
            account, size = accounts[0], allowance(policy)
            over = max(20, size // 5)
            await lab.run(lab.steps("limited", policy.probe, size + over, account=account, source=lab.source()))
        if lock is not None:
            # Errors of the server's own class that nothing need be broken for: a user who meets a held lock.
            crowd = max(lock.concurrency, _CLIENTS)
            for i in range(1, _BURSTS + 1):
                step = f"contending {i}"
                await lab.run(lab.burst(step, once(lock.operation), crowd, account=accounts[0], source=lab.source()))
        await lab.wait_until_ns(lab.clock.now_ns() + _SETTLES_NS, "the last counts to be written")
        await lab.read_services("after")
        await lab.read_prometheus("after")


def contended(target: Target) -> LockPolicy | None:
    """Return a lock whose refusals are errors of the server (5xx), and that no money is needed for."""
    found = (one for one in target.policies.locks if one.kind == "deposit" and one.on_contention == "reject")
    return next((one for one in found if one.status >= 500), None)


def judge_accuracy(evidence: Evidence) -> list[Finding]:
    """TC-MON-001: every request that was answered is counted once, under its route, method and status."""
    policy = evidence.target.policies.metrics
    assert policy is not None
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
    delivered = [one for one in judge_delivery(evidence.history) if one.rule != "delivery.send_lag"]
    return [*rest_on(findings, delivered), *delivered]


def _timed(evidence: Evidence, policy: MetricsPolicy, before: Reading, after: Reading) -> list[Finding]:
    """Return whether the histogram of durations observed each answer once, in seconds, operation by operation."""
    if policy.durations is None:
        return []
    found: list[Finding] = []
    labels = {name: policy.labels[name] for name in ("route", "method") if name in policy.labels}
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
        found += [replace(one, says=f"{name}: {one.says}") for one in timed]
    return found


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


def repeatable(target: Target) -> list[str]:
    """Return the operations that may be repeated at will: reads without effect and without open fields."""
    return sorted(
        name
        for name, operation in target.operations.items()
        if operation.effect == "none" and operation.method == "GET" and "${" not in operation.path
    )


def times_each(target: Target, names: Sequence[str]) -> int:
    """Return how often one client may send each of these, and use up no more than half of its allowance."""
    policy = gateway_limit(target)
    return min(_EACH, allowance(policy) // (2 * len(names)) or 1) if policy else _EACH


def _without_token(operation: Operation) -> Script:
    async def script(user: User) -> None:
        for _ in range(_EACH):
            await user.get(operation.path, name=operation.name)

    return script


CASES = (
    Case(
        id="TC-MON-001",
        title="Prometheus metrics accuracy",
        category=Category.MONITORING,
        priority=Priority.MEDIUM,
        phase=4,
        purpose="The counters count every request once, under the route, method and status that it really had.",
        sends="a known number of reads by several clients, requests without a token, requests beyond the limit, and "
        "operations that meet a held lock, in silence, between two readings of the raw counters",
        passes_when="each counter rose by exactly the number of answers that the clients got, and the histogram of "
        "durations observed each once, none of them slower than its client saw",
        read_fail="the finding names the series, what was answered and what was counted",
        least_evidence="100 answers surely between the two readings",
        needs=("policies.metrics.url",),
        missing=missing,
        expected_ns=lambda _: 6 * NS_PER_SECOND,
        drive=drive_accuracy,
        judge=judge_accuracy,
    ),
    *monitoring_freshness.CASES,
    *monitoring_logs.CASES,
    *overhead.METRICS_CASES,
    *monitoring_restart.CASES,
)

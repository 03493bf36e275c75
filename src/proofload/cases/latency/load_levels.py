"""TC-LATENCY-002 and -003: how latency goes with load, and what the gateway adds to that of its services."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from proofload.cases.accounts import Account
from proofload.cases.case import Category, Priority, case
from proofload.cases.context import CaseContext
from proofload.cases.declared_limits import polite_count
from proofload.cases.evidence_rows import delivered, rows_of, steps_of
from proofload.cases.reads import READS, reads
from proofload.cases.requirement import Missing, Requirement
from proofload.cases.target_readings import GATEWAY
from proofload.core.units import NS_PER_SECOND, format_duration
from proofload.judge.delivery import judge_delivery, rest_on
from proofload.judge.evidence import Evidence
from proofload.judge.latency import Samples, gather, judge_latency, percentiles_of
from proofload.judge.reconcile.routing import Passage, judge_routing
from proofload.judge.verdict import Finding, Outcome, held
from proofload.plan.policies import LatencyPolicy, MetricsPolicy
from proofload.plan.target import Target
from proofload.plan.workload import ConstantRate
from proofload.record.exchange import Ending

_LEVEL, _ROUTE = "level ", "route "
_LEVEL_NS = 4 * NS_PER_SECOND
_P90 = 900
_LEAST_FOR_P90 = 36
_CLIENTS = 6
_EACH = 60
_SETTLES_NS = NS_PER_SECOND
_BOUND, _GROWS = "lat.over_bound", "lat.grows_with_time"


def _timed(target: Target) -> dict[str, str] | Missing:
    policy = target.policies.metrics
    if policy is None or policy.url is None or policy.durations is None:
        return Missing("the target declares no histogram of request durations (policies.metrics.url, .durations)")
    found = reads(target)
    if not any(service in target.services and target.services[service].metrics for service in found):
        return Missing("no service with a read declares a metrics page of its own (services.<name>.metrics)")
    return found


def _loaded(target: Target) -> tuple[LatencyPolicy, dict[str, str]] | Missing:
    found = READS.find(target)
    return found if isinstance(found, Missing) else (_policy(target), found)


TIMED_READS = Requirement(
    "histogram of durations at the gateway, and a service with a metrics page",
    "policies.metrics.durations, services.<name>.metrics",
    _timed,
)
LOADED_READS = Requirement("read of a service", READS.declare, _loaded)


@case(
    "TC-LATENCY-002",
    "Latency at several loads",
    Category.LATENCY,
    Priority.MEDIUM,
    phase=8,
    requires=LOADED_READS,
    uses=lambda _: (),
    takes=lambda found: len(found[0].levels) * (_LEVEL_NS + NS_PER_SECOND) + 2 * NS_PER_SECOND,
)
async def levels(run: CaseContext, found: tuple[LatencyPolicy, dict[str, str]]) -> None:
    """It is known how response times go with load: at ease, moderate, high.

    Sends: a read of every service side by side at each declared load (policies.latency.levels), as an open
        load, while no other case sends
    Passes when: P90 and P99 could be told at each load, promised bounds hold at all of them, and at none does
        latency grow with time
    Reading FAIL: the finding names the operation, and the load at which it breaks its promise or grows
    Least evidence: 36 answers an operation and load
    """
    accounts = await run.accounts(_CLIENTS)
    policy, found_reads = found
    async with run.undisturbed(*found_reads.values()), run.exclusive():
        for rate in policy.levels:
            run.doing(f"reading every service {rate} times a second")
            await run.run(*(_level(run, accounts, rate, operation) for operation in found_reads.values()))


def _level(run: CaseContext, accounts: Sequence[Account], rate: int, operation: str) -> ConstantRate:
    many = math.ceil(rate * _LEVEL_NS / NS_PER_SECOND)
    clients = max(_CLIENTS, math.ceil(many / polite_count(run.target, many)))
    return ConstantRate(
        name=run.step(f"{_LEVEL}{rate} {operation}"),
        run=operation,
        rate=rate,
        for_ns=_LEVEL_NS,
        # An address for each who may have to step in, or some would be spent twice.
        sources=tuple(run.target.sources or run.sources(clients + rate)),
        identities=tuple(account.identity() for account in accounts),
        max_users=clients + rate,
        warm_users=clients,
    )


@levels.judge
def judge_levels(evidence: Evidence, found: tuple[LatencyPolicy, dict[str, str]]) -> list[Finding]:
    """TC-LATENCY-002: P90 at each load; promised bounds hold at all of them, and no load makes latency grow."""
    policy, _ = found
    told: dict[str, list[tuple[int, Samples]]] = {}
    findings: list[Finding] = []
    for rate in policy.levels:
        steps = steps_of(evidence, f"{_LEVEL}{rate} ")
        rows = rows_of(evidence, *steps) if steps else np.zeros(0, dtype=np.int64)
        for samples in gather(evidence.history, rows=rows) if len(rows) else ():
            told.setdefault(samples.name, []).append((rate, samples))
        bounds = policy.model_copy(update={"operations": ()})
        judged = judge_latency(bounds, evidence.history, rows=rows) if len(rows) else []
        # Growth shows at the highest load, or nowhere.
        findings += [one for one in judged if one.rule == _BOUND or (one.rule == _GROWS and rate == max(policy.levels))]
    findings += [_compared(name, policy.levels, samples) for name, samples in sorted(told.items())]
    if not told:
        findings.append(held("lat.under_load", "no load was offered", examined=0))
    delivery = judge_delivery(evidence.history)
    return [*rest_on(findings, delivery, fail_survives=False), *delivery]


def _compared(name: str, levels: Sequence[int], found: Sequence[tuple[int, Samples]]) -> Finding:
    figures: dict[str, int | float | str] = {"of": name}
    lines, failed = [], 0
    for rate, samples in found:
        failed += samples.failed + samples.unanswered
        at = percentiles_of(samples)
        if at:
            figures[f"p90_at_{rate}_ns"], figures[f"p99_at_{rate}_ns"] = at[_P90].value_ns, at[990].value_ns
            lines.append(f"{format_duration(at[_P90].value_ns)} at {rate} a second")
    least = min((len(samples) for _, samples in found), default=0)
    total = sum(len(samples) + samples.failed for _, samples in found)
    if failed * 100 > total:
        says = f"{name}: {failed} of {total} requests failed, so the latency of the others is not that of the service"
        return Finding("lat.under_load", Outcome.INCONCLUSIVE, says, total, figures=figures)
    if len(found) < len(levels):
        least = 0
    says = f"{name}: p90 {', '.join(lines)}"
    return held("lat.under_load", says, examined=least, needed=_LEAST_FOR_P90, **figures)


@case(
    "TC-LATENCY-003",
    "Overhead of routing",
    Category.LATENCY,
    Priority.MEDIUM,
    phase=8,
    requires=TIMED_READS,
    uses=lambda _: (),
    takes=6 * NS_PER_SECOND,
)
async def routing(run: CaseContext, found: dict[str, str]) -> None:
    """It is known what the gateway adds to the time of its services.

    Sends: a read of each service by 6 users, in silence, between two readings of the histograms of the gateway
        and of the service
    Passes when: both histograms hold exactly these requests, and what the gateway adds in the mean is within
        what is promised, where it is (policies.latency.routing_within)
    Reading FAIL: the finding names the operation, with both sides' mean, P90 and P99
    Least evidence: 100 requests an operation, in both histograms
    """
    accounts = await run.accounts(_CLIENTS)
    async with run.undisturbed(*found.values()), run.exclusive():
        await run.readings.services("before")
        for operation in found.values():
            run.doing(f"reading {operation} through the gateway")
            each, sources = polite_count(run.target, _EACH), run.sources(_CLIENTS)
            step = f"{_ROUTE}{operation}"
            await run.run(run.crowd(step, operation, _CLIENTS, each, accounts=accounts, sources=sources))
        await run.wait_until_ns(run.clock.now_ns() + _SETTLES_NS, "the last durations to be written")
        await run.readings.services("after")


@routing.judge
def judge_overhead(evidence: Evidence, found: dict[str, str]) -> list[Finding]:
    """TC-LATENCY-003: what the gateway adds in the mean is known, and within what is promised."""
    policy, latency = _metrics(evidence.target), _policy(evidence.target)
    assert policy.durations is not None
    findings = []
    for service, operation in reads(evidence.target).items():
        declared = evidence.target.services.get(service)
        if declared is None or declared.metrics is None:
            continue
        one = evidence.target.operations[operation]
        labels = {"route": one.counted_as, "method": one.method}
        named = tuple((policy.labels.get(name, name), value) for name, value in labels.items())
        rows = rows_of(evidence, f"{_ROUTE}{operation}")
        answered = int(np.count_nonzero(evidence.history.numbers("ending")[rows] == Ending.ANSWERED))
        passage = Passage(operation, service, named, answered)
        findings.append(
            judge_routing(
                evidence.ledgers, policy.durations, passage, gateway=GATEWAY, promised_ns=latency.routing_within
            )
        )
    return delivered(evidence, findings)


def _policy(target: Target) -> LatencyPolicy:
    return target.policies.latency or LatencyPolicy()


def _metrics(target: Target) -> MetricsPolicy:
    policy = target.policies.metrics
    assert policy is not None
    return policy

"""TC-LATENCY-002 and -003: how latency goes with load, and what the gateway adds to that of its services."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from proofload.cases.accounts import Account
from proofload.cases.case import Case, Category, Priority
from proofload.cases.context import Lab
from proofload.cases.declared_limits import polite_count
from proofload.cases.evidence_rows import rows_of, steps_of
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
GATEWAY = "gateway"


def reads(target: Target) -> dict[str, str]:
    """Return a read of each service that may be repeated at will, by service."""
    found: dict[str, str] = {}
    for name, one in sorted(target.operations.items()):
        if one.service and one.effect == "none" and one.method == "GET" and not one.accept and "${" not in one.path:
            found.setdefault(one.service, name)
    return found


def missing_levels(target: Target) -> str:
    """Return why no loads can be compared, or nothing."""
    return "" if reads(target) else "the target declares no read of a service (operations.<name>.service)"


def missing_routing(target: Target) -> str:
    """Return why the gateway's own share can't be told, or nothing."""
    policy = target.policies.metrics
    if policy is None or policy.url is None or policy.durations is None:
        return "the target declares no histogram of request durations (policies.metrics.url, .durations)"
    if not any(service in target.services and target.services[service].metrics for service in reads(target)):
        return "no service with a read declares a metrics page of its own (services.<name>.metrics)"
    return ""


async def drive_levels(lab: Lab) -> None:
    """Read every service side by side at one load after the other, while nothing else is sent."""
    accounts = await lab.accounts(_CLIENTS)
    found = reads(lab.target)
    async with lab.using(*found.values()), lab.silence():
        for rate in _policy(lab.target).levels:
            lab.doing(f"reading every service {rate} times a second")
            await lab.run(*(_level(lab, accounts, rate, operation) for operation in found.values()))


def _level(lab: Lab, accounts: Sequence[Account], rate: int, operation: str) -> ConstantRate:
    many = math.ceil(rate * _LEVEL_NS / NS_PER_SECOND)
    clients = max(_CLIENTS, math.ceil(many / polite_count(lab.target, many)))
    return ConstantRate(
        name=lab.step(f"{_LEVEL}{rate} {operation}"),
        run=operation,
        rate=rate,
        for_ns=_LEVEL_NS,
        # An address for each who may have to step in, or some would be spent twice.
        sources=tuple(lab.target.sources or lab.sources(clients + rate)),
        identities=tuple(account.identity() for account in accounts),
        max_users=clients + rate,
        warm_users=clients,
    )


def judge_levels(evidence: Evidence) -> list[Finding]:
    """TC-LATENCY-002: P90 at each load; promised bounds hold at all of them, and no load makes latency grow."""
    policy = _policy(evidence.target)
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
    findings += [_compared(name, policy.levels, found) for name, found in sorted(told.items())]
    if not told:
        findings.append(held("lat.under_load", "no load was offered", examined=0))
    delivered = judge_delivery(evidence.history)
    return [*rest_on(findings, delivered, fail_survives=False), *delivered]


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


async def drive_routing(lab: Lab) -> None:
    """Read each service through the gateway, in silence, between two readings of both sides' histograms."""
    accounts = await lab.accounts(_CLIENTS)
    found = reads(lab.target)
    async with lab.using(*found.values()), lab.silence():
        await lab.read_services("before")
        for operation in found.values():
            lab.doing(f"reading {operation} through the gateway")
            each, sources = polite_count(lab.target, _EACH), lab.sources(_CLIENTS)
            step = f"{_ROUTE}{operation}"
            await lab.run(lab.crowd(step, operation, _CLIENTS, each, accounts=accounts, sources=sources))
        await lab.wait_until_ns(lab.clock.now_ns() + _SETTLES_NS, "the last durations to be written")
        await lab.read_services("after")


def judge_overhead(evidence: Evidence) -> list[Finding]:
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
    delivered = [one for one in judge_delivery(evidence.history) if one.rule != "delivery.send_lag"]
    return [*rest_on(findings, delivered), *delivered]


def _policy(target: Target) -> LatencyPolicy:
    return target.policies.latency or LatencyPolicy()


def _metrics(target: Target) -> MetricsPolicy:
    policy = target.policies.metrics
    assert policy is not None
    return policy


CASES = (
    Case(
        id="TC-LATENCY-002",
        title="Latency at several loads",
        category=Category.LATENCY,
        priority=Priority.MEDIUM,
        phase=8,
        purpose="It is known how response times go with load: at ease, moderate, high.",
        sends="a read of every service side by side at each declared load (policies.latency.levels), as an open load, "
        "in silence",
        passes_when="P90 and P99 could be told at each load, promised bounds hold at all of them, and at none does "
        "latency grow with time",
        read_fail="the finding names the operation, and the load at which it breaks its promise or grows",
        least_evidence=f"{_LEAST_FOR_P90} answers an operation and load",
        needs=("operations.<name>.service",),
        missing=missing_levels,
        expected_ns=lambda target: len(_policy(target).levels) * (_LEVEL_NS + NS_PER_SECOND) + 2 * NS_PER_SECOND,
        drive=drive_levels,
        judge=judge_levels,
    ),
    Case(
        id="TC-LATENCY-003",
        title="Overhead of routing",
        category=Category.LATENCY,
        priority=Priority.MEDIUM,
        phase=8,
        purpose="It is known what the gateway adds to the time of its services.",
        sends=f"a read of each service by {_CLIENTS} users, in silence, between two readings of the histograms of the "
        "gateway and of the service",
        passes_when="both histograms hold exactly these requests, and what the gateway adds in the mean is within what "
        "is promised, where it is (policies.latency.routing_within)",
        read_fail="the finding names the operation, with both sides' mean, P90 and P99",
        least_evidence="100 requests an operation, in both histograms",
        needs=("policies.metrics.durations", "services.<name>.metrics"),
        missing=missing_routing,
        expected_ns=lambda _: 6 * NS_PER_SECOND,
        drive=drive_routing,
        judge=judge_overhead,
    ),
)

"""TC-LATENCY: how long answers take, for every service and operation."""

from __future__ import annotations

import numpy as np

from proofload.cases.case import Category, Priority, case
from proofload.cases.context import CaseContext
from proofload.cases.declared_limits import polite_count
from proofload.cases.isolation import service_of
from proofload.cases.requirement import Missing, Requirement
from proofload.core.units import NS_PER_SECOND
from proofload.judge.delivery import judge_delivery, rest_on
from proofload.judge.evidence import Evidence
from proofload.judge.latency import LatencyBounds, Samples, gather, judge_latency, judge_slow_few, samples_needed
from proofload.judge.latency.delayed_ack import judge_delayed_ack
from proofload.judge.verdict import Finding, Outcome, held
from proofload.plan.policies import LatencyPolicy
from proofload.plan.target import Target

_CLIENTS = 6
"""Side by side: few enough that the machine itself is not what is measured."""
_P99 = 990
_PATIENCE_NS = 60 * NS_PER_SECOND
"""A target that grows ever slower would keep us for ever: what is not begun by then is not measured."""
_UNMEASURED = "unmeasured"
_SLOW_FEW = "lat.slow_one_percent"
_EVEN_NS, _FAR_NS = 40_000_000, 320_000_000
"""Taken for even, and for slow beyond the median: far more than the unrest of a loaded machine."""


def measured(target: Target) -> list[str]:
    """Return the operations to measure: those declared, else every one that has no lasting effect."""
    declared = target.policies.latency.operations if target.policies.latency else ()
    return list(declared) or sorted(name for name, one in target.operations.items() if one.effect == "none")


def _measured(target: Target) -> list[str] | Missing:
    return measured(target) or Missing("the target declares no operation without lasting effect (policies.latency)")


MEASURED = Requirement(
    "operation to measure", "policies.latency.operations, or operations without lasting effect", _measured
)


@case(
    "TC-LATENCY-001",
    "P90/P99 latency measurement",
    Category.LATENCY,
    Priority.MEDIUM,
    phase=8,
    requires=MEASURED,
    uses=lambda _: (),
    takes=20 * NS_PER_SECOND,
)
async def percentiles(run: CaseContext, operations: list[str]) -> None:
    """The response times of every service and operation are known, with their confidence.

    Sends: each operation at least 368 times by 6 users of their own, while no other case sends
    Passes when: P50 to P99 of each operation and service could be told with confidence, and no promised bound
        or shape (periodic stalls, growth, a slow hundredth) is broken
    Reading FAIL: the finding names the operation, its percentile with the confidence interval, and the slowest
        rows
    Least evidence: 368 answers an operation
    """
    accounts = await run.accounts(_CLIENTS)
    wanted = -(-samples_needed(_P99) // _CLIENTS) + 1
    each = polite_count(run.target, wanted)
    rounds = -(-wanted // each)
    spent_ns = 0
    for name in operations:
        # What was spent waiting for other cases does not count: that says nothing of the target.
        if spent_ns > _PATIENCE_NS:
            run.facts.setdefault(_UNMEASURED, []).append(name)
            continue
        async with run.undisturbed(name), run.exclusive():
            run.doing(f"measuring {name}")
            began_ns = run.clock.now_ns()
            for i in range(rounds):
                step = name if i == 0 else f"{name} {i + 1}"
                await run.run(run.crowd(step, name, _CLIENTS, each, accounts=accounts, sources=run.sources(_CLIENTS)))
            spent_ns += run.clock.now_ns() - began_ns


@percentiles.judge
def judge_percentiles(evidence: Evidence, _operations: list[str]) -> list[Finding]:
    """TC-LATENCY-001: P90 and P99 of every service and operation, with confidence; bounds where they are promised."""
    policy = evidence.target.policies.latency or LatencyPolicy()
    services = {name: service for name in evidence.target.operations if (service := service_of(evidence.target, name))}
    findings = judge_latency(policy, evidence.history, services=services)
    findings.append(_slow_few(policy, evidence))
    delayed = judge_delayed_ack(evidence.history)
    # Too few requests for this are too few for the percentiles, which say so.
    findings += [delayed] if delayed.outcome is not Outcome.INCONCLUSIVE else []
    for name in evidence.facts.get(_UNMEASURED, ()):
        says = f"{name}: not measured, for the operations before it took too long"
        findings.append(held("lat.percentiles", says, examined=0, needed=samples_needed(_P99)))
    delivered = judge_delivery(evidence.history)
    own = [
        Finding("delivery.bottleneck", Outcome.INCONCLUSIVE, "; ".join(one.reasons) or "the generator was the limit")
        for one in evidence.deliveries
        if one.bottleneck
    ]
    return [*rest_on(findings, [*delivered, *own], fail_survives=False), *delivered, *own]


def _slow_few(policy: LatencyPolicy, evidence: Evidence) -> Finding:
    """Return whether one request in a hundred is slow, over all operations: of one alone there are too few to see it.

    Each counts by what it took beyond the median of its own operation.
    """
    groups = [one for one in gather(evidence.history) if not policy.operations or one.name in policy.operations]
    groups = [one for one in groups if len(one) and _is_even(one)]
    if not groups:
        # Nothing is to be had from these here: each operation was asked the same by itself.
        return Finding(_SLOW_FEW, Outcome.SKIPPED, "no operation takes so even a time that a slow few would stand out")
    usual = min(int(np.median(one.response_ns)) for one in groups)
    beyond = [np.maximum(one.response_ns - int(np.median(one.response_ns)), 0) + usual for one in groups]
    due = np.concatenate([one.due_ns for one in groups])
    order = np.argsort(due, kind="stable")
    together = Samples(
        f"{len(groups)} operations together, beyond the median of each",
        np.concatenate([one.rows for one in groups])[order],
        due[order],
        np.concatenate(beyond)[order],
        np.concatenate([one.answered for one in groups])[order],
        0,
    )
    return judge_slow_few(together, LatencyBounds(slow_factor=1, slow_least_ns=_FAR_NS))


def _is_even(samples: Samples) -> bool:
    """Return whether nine of ten requests take about the same time: what is hard work for the machine never does."""
    nine_of_ten, half = np.percentile(samples.response_ns, (90, 50))
    return bool(nine_of_ten - half <= _EVEN_NS)

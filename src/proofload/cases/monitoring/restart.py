"""TC-MON-005: what was counted outlives a restart of the gateway, where that is promised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from proofload.cases.case import Category, Priority, case
from proofload.cases.context import CaseContext
from proofload.cases.declared_limits import polite_count
from proofload.cases.evidence_rows import delivered
from proofload.cases.latency.stalls import RESTARTABLE_GATEWAY
from proofload.cases.metrics_and_audit import AT_SERVER, METRICS_PAGE, routes_of
from proofload.cases.requirement import Missing, Requirement
from proofload.cases.target_readings import GATEWAY
from proofload.core.units import NS_PER_SECOND
from proofload.judge.evidence import Evidence
from proofload.judge.reconcile import Foreign, judge_metrics
from proofload.judge.verdict import Finding, Outcome
from proofload.plan.policies import MetricsPolicy
from proofload.plan.target import Target
from proofload.record.fault_edge import FaultSpan, spans

_CLIENTS, _EACH = 3, 25
_LEASE_NS = 20 * NS_PER_SECOND
_SETTLES_NS = NS_PER_SECOND + NS_PER_SECOND // 10
_LABELS = ("before", "between", "after")
_COUNTED = ("mon.not_monotonic", "mon.missing", "mon.altered", "mon.labels")


@dataclass(frozen=True, slots=True)
class LastingCounts:
    """Metrics that outlive a restart of the gateway, its service, and a read to be counted."""

    metrics: MetricsPolicy
    gateway: str
    read: str


def _lasting(target: Target) -> LastingCounts | Missing:
    metrics, restartable = METRICS_PAGE.find(target), RESTARTABLE_GATEWAY.find(target)
    if isinstance(metrics, Missing):
        return metrics
    if not metrics.survives_restart:
        return Missing("the target does not promise that counts outlive a restart (policies.metrics.survives_restart)")
    return restartable if isinstance(restartable, Missing) else LastingCounts(metrics, *restartable)


LASTING_COUNTS = Requirement(
    "counts that outlive a restart of the gateway",
    "policies.metrics.survives_restart, faults.<gateway>, services.<gateway>.health",
    _lasting,
)


@case(
    "TC-MON-005",
    "Counts over a restart",
    Category.MONITORING,
    Priority.MEDIUM,
    phase=4,
    requires=LASTING_COUNTS,
    breaks=lambda found: (found.gateway,),
    takes=10 * NS_PER_SECOND,
    alone=True,
)
async def restart(run: CaseContext, found: LastingCounts) -> None:
    """A deployment takes nothing back of what was counted, where that is promised.

    Sends: reads by several clients, before and after the gateway was stopped and started, while no other case sends
    Passes when: no counter fell, and every answer on both sides of the restart was counted
    Reading FAIL: the finding names the counters that fell, or the answers that are missing
    Least evidence: a restart that was seen by a probe, and a few answers on both sides of it
    """
    name = found.read
    accounts = await run.accounts(_CLIENTS)
    each = polite_count(run.target, _EACH, operations=[name])
    async with run.exclusive():
        await _read(run, _LABELS[0])
        await run.run(run.crowd("first", name, _CLIENTS, each, accounts=accounts, sources=run.sources(_CLIENTS)))
        await run.wait_until_ns(run.clock.now_ns() + _SETTLES_NS, "the last counts to be written")
        await _read(run, _LABELS[1])
        async with run.fault(found.gateway, "stop", _LEASE_NS):
            run.doing("restarting the gateway")
        await run.run(run.crowd("then", name, _CLIENTS, each, accounts=accounts, sources=run.sources(_CLIENTS)))
        await run.wait_until_ns(run.clock.now_ns() + _SETTLES_NS, "the last counts to be written")
        await _read(run, _LABELS[2])


async def _read(run: CaseContext, label: str) -> None:
    await run.readings.services(label)
    await run.readings.prometheus(label)


@restart.judge
def judge_restart(evidence: Evidence, found: LastingCounts) -> list[Finding]:
    """TC-MON-005: no counter fell over the restart, and none of the requests on either side of it is missing."""
    policy = found.metrics
    proven = [span for span in spans(evidence.edges) if span.service == found.gateway and span.held and span.mended]
    if not proven:
        says = "the gateway was not seen to be restarted, so nothing is known of its counts over a restart"
        return delivered(evidence, [Finding(_COUNTED[0], Outcome.INCONCLUSIVE, says)])
    findings = _compared(evidence, policy, GATEWAY, proven)
    if evidence.ledgers.reading(_LABELS[0], "prometheus") is not None:
        there = _compared(evidence, policy, "prometheus", proven)
        findings += [replace(finding, says=f"{AT_SERVER}{finding.says}") for finding in there]
    return delivered(evidence, findings)


def _compared(evidence: Evidence, policy: MetricsPolicy, source: str, faults: Sequence[FaultSpan]) -> list[Finding]:
    found = judge_metrics(
        policy,
        evidence.history,
        [one for label in _LABELS if (one := evidence.ledgers.reading(label, source)) is not None],
        operations=routes_of(evidence.target),
        where=policy.only,
        foreign=Foreign(exclusive=policy.exclusive),
        faults=faults,
        needed=2 * _CLIENTS,
    )
    return [one for one in found if one.rule in _COUNTED]

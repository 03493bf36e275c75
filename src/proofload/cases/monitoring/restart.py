"""TC-MON-005: what was counted outlives a restart of the gateway, where that is promised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from proofload.cases.case import Case, Category, Priority
from proofload.cases.context import Lab
from proofload.cases.declared_limits import polite_count
from proofload.cases.evidence_rows import delivered
from proofload.cases.latency.load_levels import GATEWAY
from proofload.cases.latency.stalls import missing_start, read_of
from proofload.cases.metrics_and_audit import AT_SERVER, routes_of
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
_COUNTED = ("mon.not_monotonic", "mon.missing", "mon.altered")


def missing(target: Target) -> str:
    """Return why counts can't be followed over a restart, or nothing."""
    policy = target.policies.metrics
    if policy is None or policy.url is None:
        return "the target declares no metrics page (policies.metrics.url)"
    if not policy.survives_restart:
        return "the target does not promise that counts outlive a restart (policies.metrics.survives_restart)"
    return missing_start(target)


async def drive_restart(lab: Lab) -> None:
    """Have requests counted, restart the gateway, have more counted; read the page before, between and after."""
    name = read_of(lab.target)
    accounts = await lab.accounts(_CLIENTS)
    each = polite_count(lab.target, _EACH)
    async with lab.silence():
        await _read(lab, _LABELS[0])
        await lab.run(lab.crowd("first", name, _CLIENTS, each, accounts=accounts, sources=lab.sources(_CLIENTS)))
        await lab.wait_until_ns(lab.clock.now_ns() + _SETTLES_NS, "the last counts to be written")
        await _read(lab, _LABELS[1])
        async with lab.fault(GATEWAY, "stop", _LEASE_NS):
            lab.doing("restarting the gateway")
        await lab.run(lab.crowd("then", name, _CLIENTS, each, accounts=accounts, sources=lab.sources(_CLIENTS)))
        await lab.wait_until_ns(lab.clock.now_ns() + _SETTLES_NS, "the last counts to be written")
        await _read(lab, _LABELS[2])


async def _read(lab: Lab, label: str) -> None:
    await lab.read_services(label)
    await lab.read_prometheus(label)


def judge_restart(evidence: Evidence) -> list[Finding]:
    """TC-MON-005: no counter fell over the restart, and none of the requests on either side of it is missing."""
    policy = evidence.target.policies.metrics
    assert policy is not None
    proven = [span for span in spans(evidence.edges) if span.service == GATEWAY and span.held and span.mended]
    if not proven:
        says = "the gateway was not seen to be restarted, so nothing is known of its counts over a restart"
        return delivered(evidence, [Finding(_COUNTED[0], Outcome.INCONCLUSIVE, says)])
    found = _compared(evidence, policy, GATEWAY, proven)
    if evidence.ledgers.reading(_LABELS[0], "prometheus") is not None:
        there = _compared(evidence, policy, "prometheus", proven)
        found += [replace(finding, says=f"{AT_SERVER}{finding.says}") for finding in there]
    return delivered(evidence, found)


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


CASES = (
    Case(
        id="TC-MON-005",
        title="Counts over a restart",
        category=Category.MONITORING,
        priority=Priority.MEDIUM,
        phase=4,
        purpose="A deployment takes nothing back of what was counted, where that is promised.",
        sends="reads by several clients, before and after the gateway was stopped and started, in silence",
        passes_when="no counter fell, and every answer on both sides of the restart was counted",
        read_fail="the finding names the counters that fell, or the answers that are missing",
        least_evidence="a restart that was seen by a probe, and a few answers on both sides of it",
        needs=("policies.metrics.survives_restart", "faults.gateway", "services.gateway.health"),
        missing=missing,
        expected_ns=lambda _: 10 * NS_PER_SECOND,
        drive=drive_restart,
        judge=judge_restart,
        disturbs=frozenset({"everything"}),
    ),
)

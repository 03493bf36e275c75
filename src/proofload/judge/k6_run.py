"""Judges what another tool sent: only what its records can carry, and nothing that they do not tell."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from proofload.core.clock import Anchor
from proofload.judge.delivery import judge_delivery, rest_on
from proofload.judge.latency import judge_latency
from proofload.judge.rate_limit import RateLimitContext, judge_admission, judge_exempt
from proofload.judge.verdict import Finding, Outcome, Verdict
from proofload.plan.policies import LatencyPolicy, RateLimitPolicy
from proofload.plan.target import Target
from proofload.record.exchange import Ending
from proofload.record.history import History

DELIVERY, RATE_LIMIT, LATENCY = "K6-DELIVERY", "K6-RATE-LIMIT", "K6-LATENCY"
_UNTOLD = {
    "circuit_breaker": ("K6-CIRCUIT-BREAKER", "when a service was broken and what reached it"),
    "locks": ("K6-LOCK", "which requests were released together, and for which user"),
    "metrics": ("K6-METRICS", "the target's counters before and after"),
    "audit": ("K6-AUDIT", "the target's log"),
    "orders": ("K6-ORDERS", "the bodies of the answers"),
    "overload": ("K6-OVERLOAD", "which part of the run was at which load"),
}
_ONE_CLIENT = "taken as one client, for k6's results name no source address"
_OWN_DELAY = "how busy k6 itself was is not in its results, and the delay may be its own"


def judge_imported(
    target: Target, history: History, paths: Sequence[str], anchor: Anchor, doubts: Sequence[str] = ()
) -> list[Verdict]:
    """Return a verdict on the delivery and on each declared control; SKIPPED for those that need more.

    `paths` has what each row asked for. `doubts` say why rows may be missing: with them nothing is PASS, and nobody is
    accused of a rejection that requests which are not in the file may explain.
    """
    delivered = _delivered(history, doubts)
    verdicts = [Verdict.of(DELIVERY, delivered)]
    if target.policies.rate_limit:
        findings: list[Finding] = []
        for policy in target.policies.rate_limit:
            findings += _limit(policy, history, paths, anchor, doubted=bool(doubts))
        verdicts.append(Verdict.of(RATE_LIMIT, rest_on(findings, delivered)))
    if target.policies.latency:
        verdicts.append(Verdict.of(LATENCY, rest_on(_latency(target, history), delivered, fail_survives=False)))
    for name, (case, needed) in _UNTOLD.items():
        if getattr(target.policies, name):
            reason = f"k6's results do not tell {needed}: proofload run drives this itself"
            verdicts.append(Verdict(case, Outcome.SKIPPED, (), reason))
    return verdicts


def _delivered(history: History, doubts: Iterable[str]) -> list[Finding]:
    # When a request was due k6 does not tell, so its lag is not known either.
    found = [finding for finding in judge_delivery(history) if finding.rule != "delivery.send_lag"]
    return [*found, *(Finding("delivery.bottleneck", Outcome.INCONCLUSIVE, one, len(history)) for one in doubts)]


def _limit(
    policy: RateLimitPolicy, history: History, paths: Sequence[str], anchor: Anchor, *, doubted: bool
) -> list[Finding]:
    if policy.scope == "user":
        says = f"{policy.name}: it counts by user, and k6's results do not tell who sent what"
        return [Finding("rl.over_admission", Outcome.INCONCLUSIVE, says)]
    begun = history.numbers("ending") != Ending.DROPPED
    covered = np.flatnonzero(begun & np.array([policy.covers(path) for path in paths], dtype=np.bool_))
    # What was sent before k6 began is not in its file.
    scene = RateLimitContext(policy, history, anchor, fresh=False)
    if not len(covered):
        says = f"{policy.name}: k6 sent no request that it covers ({', '.join(policy.applies_to)})"
        return [Finding("rl.over_admission", Outcome.INCONCLUSIVE, says)]
    findings = judge_admission(scene, covered)
    exempt = np.flatnonzero(begun & np.array([policy.exempts(path) for path in paths], dtype=np.bool_))
    if len(exempt):
        findings += judge_exempt(scene, exempt, needed=2)
    return [_as_told(policy, one, doubted=doubted) for one in findings]


def _as_told(policy: RateLimitPolicy, finding: Finding, *, doubted: bool) -> Finding:
    """Return a finding with what it rests on; others' requests may explain a rejection, but never an admission."""
    explained = doubted or policy.scope == "global"
    if finding.rule == "rl.wrongful_rejection" and finding.outcome is Outcome.FAIL and explained:
        says = f"{finding.says}, unless requests that are not in k6's file used up the limit"
        return replace(finding, outcome=Outcome.INCONCLUSIVE, says=says)
    if finding.outcome is Outcome.FAIL and policy.scope == "client_ip":
        return replace(finding, says=f"{finding.says} ({_ONE_CLIENT})")
    return finding


def _latency(target: Target, history: History) -> list[Finding]:
    policy = target.policies.latency or LatencyPolicy()
    services = {name: one.service for name, one in target.operations.items() if one.service}
    rows = np.flatnonzero(history.numbers("ending") != Ending.DROPPED)
    return [
        replace(one, outcome=Outcome.INCONCLUSIVE, says=f"{one.says}; {_OWN_DELAY}")
        if one.outcome is Outcome.FAIL
        else one
        for one in judge_latency(policy, history, rows=rows, services=services)
    ]

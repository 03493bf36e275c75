"""Percentiles against what was promised, and the shapes of trouble that percentiles hide."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from proofload.core.units import format_duration
from proofload.judge.latency.percentiles import ACCUSING_CONFIDENCE, Percentile, estimate, samples_needed
from proofload.judge.latency.samples import Samples, gather
from proofload.judge.latency.shape import (
    LatencyBounds,
    count_modes,
    judge_growth,
    judge_slow_few,
    judge_slow_first,
    judge_stalls,
    warm_up_samples,
)
from proofload.judge.verdict import Finding, Outcome, held
from proofload.plan.policies import LatencyPolicy
from proofload.record.history import History

REPORTED_PER_MILLE = (500, 900, 950, 990, 999)
_UNBOUNDED = "?"


def judge_latency(
    policy: LatencyPolicy,
    history: History,
    *,
    rows: NDArray[np.int64] | None = None,
    services: Mapping[str, str] | None = None,
    bounds: LatencyBounds | None = None,
) -> list[Finding]:
    """Return the findings of every operation and service that `rows` (or the whole history) holds.

    `lat.percentiles` carries the figures; `lat.failures` says whether enough requests succeeded for them to mean
    anything; `lat.over_bound` compares with what the policy promises; `lat.periodic_stall`, `lat.slow_one_percent`,
    `lat.grows_with_time` and `lat.slow_first_request` name the shapes of trouble.
    """
    bounds = bounds or LatencyBounds()
    groups = [
        one
        for one in gather(history, rows=rows, services=services)
        if not policy.operations or one.name in policy.operations or one.name.startswith("service ")
    ]
    if not groups:
        return [held("lat.percentiles", "no request was made whose latency could be measured", examined=0)]
    findings: list[Finding] = []
    for samples in groups:
        percentiles = percentiles_of(samples)
        findings.append(_figures(samples, percentiles))
        findings.append(_failures(samples, bounds))
        if not len(samples):
            continue
        for per_mille, promised in ((900, policy.p90_within), (990, policy.p99_within)):
            if promised is not None:
                findings.append(_against(samples, percentiles[per_mille], promised))
        if not samples.name.startswith("service "):
            findings += [
                judge_stalls(samples, bounds),
                judge_slow_few(samples, bounds),
                judge_growth(samples, bounds),
                judge_slow_first(samples, bounds),
            ]
    return findings


def percentiles_of(samples: Samples) -> dict[int, Percentile]:
    """Return the reported percentiles by per mille; empty where there is no sample."""
    if not len(samples):
        return {}
    ordered = np.sort(samples.response_ns)
    bounded = ordered if not samples.unanswered else np.sort(samples.response_ns[samples.answered])
    return {
        per_mille: estimate(samples.response_ns, per_mille, ordered_ns=ordered, bounded_ns=bounded)
        for per_mille in REPORTED_PER_MILLE
    }


def _figures(samples: Samples, percentiles: dict[int, Percentile]) -> Finding:
    if not percentiles:
        return held("lat.percentiles", f"{samples.name}: no request was served", examined=0, needed=samples_needed(990))
    figures: dict[str, int | float | str] = {"of": samples.name, "unanswered": samples.unanswered}
    lines = []
    for one in percentiles.values():
        figures[f"{one.name}_ns"] = one.value_ns
        low, high = _bound(figures, one.name, "low", one.low_ns), _bound(figures, one.name, "high", one.high_ns)
        lines.append(f"{one.name} {format_duration(one.value_ns)} [{low} … {high}]")
    figures["modes"] = count_modes(samples.response_ns)
    figures["warm_up_samples"] = warm_up_samples(samples)
    told = ", ".join(f"{percentiles[p].name} {format_duration(percentiles[p].value_ns)}" for p in REPORTED_PER_MILLE)
    finding = held(
        "lat.percentiles", f"{samples.name}: {told}", examined=len(samples), needed=samples_needed(990), **figures
    )
    # The lines stand in `shown` whatever the outcome: they are the measurement itself.
    return Finding(
        finding.rule,
        finding.outcome,
        finding.says,
        finding.examined,
        finding.needed,
        shown=tuple(lines),
        figures=finding.figures,
    )


def _bound(figures: dict[str, int | float | str], name: str, side: str, value_ns: int | None) -> str:
    if value_ns is None:
        return _UNBOUNDED
    figures[f"{name}_{side}_ns"] = value_ns
    return format_duration(value_ns)


def _failures(samples: Samples, bounds: LatencyBounds) -> Finding:
    total = len(samples) + samples.failed
    bad = samples.failed + samples.unanswered
    says = f"{samples.name}: {bad} of {total} requests failed or were never answered"
    if bad * 1000 > total * bounds.failed_per_mille:
        says += ", so the latency of the others is not that of the service"
        return Finding("lat.failures", Outcome.INCONCLUSIVE, says, total, figures={"failed": bad})
    return held("lat.failures", says, examined=total, failed=bad)


def _against(samples: Samples, one: Percentile, promised_ns: int) -> Finding:
    says = (
        f"{samples.name}: {one.name} is {format_duration(one.value_ns)}, promised within {format_duration(promised_ns)}"
    )
    figures: dict[str, int | float | str] = {"of": samples.name, "value_ns": one.value_ns, "promised_ns": promised_ns}
    needed = samples_needed(one.per_mille)
    surely = estimate(samples.response_ns, one.per_mille, confidence=ACCUSING_CONFIDENCE).low_ns
    if surely is not None and surely > promised_ns:
        slow = np.flatnonzero(samples.response_ns > promised_ns)
        return Finding(
            "lat.over_bound",
            Outcome.FAIL,
            f"{says}, and surely above {format_duration(surely - 1)}",
            len(samples),
            needed,
            rows=tuple(int(samples.rows[at]) for at in slow[:5]),
            shown=(
                f"{len(slow)} of {len(samples)} requests took longer than promised; "
                f"at most {(1000 - one.per_mille) * len(samples) // 1000} may",
            ),
            look_at="the handler of this operation, and what it waits for: pools, locks, other services",
            figures=figures,
        )
    if one.high_ns is None or one.high_ns > promised_ns:
        says += ", too close to call" if one.high_ns is not None else ", with too few samples to be sure"
        return Finding("lat.over_bound", Outcome.INCONCLUSIVE, says, len(samples), needed, figures=figures)
    return held("lat.over_bound", says, examined=len(samples), needed=needed, **figures)

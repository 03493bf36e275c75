"""What the service behind the gateway counted, beside what the limiter admitted."""

from __future__ import annotations

from collections.abc import Sequence

from proofload.cases.evidence_rows import rows_of
from proofload.cases.isolation import service_of
from proofload.cases.rate_limit.evasions import CONNECTION, FORGED, QUERY, VARIED
from proofload.judge.evidence import Evidence
from proofload.judge.rate_limit import RateLimitContext, judge_backend_hits
from proofload.judge.verdict import Finding, Outcome
from proofload.plan.operation import Operation
from proofload.record.ledger import Reading

_ON_PROBE = ("sequence", "sustained", "burst", FORGED, QUERY, CONNECTION, VARIED)
"""What goes to the path whose hits are counted, about the time of the two readings."""


def backend(evidence: Evidence, context: RateLimitContext) -> list[Finding]:
    """Return whether what the service behind the gateway counted agrees with what was admitted."""
    probe = evidence.target.operations[context.policy.probe]
    name = service_of(evidence.target, context.policy.probe)
    service = evidence.target.services.get(name or "")
    if name is None or service is None or service.metrics is None:
        return []
    calibrated = evidence.ledgers.reading("uncalibrated", name) is not None
    labels = (*(("uncalibrated",) if calibrated else ()), "before", "after")
    readings = [one for label in labels if (one := evidence.ledgers.reading(label, name)) is not None]
    if len(readings) < len(labels):
        return []
    error = next((one.error for one in readings if one.error), "")
    if error:
        return [_untold(f"the hits of service {name} could not be read: {error}")]
    counted = _hits(readings, service.hits, probe)
    calibration = rows_of(evidence, "calibration")
    if calibrated and counted[1] - counted[0] != len(calibration):
        says = (
            f"service {name} counted {counted[1] - counted[0]} for {len(calibration)} requests that nobody "
            "rejected: its count can't tell what reached it"
        )
        return [_untold(says)]
    hits = counted[-1] - counted[-2]
    between = readings[-2], readings[-1]
    findings = judge_backend_hits(context, rows_of(evidence, *_ON_PROBE), hits, hits, readings=between)
    if not calibrated and any(one.outcome is Outcome.FAIL for one in findings):
        return [_untold(f"{findings[0].says}; or it counts twice, which a second client address would have shown")]
    return findings


def _untold(says: str) -> Finding:
    return Finding("rl.rejected_reached_backend", Outcome.INCONCLUSIVE, says)


def _hits(readings: Sequence[Reading], counter: str, probe: Operation) -> list[int]:
    """Return the counter's value for the probe at each reading: its series name the probe's path in some label."""
    names = {probe.path, probe.counted_as}
    series = [[sample for sample in one.samples if sample.name == counter] for one in readings]
    told = [[sample for sample in some if names & set(sample.labels.values())] for some in series]
    # A counter that knows no paths counts all together; whether that tells anything, the calibration shows.
    return [round(sum(sample.value for sample in some)) for some in (told if any(told) else series)]

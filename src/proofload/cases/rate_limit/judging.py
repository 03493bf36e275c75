"""What the rate-limit cases ask of the judges, and about which of their rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from proofload.cases.declared_limits import allowance, is_bucket
from proofload.cases.isolation import service_of
from proofload.cases.rate_limit.driving import enforcement, headers
from proofload.core.units import format_duration
from proofload.judge.delivery import judge_delivery, rest_on
from proofload.judge.evidence import Evidence
from proofload.judge.rate_limit import (
    RateLimitContext,
    judge_admission,
    judge_backend_hits,
    judge_evasion,
    judge_exempt,
    judge_headers,
    judge_isolation,
    judge_promised_reset,
    judge_rejection_speed,
)
from proofload.judge.verdict import Finding, Outcome, held
from proofload.plan.operation import Operation
from proofload.plan.policies import RateLimitPolicy
from proofload.record.ledger import Reading

Rows = NDArray[np.int64]


_EVASIONS = {
    "forged header": "forwarding header",
    "query": "query",
    "new connection": "connection",
    "other path": "path",
    "other method": "method",
}
"""By the step that tried it: what a limited client varied."""
_QUICK_NS = 100_000_000
"""No client minds a rejection within a tenth of a second; a busy machine alone can take as long as less than that."""
_ON_PROBE = ("forged header", "query", "new connection")
"""Evasions that go to the path whose hits are counted."""


@enforcement.judge
def judge_enforcement(evidence: Evidence, limit: RateLimitPolicy) -> list[Finding]:
    """TC-RL-001: never more than the limit, never a rejection below it, and no way round it."""
    context = RateLimitContext(limit, evidence.history, evidence.anchor)
    limited = _rows(evidence, but="exempt")
    findings = [*judge_admission(context, limited), _attempted(evidence, context), *_kept_trying(evidence, context)]
    for step, what in _EVASIONS.items():
        findings += evasion(context, _rows(evidence, step), _rows(evidence, "sequence"), what)
    if len(_rows(evidence, "burst")):
        findings += judge_isolation(context, _rows(evidence, "sequence", "burst", "bystander", "regular"))
    if len(_rows(evidence, "exempt")):
        # The client that asks has just used up its limit: anything but a rejection shows that the path is exempt.
        findings += judge_exempt(context, _rows(evidence, "exempt"), needed=2)
    findings += _backend(evidence, context)
    findings += _speed(evidence, context)
    delivered = _delivered(evidence)
    return [*rest_on(findings, delivered), *delivered]


@headers.judge
def judge_header_truth(evidence: Evidence, limit: RateLimitPolicy) -> list[Finding]:
    """TC-RL-002: the headers on every answer are there, right and decreasing, and Reset is true."""
    context = RateLimitContext(limit, evidence.history, evidence.anchor)
    every = _rows(evidence, but="exempt")
    findings = [*judge_headers(context, _within_limit(evidence, context, every)), *judge_promised_reset(context, every)]
    delivered = _delivered(evidence)
    return [*rest_on(findings, delivered), *delivered]


def _within_limit(evidence: Evidence, context: RateLimitContext, rows: Rows) -> Rows:
    """Return `rows` without what was admitted beyond the limit: that is TC-RL-001's matter, and no header fits it."""
    if is_bucket(context.policy):
        return rows
    spent = ("spend for reset", "spend for retry-after")
    beyond = np.concatenate([_rows(evidence, name)[context.policy.limit :] for name in spent])
    rejected = evidence.history.numbers("status")[rows] == context.policy.status
    kept: Rows = rows[rejected | ~np.isin(rows, beyond)]
    return kept


def _delivered(evidence: Evidence) -> list[Finding]:
    """Return whether the load was put on the wire. When it was due plays no part here: judges go by [sent, done]."""
    return [finding for finding in judge_delivery(evidence.history) if finding.rule != "delivery.send_lag"]


def _rows(evidence: Evidence, *steps: str, but: str = "") -> Rows:
    """Return the rows of the named steps of the case, or of all but one, in their order."""
    prefix = f"{evidence.case}/"
    names = [str(name) for name in evidence.history.frame["workload"].unique()]
    wanted = [name for name in names if (name.removeprefix(prefix) in steps if steps else name != prefix + but)]
    return evidence.history.of_workloads(*wanted)


def evasion(context: RateLimitContext, varied: Rows, spent: Rows, what: str) -> list[Finding]:
    """Return whether a client that had used up its limit by the rows `spent` got anything more by varying `what`."""
    if not len(varied):
        return []
    status = context.history.numbers("status")
    if (status[varied] == context.policy.status).all():
        return [held("rl.evasion", f"a varying {what} opened no new allowance", examined=len(varied))]
    if not (status[spent] == context.policy.status).any():
        says = f"the client was never limited, so a varying {what} shows nothing"
        return [Finding("rl.evasion", Outcome.INCONCLUSIVE, says, examined=len(varied))]
    findings = judge_evasion(context, np.concatenate([spent, varied]), what)
    if any(one.outcome is Outcome.PASS for one in findings):
        through = int(np.count_nonzero(status[varied] != context.policy.status))
        if is_bucket(context.policy) and through < len(varied):
            # Had each variation a bucket of its own, none would have been rejected.
            says = (
                f"a varying {what} opened no new allowance: {through} came through as the bucket fills, others did not"
            )
            return [held("rl.evasion", says, examined=len(varied))]
        # It conforms only because the window may have been over by then.
        says = f"{through} requests with a varying {what} came through, perhaps in the next window: it can't be told"
        return [Finding("rl.evasion", Outcome.INCONCLUSIVE, says, examined=len(varied))]
    return findings


def _attempted(evidence: Evidence, context: RateLimitContext) -> Finding:
    """Return whether more than the limit was really tried, one by one: what a broken limiter would need to show."""
    tried = len(_rows(evidence, "sequence"))
    return held(
        "rl.attempted",
        f"{tried} requests were sent one by one where {allowance(context.policy)} are allowed at once",
        examined=tried,
        needed=allowance(context.policy) + 1,
    )


def _kept_trying(evidence: Evidence, context: RateLimitContext) -> list[Finding]:
    """Return whether it was seen that rejected requests do not prolong the window: only soon after one can that show.

    Whether the requests after the window were rightly answered is the matter of `rl.wrongful_rejection`.
    """
    if is_bucket(context.policy) or not len(_rows(evidence, "after window")):
        return []
    status, sent = evidence.history.numbers("status"), evidence.history.numbers("sent_ns")
    names = [str(name) for name in evidence.history.frame["workload"].unique()]
    knocking = [name for name in names if name.startswith(f"{evidence.case}/knock ")]
    rows = evidence.history.of_workloads(*knocking, f"{evidence.case}/after window")
    rows = rows[np.argsort(sent[rows], kind="stable")]
    rejected = status[rows] == context.policy.status
    last = np.maximum.accumulate(np.where(rejected, sent[rows], -context.policy.window))
    soon = rows[~rejected & (status[rows] > 0) & (sent[rows] < last + context.policy.window)]
    says = "a client that kept knocking was let in again within a window's length of its last rejection"
    return [held("rl.kept_trying", says, examined=len(soon))]


def _speed(evidence: Evidence, context: RateLimitContext) -> list[Finding]:
    """Return whether one rejection after the other came quickly, as far as our own machine was quick meanwhile."""
    findings = judge_rejection_speed(context, _rows(evidence, "sequence", *_EVASIONS), quick_ns=_QUICK_NS, needed=10)
    late = max((one.loop_lag.p99_ns for one in evidence.deliveries), default=0)
    if late > _QUICK_NS // 4 and any(one.outcome is Outcome.FAIL for one in findings):
        says = f"{findings[0].says}; but our own loop was up to {format_duration(late)} late"
        return [Finding(findings[0].rule, Outcome.INCONCLUSIVE, says)]
    return findings


def _backend(evidence: Evidence, context: RateLimitContext) -> list[Finding]:
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
    calibration = _rows(evidence, "calibration")
    if calibrated and counted[1] - counted[0] != len(calibration):
        says = (
            f"service {name} counted {counted[1] - counted[0]} for {len(calibration)} requests that nobody "
            "rejected: its count can't tell what reached it"
        )
        return [_untold(says)]
    hits = counted[-1] - counted[-2]
    findings = judge_backend_hits(context, _rows(evidence, "sequence", "burst", *_ON_PROBE), hits, hits)
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

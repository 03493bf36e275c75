"""Whether slowness comes from waiting for each other or from running out of something."""

from __future__ import annotations

from proofload.core.units import format_duration
from proofload.judge.latency.percentiles import Percentile, estimate, samples_needed
from proofload.judge.latency.samples import Samples
from proofload.judge.verdict import Finding, Outcome, held

_FACTOR = 3
_LEAST_NS = 20_000_000


def attribute_bottleneck(
    contended: Samples, spread: Samples, *, factor: int = _FACTOR, least_ns: int = _LEAST_NS
) -> Finding:
    """Return `lat.bottleneck`: a diagnosis, never a FAIL; SKIPPED where the samples can't tell.

    `contended` are operations of one user at once (TC-LOCK-001), `spread` those of many users (TC-LATENCY-001), both at
    a like load. p99 high in the first and low in the second means logical serialization: requests wait for one another
    at a lock, and the machine has time to spare. High in both means that something runs out: CPU, disk, connections.
    High is `factor` times the median of `spread`, and at least `least_ns`.
    """
    rule = "lat.bottleneck"
    if not len(contended) or not len(spread):
        return Finding(rule, Outcome.SKIPPED, "no samples both of one user and of many users, so nothing to compare")
    usual = estimate(spread.response_ns, 500)
    bar = max(factor * usual.value_ns, least_ns)
    one, many = estimate(contended.response_ns, 990), estimate(spread.response_ns, 990)
    high_one, high_many = _above(one, bar), _above(many, bar)
    figures = {"one_user_p99_ns": one.value_ns, "many_users_p99_ns": many.value_ns, "bar_ns": bar}
    seen = (
        f"p99 {format_duration(one.value_ns)} for one user at once, {format_duration(many.value_ns)} over many users; "
        f"high is above {format_duration(bar)}"
    )
    examined = min(len(contended), len(spread))
    if high_one is None or high_many is None:
        return Finding(rule, Outcome.SKIPPED, f"too few samples to name the bottleneck: {seen}", examined)
    if high_one and not high_many:
        cause = "logical serialization"
        says = f"{cause}: operations of one user wait for each other at a lock, resources are not exhausted ({seen})"
    elif high_many:
        cause = "resource exhaustion"
        says = f"{cause}: operations of different users are slow as well, so CPU, IO or a pool is short ({seen})"
    else:
        cause = "none"
        says = f"no bottleneck at this load ({seen})"
    return held(rule, says, examined=examined, cause=cause, **figures)


def judge_serialization(contended: Samples, spread: Samples) -> Finding:
    """Return `lat.serialized_by_lock` for an operation that promises no lock, such as reading one's profile.

    FAIL where one user's requests at once are surely slow and those of many users surely are not.
    """
    rule = "lat.serialized_by_lock"
    diagnosis = attribute_bottleneck(contended, spread)
    if diagnosis.outcome is Outcome.SKIPPED:
        return Finding(rule, Outcome.INCONCLUSIVE, diagnosis.says, diagnosis.examined, samples_needed(990))
    if diagnosis.figures["cause"] == "logical serialization":
        return Finding(
            rule,
            Outcome.FAIL,
            f"{contended.name} declares no lock, yet shows {diagnosis.says}",
            diagnosis.examined,
            rows=tuple(int(row) for row in contended.rows[contended.response_ns.argsort()[-5:]]),
            look_at="locks and transactions keyed by user around this operation",
            figures=diagnosis.figures,
        )
    return Finding(
        rule,
        Outcome.PASS,
        f"{contended.name}: {diagnosis.says}",
        diagnosis.examined,
        figures=diagnosis.figures,
    )


def _above(one: Percentile, bar_ns: int) -> bool | None:
    """Say whether a percentile surely lies above `bar_ns`, surely does not, or can't be told from it.

    A burst has few samples: where no interval can be drawn, the value itself must be clear of the bar, twofold.
    """
    if one.low_ns is not None and one.low_ns > bar_ns:
        return True
    if one.high_ns is not None and one.high_ns <= bar_ns:
        return False
    if one.samples >= 20 and (one.low_ns is None or one.high_ns is None):
        if one.value_ns > 2 * bar_ns:
            return True
        if 2 * one.value_ns <= bar_ns:
            return False
    return None

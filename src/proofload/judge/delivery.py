"""Was the load that a verdict rests on really delivered? Where it was not, nothing that rests on it is certain."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from proofload.core.units import format_duration
from proofload.judge.verdict import Finding, Outcome, held
from proofload.record.delivery import Delivery
from proofload.record.exchange import NEVER_NS, NOT_THE_TARGETS, OUR_LIMITS, Ending, Fault
from proofload.record.history import History


@dataclass(frozen=True, slots=True)
class DeliveryBounds:
    """What may be missing before a load no longer counts as delivered."""

    dropped_per_mille: int = 10
    """Planned requests that the generator never came to."""
    unreached_per_mille: int | None = 10
    """Requests of which no byte left us, because no connection came about; None where that is what a case looks for."""
    send_lag_p99_ns: int = 50_000_000
    """How late the generator may begin what was due."""
    least_sent: int = 1


def judge_delivery(
    history: History, *, rows: NDArray[np.int64] | None = None, bounds: DeliveryBounds | None = None
) -> list[Finding]:
    """Return `delivery.dropped`, `.unreached`, `.answered` and `.send_lag` for `rows`, or for the whole history.

    Where requests were lost on our own side of the connection, `.own_connections` says so as well.

    None of them is ever FAIL: load that was not delivered says something about us or about the way to the target.
    """
    bounds = bounds or DeliveryBounds()
    chosen = np.arange(len(history)) if rows is None else rows
    endings = history.numbers("ending")[chosen]
    return [
        _share(
            "delivery.dropped",
            chosen[endings == Ending.DROPPED],
            len(chosen),
            bounds.dropped_per_mille,
            "were planned but never begun: the generator could not keep up, or was stopped",
        ),
        _unreached(chosen, endings, bounds),
        _answered(chosen, endings, bounds),
        _send_lag(history, chosen, endings, bounds),
        *_not_the_targets(history, chosen, bounds),
    ]


def judge_generators(deliveries: Iterable[Delivery]) -> list[Finding]:
    """Return `delivery.bottleneck` for each load whose generator was the limit, died, or was stopped before its end."""
    findings = []
    for one in deliveries:
        died = [f"generator {each.number} died: {each.died}" for each in one.generators if each.died]
        stopped = ["the run was stopped before its plan was through"] if one.stopped else []
        limit = [*one.reasons] or ["the generator was the limit"] if one.bottleneck else []
        if died or stopped or limit:
            says = "; ".join([*limit, *died, *stopped])
            findings.append(Finding("delivery.bottleneck", Outcome.INCONCLUSIVE, says, one.planned))
    return findings


def rest_on(findings: Iterable[Finding], delivered: Sequence[Finding], *, fail_survives: bool = True) -> list[Finding]:
    """Return `findings` as they stand once it is known whether the load was delivered.

    Where it was not, a PASS becomes INCONCLUSIVE. A FAIL stays, since what a certain counterexample shows needs no more
    load; with `fail_survives=False` it falls too, which is right for whatever a slow generator can itself bring about,
    such as latency.
    """
    doubts = [finding for finding in delivered if finding.outcome in (Outcome.INCONCLUSIVE, Outcome.ERROR)]
    if not doubts:
        return list(findings)
    why = "; ".join(doubt.says for doubt in doubts)
    doubted = {Outcome.PASS} if fail_survives else {Outcome.PASS, Outcome.FAIL}
    return [
        replace(finding, outcome=Outcome.INCONCLUSIVE, says=f"{finding.says} (but {why})")
        if finding.outcome in doubted
        else finding
        for finding in findings
    ]


def _share(rule: str, rows: NDArray[np.int64], planned: int, bound_per_mille: int, what: str) -> Finding:
    figures = {"count": len(rows), "planned": planned}
    if len(rows) * 1000 > planned * bound_per_mille:
        says = f"{len(rows)} of {planned} requests {what}"
        return Finding(
            rule, Outcome.INCONCLUSIVE, says, planned, rows=tuple(int(row) for row in rows[:5]), figures=figures
        )
    return held(rule, f"{len(rows)} of {planned} requests {what}", examined=planned, **figures)


def _unreached(chosen: NDArray[np.int64], endings: NDArray[np.uint8], bounds: DeliveryBounds) -> Finding:
    unsent = chosen[endings == Ending.NOT_SENT]
    bound = 1000 if bounds.unreached_per_mille is None else bounds.unreached_per_mille
    what = "found no connection, so the target never saw them"
    return _share("delivery.unreached", unsent, len(chosen), bound, what)


def _not_the_targets(history: History, chosen: NDArray[np.int64], bounds: DeliveryBounds) -> list[Finding]:
    """Return what was lost by no fault of the target; nothing where nothing was."""
    fault = history.numbers("fault")[chosen]
    lost = chosen[np.isin(fault, [int(one) for one in NOT_THE_TARGETS])]
    if not len(lost):
        return []
    ours, crossed = int(np.isin(fault, [int(one) for one in OUR_LIMITS]).sum()), Fault.REUSED_CONNECTION_CLOSED
    told = [
        f"{ours} could not connect, for this machine ran out of file descriptors or ports" if ours else "",
        f"{len(lost) - ours} met a kept-alive connection that the target was just closing, and can't be repeated"
        if (fault == crossed).any()
        else "",
    ]
    says = f"of {len(chosen)} requests " + ", and ".join(part for part in told if part)
    few = not ours and len(lost) * 1000 <= len(chosen) * bounds.dropped_per_mille
    outcome = Outcome.PASS if few else Outcome.INCONCLUSIVE
    shown = tuple(int(row) for row in lost[:5])
    return [Finding("delivery.own_connections", outcome, says, len(chosen), rows=shown, figures={"count": len(lost)})]


def _answered(chosen: NDArray[np.int64], endings: NDArray[np.uint8], bounds: DeliveryBounds) -> Finding:
    answered = int((endings == Ending.ANSWERED).sum())
    says = f"{answered} of {len(chosen)} requests were answered"
    return held("delivery.answered", says, examined=answered, needed=bounds.least_sent)


def _send_lag(
    history: History, chosen: NDArray[np.int64], endings: NDArray[np.uint8], bounds: DeliveryBounds
) -> Finding:
    sent = chosen[np.isin(endings, (Ending.ANSWERED, Ending.UNKNOWN))]
    began, due = history.numbers("sent_ns")[sent], history.numbers("intended_ns")[sent]
    lag = np.sort((began - due)[began != NEVER_NS])
    if not len(lag):
        return held("delivery.send_lag", "nothing was sent, so its lag is not known", examined=0)
    p99 = int(lag[-(-len(lag) * 990 // 1000) - 1])
    says = f"99 of 100 requests were begun within {format_duration(max(0, p99))} of their due time"
    if p99 > bounds.send_lag_p99_ns:
        says += f", more than the {format_duration(bounds.send_lag_p99_ns)} at which times can still be trusted"
        return Finding("delivery.send_lag", Outcome.INCONCLUSIVE, says, len(lag), figures={"p99_ns": p99})
    return held("delivery.send_lag", says, examined=len(lag), p99_ns=p99)

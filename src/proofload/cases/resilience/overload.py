"""TC-RES-001: what a target does with more than it can carry, and afterwards."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proofload.cases.case import Category, Priority, case
from proofload.cases.context import CaseContext
from proofload.cases.declared_limits import gateway_limit
from proofload.cases.evidence_rows import rows_of
from proofload.cases.isolation import UNKNOWN_SERVICE, service_of
from proofload.cases.requirement import Missing, Requirement
from proofload.cases.resilience.load_ramp import (
    AFTER,
    BASELINE,
    BEYOND,
    BEYOND_NS,
    HEALTH,
    RAMP,
    STEP_NS,
    WATCHED_NS,
    Load,
    marks_of,
    step_of,
)
from proofload.core.units import NS_PER_SECOND, format_duration
from proofload.judge.delivery import DeliveryBounds, judge_delivery, rest_on
from proofload.judge.evidence import Evidence
from proofload.judge.overload import Phases, find_capacity, judge_overload
from proofload.judge.overload.judge import CRASH, KINDS, MASKED, QUEUE
from proofload.judge.overload.judge import HEALTH as STARVED
from proofload.judge.overload.shares import no_baseline
from proofload.judge.verdict import Finding, Outcome
from proofload.plan.policies import OverloadPolicy
from proofload.plan.target import Target
from proofload.record.history import History

_TIMES = 2.0
_BEYOND_FAILING = 1.65
"""The judge asks for 1.5 times the load that failed; a little more, so that counting can't spoil it."""
_TRIES = 2
_CERTAIN = frozenset({CRASH, KINDS, MASKED})
"""What no slowness of ours can bring about."""
_BY_SECONDS = frozenset({STARVED, QUEUE})
"""What takes seconds to break: where we were late by less, it was not we."""
_MOST_CPU = 0.9
_MOST_LOOP_LAG_NS = NS_PER_SECOND // 10
_BOUNDS = DeliveryBounds(send_lag_p99_ns=NS_PER_SECOND // 4)
"""What is judged here are rates over seconds and answers from when they were sent: a late start spoils little."""
_ACCUSING = DeliveryBounds(send_lag_p99_ns=NS_PER_SECOND // 10)
"""A machine on which we are later than this may be what makes the target slow, too."""


def _overloaded(target: Target) -> tuple[OverloadPolicy, tuple[str, ...]] | Missing:
    """Return what is promised, and the service that will have more than it can carry."""
    policy = target.policies.overload
    if policy is None:
        return Missing("the target declares no behaviour beyond capacity (policies.overload)")
    service = service_of(target, policy.operation)
    return policy, (service or UNKNOWN_SERVICE,)


OVERLOADED = Requirement("behaviour beyond capacity", "policies.overload", _overloaded)


@case(
    "TC-RES-001",
    "Graceful degradation",
    Category.RESILIENCE,
    Priority.HIGH,
    phase=6,
    requires=OVERLOADED,
    uses=lambda found: (found[0].operation,),
    breaks=lambda found: found[1],
    takes=lambda found: 8 * NS_PER_SECOND + 5 * STEP_NS + BEYOND_NS + found[0].recovers_within + WATCHED_NS,
    saturates=True,
    spends=True,
)
async def overload(run: CaseContext, found: tuple[OverloadPolicy, tuple[str, ...]]) -> None:
    """Beyond its capacity the target refuses what it can't do, quickly, and is itself again afterwards.

    Sends: an open load of the declared operation that climbs from `starts_at` by half of itself, until the
        answers no longer keep up; then about twice what was carried, with ten health checks a second beside it;
        then `starts_at` again. Every client has its own address, accounts take turns
    Passes when: nothing crashed, health stayed answerable, goodput kept its declared share, what failed was
        refused quickly with a declared status, waits stayed bounded, and latency and errors came back to the
        baseline in the declared time
    Reading FAIL: the finding names what broke first, with the loads offered and the good answers that came
    Least evidence: a load that surely was not carried, and one well beyond it that our own side could deliver
    """
    policy, _ = found
    load = Load(run, policy)
    await load.hold(BASELINE, policy.starts_at, STEP_NS, load.health(f"{HEALTH} at ease", STEP_NS))
    if why := no_baseline(run.history(), *_at_ease(run.history(), run.step), marks_of(policy)):
        # An overload would show nothing, and would only make it worse.
        run.doing(why)
        run.note("held", load.held)
        return
    rate = policy.starts_at
    for attempt in range(_TRIES):
        rate = await load.climb(rate)
        if rate == 0:
            break
        peak = max(_goodput(load, one) for one in load.held if str(one["name"]).startswith(RAMP))
        beyond = round(max(_TIMES * peak, _BEYOND_FAILING * rate))
        carried = await _exceed(load, beyond, attempt)
        run.note("attempt", attempt)
        if not carried:
            break
    run.note("held", load.held)


async def _exceed(load: Load, rate: int, attempt: int) -> bool:
    """Overload, and go back to the baseline without a pause; return whether all of it was carried after all."""
    run, policy = load.run, load.policy
    await load.prepare(rate)
    run.doing(f"offering {rate} {policy.operation} a second, about twice what is carried, and then little again")
    name, for_after_ns = _numbered(BEYOND, attempt), policy.recovers_within + WATCHED_NS
    await run.run(
        load.arrivals(name, rate, BEYOND_NS),
        load.arrivals(_numbered(AFTER, attempt), policy.starts_at, for_after_ns, start_after_ns=BEYOND_NS),
        load.health(_numbered(HEALTH, attempt), BEYOND_NS),
    )
    return step_of(policy, run.history(), run.step(name), BEYOND_NS).carried is True


def _at_ease(history: History, step: Callable[[str], str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the requests and the health checks from before any overload."""
    return history.of_workloads(step(BASELINE)), history.of_workloads(step(f"{HEALTH} at ease"))


def _goodput(load: Load, held: Mapping[str, Any]) -> float:
    run = load.run
    return step_of(load.policy, run.history(), run.step(held["name"]), held["for_ns"]).goodput.mean


def _numbered(name: str, attempt: int) -> str:
    return name if attempt == 0 else f"{name} {attempt + 1}"


@overload.judge
def judge_overloaded(evidence: Evidence, found: tuple[OverloadPolicy, tuple[str, ...]]) -> list[Finding]:
    """TC-RES-001: beyond capacity the target refuses what it can't do, quickly, and is itself again afterwards."""
    policy, _ = found
    history = evidence.history
    delivered = [one for one in judge_delivery(history, bounds=_BOUNDS) if one.rule != "delivery.answered"]
    capacity = find_capacity(
        [
            step_of(policy, history, f"{evidence.case}/{one['name']}", one["for_ns"])
            for one in evidence.facts.get("held", ())
            if str(one["name"]).startswith((BASELINE, RAMP)) and rows_of(evidence, one["name"]).size
        ]
    )
    attempt = int(evidence.facts.get("attempt", 0))
    held = {str(one["name"]): int(one["for_ns"]) for one in evidence.facts.get("held", ())}
    name = _numbered(BEYOND, attempt)
    rows = rows_of(evidence, name)
    baseline, at_ease = _at_ease(history, lambda step: f"{evidence.case}/{step}")
    if why := no_baseline(history, baseline, at_ease, marks_of(policy)):
        return [Finding("res.capacity_found", Outcome.INCONCLUSIVE, why, len(baseline)), *delivered]
    if not len(rows):
        why = capacity.why_not or "the load beyond it was never offered"
        return [Finding("res.capacity_found", Outcome.INCONCLUSIVE, f"the capacity was not found: {why}"), *delivered]
    begun_ns = int(history.numbers("intended_ns")[rows].min())
    phases = Phases(
        baseline=baseline,
        beyond=rows,
        health=rows_of(evidence, _numbered(HEALTH, attempt)),
        after=rows_of(evidence, _numbered(AFTER, attempt)),
        ended_ns=begun_ns + held[name],
        health_at_ease=at_ease,
    )
    beyond = step_of(policy, history, f"{evidence.case}/{name}", held[name])
    findings = judge_overload(policy, history, capacity, beyond, phases, error_marks=marks_of(policy))
    limited = _limited(evidence)
    return [*_rested(findings, evidence, [*delivered, *limited]), *delivered, *limited]


def _rested(findings: Sequence[Finding], evidence: Evidence, delivered: Sequence[Finding]) -> list[Finding]:
    """Return the findings as they stand: a generator or a machine that was itself slow proves no slowness."""
    own = _own_limit(evidence)
    late = [one for one in delivered if one.rule == "delivery.send_lag"]
    strict = [one for one in judge_delivery(evidence.history, bounds=_ACCUSING) if one.rule == "delivery.send_lag"]
    weighed: list[Finding] = []
    for one in findings:
        doubts = () if one.rule in _CERTAIN else [*own, *(late if one.rule in _BY_SECONDS else strict)]
        weighed += rest_on([one], doubts, fail_survives=False) if one.outcome is Outcome.FAIL else [one]
    return rest_on(weighed, [*delivered, *own])


def _own_limit(evidence: Evidence) -> list[Finding]:
    lag_ns = max((one.loop_lag.p99_ns for one in evidence.deliveries), default=0)
    if lag_ns > _MOST_LOOP_LAG_NS:
        says = (
            f"this machine was itself busy: the generator came to one timer in a hundred {format_duration(lag_ns)} late"
        )
        return [Finding("delivery.bottleneck", Outcome.INCONCLUSIVE, says)]
    busy = max((one.cpu_share - one.spin_share for one in _generators(evidence)), default=0.0)
    if busy <= _MOST_CPU:
        return []
    says = f"the generator itself used {busy:.0%} of a CPU"
    return [Finding("delivery.bottleneck", Outcome.INCONCLUSIVE, says)]


def _generators(evidence: Evidence) -> list[Any]:
    return [generator for delivery in evidence.deliveries for generator in delivery.generators]


def _limited(evidence: Evidence) -> list[Finding]:
    """Return INCONCLUSIVE where the rate limit stood before the capacity, for want of addresses to send from."""
    limit = gateway_limit(evidence.target)
    short = [one for one in evidence.facts.get("held", ()) if one["had"] < one["wanted"]]
    if limit is None or not short:
        return []
    count = int(np.count_nonzero(evidence.history.numbers("status") == limit.status))
    if count <= 0.01 * len(evidence.history):
        return []
    worst = max(short, key=lambda one: int(one["wanted"]))
    says = (
        f"{count} requests met the rate limit: {worst['wanted']} client addresses were wanted and "
        f"{worst['had']} declared (sources), so the capacity behind the limit can't be seen"
    )
    return [Finding("delivery.limited", Outcome.INCONCLUSIVE, says, len(evidence.history))]

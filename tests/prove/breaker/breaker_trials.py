"""Trials of the breaker judge: honest circuits that must not be accused, defective ones that should be."""

from __future__ import annotations

import heapq
from itertools import product

import numpy as np
from tests.prove.breaker.breakers import DEFECTS, MS, SCENARIOS, SECOND, TRIAL_NS, HonestBreaker, simulate

from proofload.core.seeds import stream
from proofload.judge.breaker import OPENING, RECOVERY, BackendHits, CircuitContext, judge_breaker
from proofload.judge.verdict import Outcome
from proofload.plan.policies import CircuitBreakerPolicy
from proofload.record.exchange import Ending

SHOWN_BY = {
    "cb.counts_non_consecutive": "mixed",
    "cb.counts_client_errors": "4xx",
    "cb.counts_contention": "contention",
    "cb.never_half_opens": "recover",
    "cb.timer_restarted_by_rejects": "recover",
    "cb.half_open_flood": "flood",
    "cb.closes_after_one": "kept",
    "cb.reopens_without_period": "kept",
    "cb.success_count_kept": "kept",
    "never closes": "recover",
}
"""The scenario that a case would play to find the defect; the others show it with `trip`."""


def judged(world, open_ns, expect=(*OPENING, *RECOVERY), tripping_call="service"):
    policy = CircuitBreakerPolicy(
        service="orders", operation="buy", open_for=f"{open_ns}ns", tripping_call=tripping_call
    )
    hits = (BackendHits(0, 1 << 60, world.hits, world.hits),)
    stage = CircuitContext(
        policy, world.history, world.spans, hits, trial_ns=TRIAL_NS, neutral_codes=("LOCK_CONTENTION",)
    )
    return judge_breaker(stage, np.arange(len(world.history)), expect=expect)


def fails(findings):
    return [finding for finding in findings if finding.outcome is Outcome.FAIL]


def honest_trial(seed, scenario):
    dice = stream(seed, "honest breaker", scenario)
    open_ns = dice.choice([2, 5, 10]) * SECOND
    world = simulate(
        seed,
        HonestBreaker(open_ns),
        scenario,
        open_ns,
        loss=dice.choice([0, 0.005, 0.05]),
        mean_ns=dice.choice([MS // 2, 3 * MS, 15 * MS]),
    )
    return judged(world, open_ns, tripping_call=dice.choice([None, "service"]))


def tellable(name, world, open_ns):
    """Return whether the true instants show it: no honest breaker would have given the answers that the client saw."""
    ending = world.history.numbers("ending")
    seen_rejection = any(not through and ending[row] == Ending.ANSWERED for _, row, through, _, _ in world.truth)
    if name in ("cb.no_fast_fail", "cb.wrong_status_when_open"):
        return seen_rejection
    # An unanswered call may never have come, or have gone either way, for all that a client knows.
    unanswered = np.flatnonzero(ending == Ending.UNKNOWN).tolist()
    if len(unanswered) > MOST_LOST:
        return False
    known = {row: (at, end) for at, row, _, end, _ in world.truth}
    sent = world.history.numbers("sent_ns")
    lost = [(row, *known.get(row, (int(sent[row]) + MS, int(sent[row]) + 2 * MS))) for row in unanswered]
    seen = [one for one in world.truth if ending[one[1]] == Ending.ANSWERED]
    for fates in product((None, "success", "failure", "neither"), repeat=len(lost)):
        guessed = [(at, row, None, end, fate) for (row, at, end), fate in zip(lost, fates, strict=True) if fate]
        if _explains(sorted([*seen, *guessed], key=lambda one: one[0]), open_ns):
            return False
    return True


def _explains(events, open_ns):
    """Return whether an honest breaker answers all events as they were seen."""
    honest, flying = HonestBreaker(open_ns), []
    for at, _, through, end, outcome in events:
        while flying and flying[0][0] <= at:
            honest.leave(*heapq.heappop(flying))
        passed = honest.enter(at)
        if through is not None and (passed is not None) != through:
            return False
        if passed is not None:
            heapq.heappush(flying, (end, passed, "success" if outcome == "rejected" else outcome))
    return True


MOST_LOST = 3
"""Worlds with more unanswered calls are left out of the brute force: each makes it four times as long."""


def detection(name, scenario, trials, seed0=0, loss=0.005):
    """Return (how many worlds could tell, how many of those were FAIL, calls in the median world)."""
    open_ns, could, found, sizes = 5 * SECOND, 0, 0, []
    for seed in range(seed0, seed0 + trials):
        world = simulate(seed, DEFECTS[name](open_ns), scenario, open_ns, loss=loss)
        sizes.append(len(world.history))
        if tellable(name, world, open_ns):
            could += 1
            found += bool(fails(judged(world, open_ns)))
    return could, found, int(np.median(sizes))


__all__ = ["SCENARIOS", "SHOWN_BY", "detection", "fails", "honest_trial", "judged"]

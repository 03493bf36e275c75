"""The breaker judge says PASS, FAIL and INCONCLUSIVE, each where it must."""

import numpy as np
import pytest
from tests.prove.breaker.breakers import DEFECTS, MS, SECOND, HonestBreaker, simulate

from proofload.judge.breaker import (
    OPENING,
    RECOVERY,
    BackendHits,
    CircuitContext,
    judge_breaker,
    judge_isolation,
    judge_never_trips,
)
from proofload.judge.verdict import Outcome, worst
from proofload.plan.policies import CircuitBreakerPolicy
from proofload.record.exchange import Ending, Exchange, Fault
from proofload.record.fault_edge import FaultSpan
from proofload.record.history import History

OPEN_NS = 5 * SECOND


def stage(world, tripping_call=None, **changes):
    policy = CircuitBreakerPolicy(
        service="orders", operation="buy", open_for=f"{OPEN_NS}ns", tripping_call=tripping_call
    )
    given = {"policy": policy, "history": world.history, "spans": world.spans, "neutral_codes": ("LOCK_CONTENTION",)}
    return CircuitContext(**{**given, **changes})


def world(scenario, breaker=HonestBreaker, seed=3, **kwargs):
    return simulate(seed, breaker(OPEN_NS), scenario, OPEN_NS, **{"loss": 0, **kwargs})


def every(played):
    return np.arange(len(played.history))


def outcome(findings, rule):
    return worst(finding.outcome for finding in findings if finding.rule == rule)


def rules(findings, wanted=Outcome.FAIL):
    return {finding.rule for finding in findings if finding.outcome is wanted}


def test_an_honest_breaker_passes_where_all_was_put_to_the_test():
    played = world("recover")
    found = judge_breaker(stage(played, hits=(BackendHits(0, 1 << 60, played.hits, played.hits),)), every(played))
    assert worst(finding.outcome for finding in found) is Outcome.PASS
    assert {*OPENING, *RECOVERY, "cb.slow_rejection", "cb.rejected_reached_backend"} <= rules(found, Outcome.PASS)


def test_without_a_proven_fault_there_is_no_verdict():
    unproven = world("recover", prove=False)
    found = judge_breaker(stage(unproven), every(unproven))
    assert rules(found) == set()
    assert outcome(found, "cb.opens_late") is Outcome.INCONCLUSIVE
    broken = world("trip", DEFECTS["cb.never_opens"], prove=False)
    assert rules(judge_breaker(stage(broken), every(broken))) == set()
    assert worst(one.outcome for one in judge_breaker(stage(broken, spans=()), every(broken))) is Outcome.INCONCLUSIVE


def test_recovery_that_was_never_tried_is_not_passed():
    played = world("trip")
    found = judge_breaker(stage(played), every(played))
    assert outcome(found, "cb.opens_late") is Outcome.PASS
    assert outcome(found, "cb.never_closes") is Outcome.INCONCLUSIVE
    assert outcome(judge_breaker(stage(played), every(played), expect=OPENING), "cb.opens_late") is Outcome.PASS


@pytest.mark.parametrize(
    ("defect", "scenario", "rule"),
    [
        ("cb.never_opens", "trip", "cb.never_opens"),
        ("cb.threshold_off_by_one (6th)", "trip", "cb.opens_late"),
        ("cb.threshold_off_by_one (4th)", "trip", "cb.opens_early"),
        ("cb.counts_non_consecutive", "mixed", "cb.opens_early"),
        ("cb.no_fast_fail", "trip", "cb.slow_rejection"),
        ("cb.never_half_opens", "recover", "cb.never_half_opens"),
        ("cb.timer_restarted_by_rejects", "recover", "cb.never_half_opens"),
        ("cb.half_open_flood", "flood", "cb.half_open_flood"),
        ("cb.closes_after_one", "kept", "cb.closes_early"),
        ("cb.success_count_kept", "kept", "cb.closes_early"),
        ("never closes", "recover", "cb.never_closes"),
    ],
)
def test_defect_breaks_its_rule(defect, scenario, rule):
    played = world(scenario, DEFECTS[defect])
    found = judge_breaker(stage(played, "service", trial_ns=20 * MS), every(played))
    assert rule in rules(found)
    broken = next(one for one in found if one.rule == rule)
    assert broken.rows
    assert broken.shown
    assert broken.look_at


def test_the_fourth_failure_is_named():
    played = world("trip", DEFECTS["cb.threshold_off_by_one (4th)"])
    found = next(one for one in judge_breaker(stage(played, "service"), every(played)) if one.rule == "cb.opens_early")
    assert "after 4 failures: 5 consecutive failures open it" in found.says
    assert len(found.rows) == 5


@pytest.mark.parametrize(
    ("kind", "defect"), [("4xx", "cb.counts_client_errors"), ("contention", "cb.counts_contention")]
)
def test_what_is_no_failure_never_trips(kind, defect):
    kept, broken = world(kind), world(kind, DEFECTS[defect])
    assert judge_never_trips(stage(kept), every(kept), kind)[0].outcome is Outcome.PASS
    assert judge_never_trips(stage(kept), every(kept)[:3], kind)[0].outcome is Outcome.INCONCLUSIVE
    assert judge_never_trips(stage(broken), every(broken), kind)[0].outcome is Outcome.FAIL


def test_a_healthy_service_is_left_alone():
    healthy = world("4xx")
    rows = healthy.history.rows_where()
    status = healthy.history.numbers("status")
    served = rows[status == 200]
    assert judge_isolation(stage(healthy, spans=()), served)[0].outcome is Outcome.INCONCLUSIVE  # too few
    shared = world("4xx", DEFECTS["cb.counts_client_errors"])
    ok_then_rejected = np.flatnonzero(shared.history.numbers("status") != 404)
    found = judge_isolation(stage(shared, spans=()), ok_then_rejected)[0]
    assert (found.rule, found.outcome) == ("cb.not_isolated", Outcome.FAIL)
    many = world("crowd")
    before = np.flatnonzero(many.history.numbers("done_ns") < many.spans[0].wide_from_ns)
    assert judge_isolation(stage(many, spans=()), before)[0].outcome is Outcome.PASS


def answers(*statuses, gap_ns=10 * MS, body=b'{"code":"CIRCUIT_OPEN"}'):
    def answer(number, status):
        at, done = number * gap_ns, number * gap_ns + MS
        kept = body if status == 503 else b"{}"
        return Exchange(
            *(0, "w", "op", 0, "127.0.0.2", 0),
            *(at, at, done, done, Ending.ANSWERED, Fault.NONE, status),
            *(0, 0, "", {}, kept),
        )

    return History.of(answer(number, status) for number, status in enumerate(statuses, 1))


SPAN = FaultSpan("stop", "orders", 0, 0, 1 << 60, 1 << 60, held=True, mended=True)


def test_rejections_without_their_body_decide_nothing():
    policy = CircuitBreakerPolicy(service="orders", operation="buy", open_for="5s")
    blind = CircuitContext(policy, answers(502, 502, 502, 502, 502, 503, 503, body=None), (SPAN,))
    found = judge_breaker(blind, range(7), expect=OPENING)
    assert rules(found) == set()
    assert outcome(found, "cb.reached_while_open") is Outcome.INCONCLUSIVE

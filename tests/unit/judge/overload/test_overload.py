"""The overload judge says PASS, FAIL and INCONCLUSIVE, each where it must."""

import dataclasses

import numpy as np
import polars as pl
import pytest
from tests.prove.overload.queues import DEFECTS, MS, POLICY, SECOND, Server, judged, loads, simulate

from proofload.judge.overload import Phases, find_capacity, judge_connections, judge_overload, steps_of
from proofload.judge.verdict import Outcome, worst
from proofload.record.history import History


def rules(findings, wanted=Outcome.FAIL):
    return {finding.rule for finding in findings if finding.outcome is wanted}


@pytest.mark.parametrize("seed", range(4))
def test_an_honest_server_passes_and_its_capacity_is_found(seed):
    found, capacity = judged(seed, Server())
    assert worst(finding.outcome for finding in found) is Outcome.PASS
    assert capacity.low <= 205
    assert 180 <= capacity.high <= 280  # four workers of 20 ms carry 200 a second
    assert capacity.peak.low <= 200 <= capacity.peak.high


@pytest.mark.parametrize(
    ("defect", "rule"),
    [
        ("res.unbounded_queue", "res.unbounded_queue"),
        ("goodput collapses", "res.goodput_collapse"),
        ("res.no_recovery", "res.no_recovery"),
        ("res.health_starved", "res.health_starved"),
        ("failures are 500", "res.unexpected_errors"),
        ("failures are slow", "res.slow_failures"),
    ],
)
def test_defect_breaks_its_rule(defect, rule):
    found, _ = judged(5, Server(**DEFECTS[defect]))
    assert rule in rules(found)


def test_a_crash_is_seen_after_the_load():
    found, _ = judged(5, Server(crashes_after=900))
    assert "res.crash" in rules(found)


def setting(seed=1, server=None):
    history, plan = simulate(seed, server or Server())
    ramp = [load for load in plan if load[3] == "ramp"]
    edges = [ramp[0][0], *(load[1] for load in ramp)]
    begin, end = next((load[0], load[1]) for load in plan if load[3] == "beyond")
    names = ("baseline", "beyond", "health", "after")
    phases = Phases(*(history.of_workloads(name) for name in names), ended_ns=end)
    return history, edges, (begin, end), phases


def test_a_ramp_that_was_carried_whole_finds_no_capacity():
    history, edges, _, phases = setting()
    easy = find_capacity(steps_of(history, history.of_workloads("ramp"), edges[:3]))
    assert "carried all of it" in easy.why_not
    found = judge_overload(POLICY, history, easy, easy.steps[-1], phases)
    assert worst(finding.outcome for finding in found) is Outcome.INCONCLUSIVE
    assert "no load" in find_capacity([]).why_not


def test_a_load_that_is_not_beyond_capacity_decides_nothing():
    history, edges, _, phases = setting()
    capacity = find_capacity(steps_of(history, history.of_workloads("ramp"), edges))
    found = judge_overload(POLICY, history, capacity, capacity.steps[-1], phases)
    assert worst(finding.outcome for finding in found) is Outcome.INCONCLUSIVE


def test_too_few_answers_decide_nothing():
    history, edges, span, phases = setting()
    capacity = find_capacity(steps_of(history, history.of_workloads("ramp"), edges))
    beyond = steps_of(history, history.of_workloads("beyond"), span)[0]
    few = dataclasses.replace(phases, after=phases.after[:5], health=phases.health[:2])
    found = judge_overload(POLICY, history, capacity, beyond, few)
    assert {"res.no_recovery", "res.crash", "res.health_starved"} <= rules(found, Outcome.INCONCLUSIVE)
    assert rules(found) == set()


def test_errors_in_good_answers():
    history, edges, span, phases = setting()
    capacity = find_capacity(steps_of(history, history.of_workloads("ramp"), edges))
    beyond = steps_of(history, history.of_workloads("beyond"), span)[0]
    for body, wanted in ((b'{"error":"full"}', Outcome.FAIL), (b'{"ok":true}', Outcome.PASS)):
        kept = History(history.frame.with_columns(body=pl.lit(body, dtype=pl.Binary)))
        found = judge_overload(POLICY, kept, capacity, beyond, phases, error_marks=(b'"error"',))
        assert next(one.outcome for one in found if one.rule == "res.errors_as_200") is wanted


def test_connections():
    assert judge_connections(5, 6, 1_000)[0].outcome is Outcome.PASS
    assert judge_connections(5, 300, 1_000)[0].outcome is Outcome.FAIL
    assert judge_connections(5, 6, 10)[0].outcome is Outcome.INCONCLUSIVE


def test_a_step_tells_offered_and_good_apart():
    history, _, (begin, end), _ = setting()
    step = steps_of(history, history.of_workloads("beyond"), [begin, end])[0]
    assert step.offered.low <= 460 <= step.offered.high
    assert step.goodput.high < 300
    assert step.carried is False
    assert np.isclose(sum(load[1] - load[0] for load in loads(200)), 49 * SECOND)
    assert steps_of(history, [], [0, MS]) == []

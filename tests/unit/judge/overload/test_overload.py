"""The overload judge says PASS, FAIL and INCONCLUSIVE, each where it must."""

import dataclasses

import numpy as np
import polars as pl
import pytest
from tests.prove.overload.queues import DEFECTS, MS, POLICY, SECOND, Server, judged, loads, simulate

from proofload.judge.overload import Phases, find_capacity, judge_connections, judge_overload, steps_of
from proofload.judge.verdict import Outcome, worst
from proofload.record.exchange import Ending, Fault
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
        under_load = pl.col("workload").cast(pl.String) == "beyond"
        kept = History(history.frame.with_columns(body=pl.when(under_load).then(pl.lit(body, dtype=pl.Binary))))
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


def changed(history, rows, **columns):
    """Return the history with other values in some rows; a function is given the row's instants of sending."""
    frame = history.frame
    for name, value in columns.items():
        values = frame[name].to_numpy().copy()
        values[rows] = value(frame["sent_ns"].to_numpy()[rows]) if callable(value) else value
        frame = frame.with_columns(pl.Series(name, values))
    return History(frame)


def judged_again(history, phases, rule):
    """Return the finding on a changed history."""
    _, edges, span, _ = setting()
    capacity = find_capacity(steps_of(history, history.of_workloads("ramp"), edges))
    beyond = steps_of(history, history.of_workloads("beyond"), span)[0]
    found = {one.rule: one for one in judge_overload(POLICY, history, capacity, beyond, phases)}
    return found.get(rule)


def after(passed_ns):
    return lambda sent: sent + passed_ns


@pytest.mark.parametrize(
    ("slow", "wanted"), [(0, Outcome.PASS), (1, Outcome.PASS), (4, Outcome.INCONCLUSIVE), (30, Outcome.FAIL)]
)
def test_health_is_starved_only_where_noise_would_not_do(slow, wanted):
    history, _, _, phases = setting()
    history = changed(history, phases.health[:slow], done_ns=after(2 * SECOND))
    assert judged_again(history, phases, "res.health_starved").outcome is wanted


def test_health_is_compared_with_that_at_ease():
    history, _, _, phases = setting()
    at_ease = dataclasses.replace(phases, health_at_ease=phases.after[:25])
    # Checks that take 150 ms with ease may take 700 ms of a busy machine, and 1.2 s of an unlucky one.
    history = changed(history, phases.after[:25], done_ns=after(150 * MS))
    slower = changed(history, phases.health[:20], done_ns=after(700 * MS))
    assert judged_again(slower, at_ease, "res.health_starved").outcome is Outcome.PASS
    starved = changed(history, phases.health[:30], done_ns=after(3 * SECOND))
    assert judged_again(starved, at_ease, "res.health_starved").outcome is Outcome.FAIL


def test_health_is_not_accused_while_we_were_late_ourselves():
    history, _, _, phases = setting()
    late = np.concatenate([phases.beyond, phases.health])
    history = changed(history, phases.health, done_ns=after(3 * SECOND))
    history = changed(history, late, intended_ns=after(-353 * MS))
    said = judged_again(history, phases, "res.health_starved")
    assert said.outcome is Outcome.INCONCLUSIVE
    assert "this machine itself was 353ms late" in said.says


def test_a_baseline_that_fails_by_itself_is_none():
    history, _, _, phases = setting()
    history = changed(history, phases.baseline[:49], status=500)
    said = judged_again(history, phases, "res.capacity_found")
    assert said.outcome is Outcome.INCONCLUSIVE
    assert said.says == f"no healthy baseline: 49 of {len(phases.baseline)} requests failed before any overload"
    assert judged_again(history, phases, "res.no_recovery") is None


def test_slow_health_at_ease_is_no_baseline():
    history, _, _, phases = setting()
    history = changed(history, phases.after[:25], done_ns=after(388 * MS))
    slow = dataclasses.replace(phases, health_at_ease=phases.after[:25])
    assert "half of the health checks took over 388ms" in judged_again(history, slow, "res.capacity_found").says


def test_a_few_failures_more_than_before_are_no_lost_recovery():
    history, _, _, phases = setting()
    history = changed(history, phases.baseline[:6], status=500)
    late = phases.after[-200:]
    few = changed(history, late[:12], status=500)
    assert judged_again(few, phases, "res.no_recovery").outcome is Outcome.PASS
    many = changed(history, late[:60], status=500)
    assert judged_again(many, phases, "res.no_recovery").outcome is Outcome.FAIL


@pytest.mark.parametrize(
    ("waited_ns", "wanted"),
    [
        pytest.param(5 * SECOND, Outcome.FAIL, id="for longer than is promised"),
        pytest.param(500 * MS, Outcome.INCONCLUSIVE, id="for less"),
    ],
)
def test_a_request_that_is_never_answered_is_a_slow_failure(waited_ns, wanted):
    history, _, _, phases = setting()
    status = history.numbers("status")[phases.beyond]
    refused = phases.beyond[status == 503]
    history = changed(
        history, refused[4:], ending=int(Ending.UNKNOWN), fault=int(Fault.TIMEOUT), status=0, done_ns=after(waited_ns)
    )
    said = judged_again(history, phases, "res.slow_failures")
    assert said.outcome is wanted
    assert f"{len(refused) - 4} of them without an answer" in said.says


def test_requests_that_crossed_a_close_are_no_crash_and_no_proof_of_life():
    history, _, _, phases = setting()
    crossed = changed(
        history, phases.beyond[:100], ending=int(Ending.UNKNOWN), fault=int(Fault.REUSED_CONNECTION_CLOSED), status=0
    )
    assert judged_again(crossed, phases, "res.crash").outcome is Outcome.INCONCLUSIVE
    assert judged_again(history, phases, "res.crash").outcome is Outcome.PASS

"""TC-RES-001 judged on simulated servers: PASS, FAIL and INCONCLUSIVE, each where it must be."""

from __future__ import annotations

import dataclasses

import polars as pl
import pytest
from tests.prove.overload.queues import DEFECTS, SECOND, Server, loads, simulate
from tests.unit.cases.tape import case_findings, why_missing

from proofload.cases.case import PlannedCase
from proofload.cases.resilience import overload
from proofload.core.clock import Anchor
from proofload.judge.evidence import Evidence
from proofload.judge.verdict import Outcome, Verdict
from proofload.plan.target import Target
from proofload.record.delivery import Delivery, GeneratorDelivery, Lag

CASE = "TC-RES-001"
TARGET = {
    "version": 1,
    "address": "http://127.0.0.1:1",
    "operations": {"read": {"path": "/read"}},
    "policies": {
        "overload": {"operation": "read", "health": "/health", "starts_at": 20, "most": 2000, "recovers_within": "2s"}
    },
}
LIMITED = {
    **TARGET,
    "policies": {**TARGET["policies"], "rate_limit": [{"limit": 100, "window": "60s", "probe": "read"}]},
}


def evidence(server: Server | None = None, target: dict = TARGET, *, had: int = 100, busy: float = 0.3) -> Evidence:
    """Return what a run of the case on a simulated server would leave behind."""
    history, plan = simulate(3, server or Server())
    held, cuts = [], []
    for begin, end, rate, phase in plan:
        name = f"ramp {rate:.0f}" if phase == "ramp" else phase
        cuts.append((begin, end, phase, name))
        held.append({"name": name, "for_ns": end - begin, "rate": round(rate), "wanted": 100, "had": had})
    named = pl.lit("")
    for begin, end, phase, name in cuts:
        here = (pl.col("workload").cast(pl.String) == phase) & pl.col("intended_ns").is_between(begin, end - 1)
        named = pl.when(here).then(pl.lit(f"{CASE}/{name}")).otherwise(named)
    is_health = pl.col("workload").cast(pl.String) == "health"
    named = pl.when(is_health).then(pl.lit(f"{CASE}/health")).otherwise(named)
    history.frame = history.frame.with_columns(named.cast(pl.Categorical).alias("workload"))
    generator = GeneratorDelivery(0, len(history), busy, 0.0, Lag())
    return Evidence(
        CASE,
        Target.model_validate(target),
        history,
        Anchor(0, 0, 0),
        (Delivery(generators=(generator,)),),
        facts={"held": held, "attempt": 0},
    )


def verdict(found: Evidence) -> Verdict:
    return Verdict.of(CASE, case_findings("TC-RES-001", found))


def test_an_honest_server_passes() -> None:
    said = verdict(evidence())
    assert said.outcome is Outcome.PASS, [(one.rule, one.outcome, one.says) for one in said.findings]


@pytest.mark.parametrize("defect", sorted(DEFECTS))
def test_every_defect_fails(defect: str) -> None:
    server = Server(**DEFECTS[defect])
    if server.crashes_after is not None:
        server = dataclasses.replace(server, crashes_after=900)
    assert verdict(evidence(server)).outcome is Outcome.FAIL


def test_a_generator_without_a_cpu_to_itself_accuses_nobody_of_slowness() -> None:
    slow = evidence(Server(**DEFECTS["res.no_recovery"]), busy=0.97)
    assert verdict(slow).outcome is Outcome.INCONCLUSIVE


def test_but_what_no_slowness_explains_stays_a_fail() -> None:
    broken = evidence(Server(**DEFECTS["failures are 500"]), busy=0.97)
    found = {one.rule for one in verdict(broken).findings if one.outcome is Outcome.FAIL}
    assert found == {"res.unexpected_errors"}


def test_a_capacity_that_was_never_reached_decides_nothing() -> None:
    found = evidence()
    easy = {"held": [one for one in found.facts["held"] if one["rate"] < 150], "attempt": 0}
    rows = found.history.rows_where(~pl.col("workload").cast(pl.String).str.contains("beyond|after"))
    history = type(found.history)(found.history.frame[rows])
    said = verdict(dataclasses.replace(found, facts=easy, history=history))
    assert said.outcome is Outcome.INCONCLUSIVE
    assert "carried all of it" in said.findings[0].says


def test_nothing_sent_decides_nothing() -> None:
    found = evidence()
    nothing = dataclasses.replace(found, history=type(found.history).empty(), facts={})
    assert verdict(nothing).outcome is Outcome.INCONCLUSIVE


def test_a_rate_limit_that_stands_before_the_capacity_is_named() -> None:
    found = evidence(Server(reject_status=429), LIMITED, had=1)
    said = verdict(found)
    assert said.outcome is Outcome.INCONCLUSIVE
    assert "client addresses were wanted" in " ".join(one.says for one in said.findings)


def test_a_target_without_the_policy_is_skipped_and_one_with_it_is_not() -> None:
    assert "policies.overload" in why_missing("TC-RES-001", Target.model_validate({**TARGET, "policies": {}}))
    assert why_missing("TC-RES-001", Target.model_validate(TARGET)) == ""
    assert PlannedCase.of(overload.overload, Target.model_validate(TARGET)).takes_ns > 10 * SECOND
    assert loads(100)[0][3] == "baseline"


def test_late_starts_of_ours_weigh_against_an_accusation_first() -> None:
    slow = evidence(Server(**DEFECTS["res.no_recovery"]))
    lag = pl.when(pl.int_range(pl.len()) % 50 == 0).then(SECOND // 5).otherwise(0)
    shifted = slow.history.frame.with_columns((pl.col("intended_ns") - lag).alias("intended_ns"))
    late = dataclasses.replace(slow, history=type(slow.history)(shifted))
    assert verdict(slow).outcome is Outcome.FAIL
    assert verdict(late).outcome is Outcome.INCONCLUSIVE
    starved = evidence(Server(**DEFECTS["res.health_starved"]))
    frame = starved.history.frame.with_columns((pl.col("intended_ns") - lag).alias("intended_ns"))
    found = verdict(dataclasses.replace(starved, history=type(starved.history)(frame)))
    assert {one.rule for one in found.findings if one.outcome is Outcome.FAIL} == {"res.health_starved"}


def test_a_loop_of_ours_that_stalled_accuses_nobody_of_slowness() -> None:
    slow = evidence(Server(**DEFECTS["res.no_recovery"]))
    (delivery,) = slow.deliveries
    stalled = dataclasses.replace(delivery, loop_lag=Lag(samples=500, p99_ns=SECOND // 4))
    found = verdict(dataclasses.replace(slow, deliveries=(stalled,)))
    assert found.outcome is Outcome.INCONCLUSIVE
    assert "this machine was itself busy" in " ".join(one.says for one in found.findings)
    assert verdict(slow).outcome is Outcome.FAIL


def test_nothing_is_judged_without_a_healthy_baseline() -> None:
    found = evidence()
    rows = found.history.of_workloads(f"{CASE}/baseline")[:49]
    status = found.history.frame["status"].to_numpy().copy()
    status[rows] = 500
    found.history.frame = found.history.frame.with_columns(pl.Series("status", status))
    said = verdict(found)
    assert said.outcome is Outcome.INCONCLUSIVE
    assert "no healthy baseline: 49 of " in " ".join(one.says for one in said.findings)

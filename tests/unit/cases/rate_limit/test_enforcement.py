"""TC-RL-001 over several limits, wrong models, and every way to write one request: PASS, FAIL and INCONCLUSIVE."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import polars as pl
import pytest
from tests.prove.rate_limit.limiters import (
    ClockWindowServer,
    FixedWindowServer,
    NoLimit,
    SlidingLogServer,
    TokenBucketServer,
)
from tests.prove.rate_limit.worlds import ANCHOR, SECOND
from tests.unit.cases.rate_limit.worlds import MS, Send, answered, by, fails, of_rule, steady, target_of
from tests.unit.cases.tape import case_findings, outcome

from proofload.cases.rate_limit.driving import beyond, plan_other, step_of_other
from proofload.cases.rate_limit.window_end import model_start_ns
from proofload.judge.rate_limit import separating_phase_ns, separating_schedule
from proofload.judge.verdict import Outcome
from proofload.plan.policies import RateLimitPolicy
from proofload.record.history import History

CASE = "TC-RL-001"
SHORT = "name: short, limit: 10, window: 1s, probe: read, headers: {limit: null, remaining: null, reset: null}"
LONG = "name: long, limit: 15, window: 10s, probe: read"
WIDE = "name: wide, limit: 20, window: 5s, probe: read, applies_to: ['/api/*']"
NARROW = "name: narrow, limit: 3, window: 5s, probe: other, applies_to: [/api/other]"
ONE = "limit: 10, window: 5s, probe: read"


def choreography(policy: RateLimitPolicy, start_ms: float = 1_000) -> list[Send]:
    """Return what the case sends for its first limit, but for evasions."""
    window_ms, size = policy.window / MS, policy.allowance
    sends = steady(size + 5, "sequence", at_ms=start_ms)
    sends += steady(size + 10, "burst", gap_ms=0.01, at_ms=start_ms + 60, ip="2")
    sends += steady(3, "bystander", at_ms=start_ms + 100, ip="3")
    for number in range(1, 9):
        sends += steady(1, f"retry {number}", at_ms=start_ms + window_ms * number / 9)
    sends += steady(1, "crowd meanwhile", at_ms=start_ms + window_ms * 0.55, ip="2")
    for beyond_ms in range(200, 2_000, 200):
        sends += steady(1, f"retry {10 + beyond_ms}", at_ms=start_ms + window_ms + beyond_ms)
    for step, ip in (("after window", "1"), ("crowd again", "2")):
        sends += steady(3, step, at_ms=start_ms + window_ms + 2_000, ip=ip)
    return sends


def model(policy: RateLimitPolicy) -> list[Send]:
    """Return the groups of the separating schedule."""
    start_ms = model_start_ns(policy, ANCHOR, SECOND) / MS
    sends: list[Send] = []
    for number, (offset_ns, count) in enumerate(separating_schedule(policy), 1):
        sends += steady(count, f"model {number}", gap_ms=0.1, at_ms=start_ms + offset_ns / MS, ip="9")
    return sends


def judged(limits: tuple[str, ...], limiter: Any, *more: Send) -> Any:
    target = target_of(*limits)
    policy = next(one for one in target.policies.rate_limit if one.allowance in (10, 20))
    return case_findings(CASE, answered(CASE, target, [*choreography(policy), *more], limiter))


def other_sends(limits: tuple[str, ...], name: str) -> list[Send]:
    target = target_of(*limits)
    policy = next(one for one in target.policies.rate_limit if one.name == name)
    count, every_ns = plan_other(target, policy)
    step = step_of_other(policy)
    return steady(count, step, gap_ms=max(2, every_ns / MS), at_ms=9_000, op=policy.probe, ip="5")


@pytest.mark.parametrize("order", [1, -1])
def test_two_limits_on_everything(order: int) -> None:
    """A5, B2: neither is blamed for the other's rejections, and each is put to the test."""
    limits = (SHORT, LONG)[::order]
    short, long = (FixedWindowServer(10, SECOND), ""), (FixedWindowServer(15, 10 * SECOND), "")
    tested = other_sends(limits, "long")
    assert outcome(judged(limits, by(short, long), *tested)) is Outcome.PASS
    off = judged(limits, by((FixedWindowServer(10, SECOND), ""), (NoLimit(15, 10 * SECOND), "")), *tested)
    assert "rl.over_admission" in fails(off)
    assert any(one.says.startswith("long: ") for one in off if one.outcome is Outcome.FAIL)
    untested = judged(limits, by((FixedWindowServer(10, SECOND), ""), (FixedWindowServer(15, 10 * SECOND), "")))
    (found,) = of_rule(untested, "rl.untested")
    assert (found.outcome, outcome(untested)) == (Outcome.INCONCLUSIVE, Outcome.INCONCLUSIVE)


def test_a_limit_on_one_path_beside_one_on_many() -> None:
    limits = WIDE, NARROW
    tested = other_sends(limits, "narrow")
    assert len(tested) == 8
    wide = FixedWindowServer(20, 5 * SECOND)
    assert outcome(judged(limits, by((wide, ""), (FixedWindowServer(3, 5 * SECOND), "other")), *tested)) is Outcome.PASS
    off = judged(limits, by((FixedWindowServer(20, 5 * SECOND), "")), *tested)
    assert any(one.says.startswith("narrow: ") for one in off if one.outcome is Outcome.FAIL)


def test_a_limit_that_no_client_can_come_near_blocks_nothing() -> None:
    limits = ONE, "name: day, limit: 100000, window: 60s, probe: read"
    found = judged(limits, by((FixedWindowServer(10, 5 * SECOND), "")))
    (untested,) = of_rule(found, "rl.untested")
    assert untested.outcome is Outcome.SKIPPED
    assert "can't be met" in untested.says
    assert outcome(found) is Outcome.PASS


@pytest.mark.parametrize(
    ("limits", "name", "expected"),
    [
        ((SHORT, LONG), "long", 20),
        ((WIDE, NARROW), "narrow", 8),
        ((ONE, "name: hour, limit: 1000, window: 3600s, probe: read"), "hour", 0),
        ((ONE, "name: more, limit: 50, window: 5s, probe: read"), "more", 0),
    ],
)
def test_another_limit_is_used_up_below_the_tighter_one(limits: tuple[str, ...], name: str, expected: int) -> None:
    target = target_of(*limits)
    assert plan_other(target, next(one for one in target.policies.rate_limit if one.name == name))[0] == expected


SERVERS = {
    "fixed_window": FixedWindowServer,
    "clock": ClockWindowServer,
    "sliding_log": SlidingLogServer,
    "token_bucket": lambda limit, window: TokenBucketServer(limit, window, limit),
}


@pytest.mark.parametrize("true", SERVERS)
@pytest.mark.parametrize("declared", SERVERS)
def test_a_pass_tells_the_declared_model_from_the_others(true: str, declared: str) -> None:
    """B1: a fixed window that was declared a sliding log passed."""
    algorithm = "algorithm: fixed_window, alignment: clock" if declared == "clock" else f"algorithm: {declared}"
    limits = (f"{ONE}, {algorithm}",)
    (policy,) = target_of(*limits).policies.rate_limit
    found = judged(limits, by((SERVERS[true](10, 5 * SECOND), "")), *model(policy))
    (seen,) = of_rule(found, "rl.model")
    if true == declared:
        assert not fails(found)
        assert seen.outcome is Outcome.PASS
    else:
        assert "rl.model" in fails(found)


def test_where_another_limit_is_met_first_the_model_is_not_told() -> None:
    limits = SHORT, LONG
    (policy,) = (one for one in target_of(*limits).policies.rate_limit if one.name == "short")
    servers = (SlidingLogServer(3, 20 * SECOND), ""), (FixedWindowServer(10, SECOND), "")
    target = target_of(SHORT, "name: long, limit: 3, window: 20s, probe: read")
    found = case_findings(CASE, answered(CASE, target, model(policy), by(*servers)))
    assert "rl.model" not in fails(found)


def test_the_schedule_begins_where_edges_of_the_clock_show() -> None:
    policy = RateLimitPolicy(limit=10, window="5s", probe="read")
    for now_ns in (0, SECOND, 7 * SECOND + 1):
        at_ns = model_start_ns(policy, ANCHOR, now_ns)
        assert 0 <= at_ns - now_ns < policy.window
        assert (ANCHOR.to_wall_ns(at_ns) - separating_phase_ns(policy)) % policy.window == 0


class Comeback(FixedWindowServer):
    """The expiry is set in a step of its own, which a crowd undoes: in mid-window a new one begins."""

    def decide(self, key: str, now: int, worker: int = 0) -> Any:
        counter = self.live(key, now)
        if counter[0] > self.limit + 5 and now > counter[1] - self.window_ns * 6 // 10:
            self.counters.pop(key)
        return super().decide(key, now)


def test_who_comes_back_after_a_crowd_in_mid_window_is_still_limited() -> None:
    """B12: INCR and EXPIRE apart under concurrency, and nobody came back."""
    found = judged((ONE,), by((Comeback(10, 5 * SECOND), "")))
    assert "rl.over_admission" in fails(found)
    assert outcome(judged((ONE,), by((FixedWindowServer(10, 5 * SECOND), "")))) is Outcome.PASS


def evading(step: str, statuses: list[int], *, tag: str = "", window: int = 5, limit: int = 10) -> Any:
    """Return the findings where what was varied got these statuses."""
    target = target_of(f"limit: {limit}, window: {window}s, probe: read")
    (policy,) = target.policies.rate_limit
    sends = [*choreography(policy), *steady(len(statuses), step, at_ms=1_035)]
    inner, told = by((FixedWindowServer(limit, window * SECOND), "")), iter(statuses)
    found = answered(CASE, target, sends, lambda one: next(told) if one[1] == step else inner(one),
                     tags=lambda one: tag if one[1] == step else "")  # fmt: skip
    return case_findings(CASE, found)


STEPS = [("query", ""), ("forged header", ""), ("new connection", ""), ("varied", "upper case")]


@pytest.mark.parametrize(("step", "tag"), STEPS)
def test_a_varied_request_is_rejected_like_a_plain_one(step: str, tag: str) -> None:
    assert outcome(evading(step, [429] * 3, tag=tag)) is Outcome.PASS
    broken = evading(step, [200, 200, 429], tag=tag)
    assert fails(broken) == {"rl.evasion"}
    assert all(tag in one.says + one.look_at for one in broken if one.outcome is Outcome.FAIL)


@pytest.mark.parametrize("status", [404, 405, 301, 308, 400])
def test_what_is_another_request_to_the_target_evades_nothing(status: int) -> None:
    found = evading("varied", [status] * 3, tag="slash at the end")
    assert outcome(found) is Outcome.PASS
    assert [one.outcome for one in of_rule(found, "rl.evasion")] == [Outcome.SKIPPED]


def test_what_is_exceeded_without_variation_is_no_evasion() -> None:
    """A7: over-admission of the plain sequence was told as an evasion by query, header and path too."""
    target = target_of(ONE)
    (policy,) = target.policies.rate_limit
    sends = [*choreography(policy), *steady(3, "query", at_ms=1_035)]
    found = case_findings(CASE, answered(CASE, target, sends, by((FixedWindowServer(13, 5 * SECOND), ""))))
    assert "rl.evasion" not in fails(found)
    assert "rl.over_admission" in fails(found)


def test_slow_rejections_beside_a_slow_loop_of_ours_block_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """B19: it must never block a PASS of enforcement."""
    from proofload.cases.rate_limit import judging
    from proofload.judge.verdict import Finding

    slow = [Finding("rl.slow_reject", Outcome.FAIL, "a rejection costs as much as a served request")]
    monkeypatch.setattr(judging, "judge_rejection_speed", lambda *_, **__: slow)
    target = target_of(ONE)
    (policy,) = target.policies.rate_limit
    told = answered(CASE, target, choreography(policy), by((FixedWindowServer(10, 5 * SECOND), "")))
    assert fails(case_findings(CASE, told)) == {"rl.slow_reject"}
    late: Any = type("Late", (), {"loop_lag": type("Lag", (), {"p99_ns": SECOND})})
    busy = case_findings(CASE, replace(told, deliveries=(late,)))
    assert outcome(busy) is Outcome.PASS


@pytest.mark.parametrize(("rejection_ms", "expected"), [(300, Outcome.FAIL), (5, Outcome.PASS)])
def test_enough_is_rejected_one_by_one_to_tell_that_rejecting_costs_as_much(
    rejection_ms: int, expected: Outcome
) -> None:
    """Evasions are sent side by side, and are not compared with what was served alone."""
    target = target_of("limit: 20, window: 60s, probe: read")
    sends = steady(20 + beyond(20), "sequence", gap_ms=400)
    told = answered(CASE, target, sends, by((FixedWindowServer(20, 60 * SECOND), "")))
    status = told.history.numbers("status")
    took = pl.Series([310 * MS if one == 200 else rejection_ms * MS for one in status.tolist()])
    slow = told.history.frame.with_columns(done_ns=pl.col("sent_ns") + took)
    (found,) = of_rule(case_findings(CASE, replace(told, history=History(slow))), "rl.slow_reject")
    assert found.outcome is expected

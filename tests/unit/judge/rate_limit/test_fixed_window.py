"""The fixed-window judges say PASS, FAIL and INCONCLUSIVE, each where they must, with the smallest counterexample."""

import math

import numpy as np
import polars as pl
import pytest
from tests.prove.rate_limit.limiters import FIXED_WINDOW_DEFECTS, FixedWindowServer
from tests.prove.rate_limit.worlds import ANCHOR, MS, SECOND, simulate

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
    judge_store_down,
)
from proofload.judge.verdict import Outcome, worst
from proofload.plan.policies import RateLimitPolicy
from proofload.record.exchange import Ending, Exchange, Fault
from proofload.record.fault_edge import FaultSpan
from proofload.record.history import History

LIMIT, WINDOW = 10, 60 * SECOND


def policy(**changes):
    return RateLimitPolicy(**{"limit": LIMIT, "window": f"{WINDOW}ns", "probe": "read", **changes})


def world(pattern, server=FixedWindowServer, seed=1, **kwargs):
    return simulate(seed, server(LIMIT, WINDOW), pattern, LIMIT, WINDOW, **{"loss": 0, **kwargs}).history


def scene(history, **changes):
    return RateLimitContext(**{"policy": policy(), "history": history, "anchor": ANCHOR, **changes})


def every(history):
    return np.arange(len(history))


def outcome(findings, rule):
    return worst(finding.outcome for finding in findings if finding.rule == rule)


def judge(history, **changes):
    on, rows = scene(history, **changes), every(history)
    return [
        *judge_admission(on, rows),
        *judge_headers(on, rows),
        *judge_promised_reset(on, rows),
        *judge_isolation(on, rows),
    ]


@pytest.mark.parametrize("pattern", ["sequence", "burst", "sequence_then_reset", "saturating", "two_keys"])
@pytest.mark.parametrize("rounding", [math.floor, math.ceil])
def test_honest_limiter_is_never_accused(pattern, rounding):
    found = judge(world(pattern, rounding=rounding))
    assert [one for one in found if one.outcome is Outcome.FAIL] == []
    for rule in ("rl.over_admission", "rl.wrongful_rejection", "rl.remaining_wrong", "rl.wrong_status"):
        assert outcome(found, rule) is Outcome.PASS


def test_admission_abstains_when_the_limit_was_never_tried():
    history = world("sequence")
    found = judge_admission(scene(history), np.arange(LIMIT - 2))
    assert outcome(found, "rl.over_admission") is Outcome.INCONCLUSIVE
    assert outcome(found, "rl.wrongful_rejection") is Outcome.INCONCLUSIVE


def test_traffic_below_the_limit_passes_with_a_needed_count_of_its_own():
    history = world("sequence")
    found = judge_admission(scene(history), np.arange(LIMIT - 2), needed=LIMIT - 2)
    assert outcome(found, "rl.wrongful_rejection") is Outcome.PASS


@pytest.mark.parametrize(
    ("defect", "rule", "pattern"),
    [
        ("rl.limit_plus_one", "rl.over_admission", "sequence"),
        ("rl.limit_plus_one", "rl.over_admission", "burst"),
        ("rl.limit_minus_one", "rl.wrongful_rejection", "sequence"),
        ("rl.race_get_then_set", "rl.over_admission", "burst"),
        ("rl.per_process_counter", "rl.over_admission", "burst"),
        ("rl.immortal_key", "rl.wrongful_rejection", "sequence_then_reset"),
        ("rl.immortal_key", "rl.reset_untrue", "sequence_then_reset"),
        ("rl.ttl_refreshed", "rl.wrongful_rejection", "saturating"),
        ("rl.key_ignores_ip", "rl.key_leak", "two_keys"),
        ("limiter off", "rl.never_rejects", "sequence"),
        ("rl.remaining_stuck", "rl.remaining_wrong", "sequence"),
        ("rl.remaining_negative", "rl.remaining_wrong", "sequence"),
        ("rl.race_get_then_set", "rl.remaining_duplicate", "burst"),
        ("rl.reset_untrue", "rl.reset_untrue", "sequence"),
        ("rl.retry_after_too_short", "rl.retry_after_untrue", "sequence"),
    ],
)
def test_defect_breaks_its_rule(defect, rule, pattern):
    assert outcome(judge(world(pattern, FIXED_WINDOW_DEFECTS[defect])), rule) is Outcome.FAIL


def test_one_too_many_is_told_with_the_row_that_is_too_many():
    history = world("sequence", FIXED_WINDOW_DEFECTS["rl.limit_plus_one"])
    found = next(one for one in judge_admission(scene(history), every(history)) if one.rule == "rl.over_admission")
    assert len(found.rows) == LIMIT + 1
    assert found.rows[-1] == LIMIT  # rows count from 0: this is the 11th
    assert "11th admitted request is row 10" in found.says
    assert any("answered 200" in line and "row 10" in line for line in found.shown)


def with_column(history, **columns):
    return History(history.frame.with_columns(**columns))


def header(name):
    return f"header:x-ratelimit-{name}"


def test_headers_missing_on_served_answers():
    history = world("sequence")
    lost = pl.when(pl.col("status") == 200).then(None).otherwise(pl.col(header("limit")))
    found = judge_headers(scene(with_column(history, **{header("limit"): lost})), every(history))
    assert outcome(found, "rl.header_missing") is Outcome.FAIL
    assert outcome(judge_headers(scene(history), every(history)), "rl.header_missing") is Outcome.PASS
    assert outcome(judge_headers(scene(history), np.arange(3)), "rl.header_missing") is Outcome.INCONCLUSIVE


def test_a_header_that_no_answer_carries_is_missing():
    history = History(world("sequence").frame.drop(header("reset")))
    assert outcome(judge_headers(scene(history), every(history)), "rl.header_missing") is Outcome.FAIL


@pytest.mark.parametrize("text", ["11", "ten", ""])
def test_wrong_limit_header(text):
    history = with_column(world("sequence"), **{header("limit"): pl.lit(text)})
    assert outcome(judge_headers(scene(history), every(history)), "rl.limit_header_wrong") is Outcome.FAIL


def test_limit_header_with_its_policy_appended_is_right():
    history = with_column(world("sequence"), **{header("limit"): pl.lit("10, 10;w=60")})
    assert outcome(judge_headers(scene(history), every(history)), "rl.limit_header_wrong") is Outcome.PASS


@pytest.mark.parametrize("wrong", [pl.col(header("reset")) + "000", pl.lit("42"), pl.lit("tomorrow")])
def test_reset_in_another_unit(wrong):
    history = with_column(world("sequence"), **{header("reset"): wrong})
    assert outcome(judge_headers(scene(history), every(history)), "rl.reset_wrong_unit") is Outcome.FAIL


def test_reset_without_an_anchor_decides_nothing():
    history = world("sequence")
    found = judge_headers(scene(history, anchor=None), every(history))
    assert outcome(found, "rl.reset_untrue") is Outcome.INCONCLUSIVE


def test_reset_off_by_less_than_the_declared_skew_is_no_lie():
    history = world("sequence", skew_ns=5 * SECOND)
    assert outcome(judge_headers(scene(history), every(history)), "rl.reset_untrue") is Outcome.FAIL
    near = judge_headers(scene(history, clock_skew_ns=5 * SECOND), every(history))
    assert outcome(near, "rl.reset_untrue") is Outcome.PASS


def test_retry_after_missing_and_as_a_date():
    history = world("sequence")
    gone = History(history.frame.drop("header:retry-after"))
    assert outcome(judge_headers(scene(gone), every(gone)), "rl.retry_after_missing") is Outcome.FAIL
    dated = with_column(history, **{"header:retry-after": pl.lit("Tue, 14 Nov 2023 22:14:25 GMT")})
    assert outcome(judge_headers(scene(dated), every(dated)), "rl.retry_after_missing") is Outcome.PASS
    unread = with_column(history, **{"header:retry-after": pl.lit("soon")})
    assert outcome(judge_headers(scene(unread), every(unread)), "rl.retry_after_missing") is Outcome.FAIL


@pytest.mark.parametrize("status", [403, 500, 503])
def test_wrong_status_in_place_of_the_rejection(status):
    history = world("sequence_then_reset")
    other = pl.when(pl.col("status") == 429).then(status).otherwise(pl.col("status"))
    found = judge_admission(scene(with_column(history, status=other)), np.arange(LIMIT + 2))
    # Two strange answers may be the target's own trouble; three in a row beyond the limit are the limiter's.
    assert outcome(found, "rl.wrong_status") is Outcome.INCONCLUSIVE
    many = simulate(1, FixedWindowServer(LIMIT - 3, WINDOW), "sequence", LIMIT, WINDOW, loss=0).history
    found = judge_admission(scene(with_column(many, status=other), policy=policy(limit=LIMIT - 3)), every(many))
    assert outcome(found, "rl.wrong_status") is Outcome.FAIL
    assert outcome(found, "rl.over_admission") is not Outcome.FAIL


def test_a_target_that_is_down_never_passes():
    history = with_column(world("sequence"), status=pl.lit(503))
    found = judge_admission(scene(history), every(history))
    assert worst(one.outcome for one in found) is Outcome.INCONCLUSIVE


def test_exempt_paths():
    history = world("sequence")
    assert judge_exempt(scene(history), every(history))[0].outcome is Outcome.FAIL
    free = with_column(history, status=pl.lit(200))
    assert judge_exempt(scene(free), every(free))[0].outcome is Outcome.PASS
    assert judge_exempt(scene(free), every(free)[:3])[0].outcome is Outcome.INCONCLUSIVE


def test_backend_hits():
    history = world("sequence")
    rows = every(history)
    assert judge_backend_hits(scene(history), rows, LIMIT)[0].outcome is Outcome.PASS
    assert judge_backend_hits(scene(history), rows, LIMIT + 1)[0].outcome is Outcome.FAIL
    assert judge_backend_hits(scene(history), rows, 0, 0)[0].outcome is Outcome.INCONCLUSIVE
    assert judge_backend_hits(scene(history), rows[:LIMIT], LIMIT)[0].outcome is Outcome.INCONCLUSIVE


def test_evasion_by_a_header():
    off = world("sequence", FIXED_WINDOW_DEFECTS["limiter off"])
    found = judge_evasion(scene(off), every(off), "X-Forwarded-For")[0]
    assert (found.rule, found.outcome) == ("rl.evasion", Outcome.FAIL)
    kept = world("sequence")
    assert judge_evasion(scene(kept), every(kept), "X-Forwarded-For")[0].outcome is Outcome.PASS
    assert judge_evasion(scene(kept), [0, 1], "X-Forwarded-For")[0].outcome is Outcome.INCONCLUSIVE


def test_isolation_abstains_on_a_single_key():
    history = world("sequence")
    assert judge_isolation(scene(history), every(history))[0].outcome is Outcome.INCONCLUSIVE


def test_one_too_few_is_no_leak():
    history = world("two_keys", FIXED_WINDOW_DEFECTS["rl.limit_minus_one"])
    assert judge_isolation(scene(history), every(history))[0].outcome is not Outcome.FAIL


def test_promised_reset_inside_the_rounding_decides_nothing():
    history = world("sequence_then_reset", FIXED_WINDOW_DEFECTS["rl.immortal_key"])
    frame = history.frame.with_row_index("row")
    told = int(frame.filter(pl.col("status") == 429)[header("reset")][0])
    due = ANCHOR.to_monotonic_ns(told * SECOND)
    early = History(
        frame.with_columns(
            sent_ns=pl.when(pl.col("row") == LIMIT + 5).then(due + 300 * MS).otherwise(pl.col("sent_ns")),
            done_ns=pl.when(pl.col("row") == LIMIT + 5).then(due + 301 * MS).otherwise(pl.col("done_ns")),
        ).drop("row")
    )
    rows = [row for row in range(LIMIT + 6) if row < len(early)]
    assert judge_promised_reset(scene(early), rows)[0].outcome is Outcome.INCONCLUSIVE


def test_speed_of_rejections():
    history = world("saturating")
    slow = pl.col("sent_ns") + pl.when(pl.col("status") == 429).then(90 * MS).otherwise(100 * MS)
    quick = pl.col("sent_ns") + pl.when(pl.col("status") == 429).then(2 * MS).otherwise(100 * MS)
    assert judge_rejection_speed(scene(with_column(history, done_ns=slow)), every(history))[0].outcome is Outcome.FAIL
    assert judge_rejection_speed(scene(with_column(history, done_ns=quick)), every(history))[0].outcome is Outcome.PASS
    assert judge_rejection_speed(scene(history), every(history)[:12])[0].outcome is Outcome.SKIPPED


def test_store_down():
    history = world("sequence", FIXED_WINDOW_DEFECTS["limiter off"])
    rows = every(history)
    span = FaultSpan("stop", "redis", 0, 0, 1 << 60, 1 << 60, held=True, mended=True)
    closed, opened = policy(when_store_is_down="closed"), policy(when_store_is_down="open")
    assert judge_store_down(scene(history, policy=closed), rows, [span])[0].outcome is Outcome.FAIL
    assert judge_store_down(scene(history, policy=opened), rows, [span])[0].outcome is Outcome.PASS
    assert judge_store_down(scene(history), rows, [span])[0].outcome is Outcome.SKIPPED
    assert judge_store_down(scene(history, policy=closed), rows, [])[0].outcome is Outcome.INCONCLUSIVE


def test_excused_spans_accuse_nobody_of_what_happened_in_them():
    history = world("sequence", FIXED_WINDOW_DEFECTS["limiter off"])
    span = FaultSpan("stop", "redis", 0, 0, 1 << 60, 1 << 60, held=True, mended=True)
    found = judge_admission(scene(history, excused=(span,)), every(history))
    assert worst(one.outcome for one in found) is Outcome.INCONCLUSIVE


@pytest.mark.parametrize("pattern", ["sequence", "burst", "sequence_then_reset", "saturating", "two_keys"])
@pytest.mark.parametrize("cut", [1, 3, 10, 15])
def test_an_honest_limiter_is_not_accused_where_its_windows_began_before_we_looked(pattern, cut):
    history = world(pattern)
    found = judge_admission(scene(history, fresh=False), every(history)[cut:])
    assert [one for one in found if one.outcome is Outcome.FAIL] == []


@pytest.mark.parametrize("admitted", [2 * LIMIT, 2 * LIMIT + 1, 5 * LIMIT])
def test_more_than_two_windows_hold_is_too_much_wherever_windows_begin(admitted):
    step = WINDOW // (6 * LIMIT)
    rows = [
        Exchange(
            i,
            "w",
            "read",
            0,
            "127.0.0.1",
            0,
            *(i * step,) * 2,
            *(i * step + MS,) * 2,
            Ending.ANSWERED,
            Fault.NONE,
            200,
            0,
            0,
            "",
        )
        for i in range(admitted)
    ]
    history = History.of(rows)
    found = judge_admission(scene(history, fresh=False), every(history))
    expected = Outcome.FAIL if admitted > 2 * LIMIT else Outcome.INCONCLUSIVE
    assert outcome(found, "rl.over_admission") is expected
    if expected is Outcome.FAIL:
        (over,) = [one for one in found if one.rule == "rl.over_admission"]
        assert len(over.rows) == 2 * LIMIT + 1
        assert "two at the most" in over.says

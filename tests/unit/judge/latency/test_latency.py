"""The latency judge passes, fails and abstains; it counts from the instant that was intended, and sees shapes."""

from __future__ import annotations

import itertools
from math import comb

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from proofload.core.seeds import array_stream
from proofload.judge.latency import (
    Samples,
    attribute_bottleneck,
    estimate,
    gather,
    interval_ranks,
    judge_latency,
    judge_serialization,
    percentile_ns,
    samples_needed,
)
from proofload.judge.latency.percentiles import effective_samples
from proofload.judge.latency.shape import count_modes, warm_up_samples
from proofload.judge.verdict import Finding, Outcome
from proofload.plan.policies import LatencyPolicy
from proofload.record.exchange import Ending, Fault
from proofload.record.history import History

MS = 1_000_000
S = 1_000 * MS


def history_of(
    response_ns: NDArray[np.int64],
    *,
    every_ns: int = 10 * MS,
    endings: NDArray[np.uint8] | None = None,
    status: int = 200,
    operation: str = "read",
) -> History:
    count = len(response_ns)
    due = np.arange(count, dtype=np.int64) * every_ns
    ending = np.full(count, int(Ending.ANSWERED), np.uint8) if endings is None else endings
    return History(
        pl.DataFrame(
            {
                "workload": ["w"] * count,
                "operation": [operation] * count,
                "user": [1] * count,
                "source": ["127.0.0.1"] * count,
                "connection": [1] * count,
                "intended_ns": due,
                "sent_ns": due,
                "first_byte_ns": due + response_ns,
                "done_ns": due + response_ns,
                "ending": ending,
                "fault": np.where(ending == Ending.UNKNOWN, int(Fault.TIMEOUT), 0),
                "status": np.where(ending == Ending.ANSWERED, status, 0),
                "bytes_out": [1] * count,
                "bytes_in": [1] * count,
                "request_id": [""] * count,
            }
        )
    )


def usual(count: int, seed: int = 1) -> NDArray[np.int64]:
    return array_stream(seed, "usual").gamma(4, 500_000, size=count).astype(np.int64)


def found(findings: list[Finding], rule: str) -> Finding:
    return next(one for one in findings if one.rule == rule)


def samples(response_ns: NDArray[np.int64]) -> Samples:
    return gather(history_of(response_ns))[0]


def test_nearest_rank_in_whole_numbers() -> None:
    thousand = list(range(1, 1001))
    assert [percentile_ns(thousand, p) for p in (500, 900, 990, 999, 1000)] == [500, 900, 990, 999, 1000]
    assert percentile_ns([7], 1) == 7


@pytest.mark.parametrize("per_mille", [500, 900, 990])
@pytest.mark.parametrize("count", [1, 2, 5, 6, 7, 20, 100, 367, 368, 400])
def test_interval_ranks_agree_with_the_exact_binomial(count: int, per_mille: int) -> None:
    share = per_mille / 1000
    at_most = list(
        itertools.accumulate(comb(count, k) * share**k * (1 - share) ** (count - k) for k in range(count + 1))
    )
    low = max((rank for rank in range(1, count + 1) if at_most[rank - 1] <= 0.025), default=0)
    high = min((rank for rank in range(1, count + 1) if 1 - at_most[rank - 1] <= 0.025), default=count + 1)
    assert interval_ranks(count, per_mille) == (low, high)


@pytest.mark.parametrize("per_mille", [500, 900, 950, 990, 999])
def test_samples_needed_is_the_least_that_bounds_both_sides(per_mille: int) -> None:
    needed = samples_needed(per_mille)
    low, high = interval_ranks(needed, per_mille)
    assert low >= 1
    assert high <= needed
    low, high = interval_ranks(needed - 1, per_mille)
    assert low == 0 or high == needed


def test_the_interval_covers_the_true_percentile_as_often_as_it_says() -> None:
    truth = percentile_ns(np.sort(usual(2_000_000, 99)), 900)
    hits = 0
    for seed in range(400):
        one = estimate(usual(1000, seed), 900)
        assert one.low_ns is not None
        assert one.high_ns is not None
        hits += one.low_ns <= truth <= one.high_ns
    assert hits >= 370  # 95 % of 400 is 380; chance alone goes below 370 once in 80 seeds, and these are fixed


def test_clustered_samples_are_worth_less() -> None:
    calm = usual(6400)
    clustered = calm.copy()
    clustered[1000:1200] += 100 * MS
    assert effective_samples(calm, percentile_ns(np.sort(calm), 990)) > 4000
    assert effective_samples(clustered, 50 * MS) < 100


def test_without_bounds_the_figures_pass_and_carry_intervals() -> None:
    findings = judge_latency(LatencyPolicy(), history_of(usual(4000)))
    figures = found(findings, "lat.percentiles")
    assert {one.outcome for one in findings} == {Outcome.PASS}
    assert figures.figures["p99_low_ns"] <= figures.figures["p99_ns"] <= figures.figures["p99_high_ns"]
    assert "p99.9_high_ns" in figures.figures


def test_too_few_samples_are_inconclusive() -> None:
    findings = judge_latency(LatencyPolicy(p99_within="1s"), history_of(usual(100)))
    assert found(findings, "lat.percentiles").outcome is Outcome.INCONCLUSIVE
    assert found(findings, "lat.over_bound").outcome is Outcome.INCONCLUSIVE
    assert judge_latency(LatencyPolicy(), History.empty())[0].outcome is Outcome.INCONCLUSIVE


@pytest.mark.parametrize(
    ("within", "expected"), [("20ms", Outcome.PASS), ("2ms", Outcome.FAIL), ("5ms", Outcome.INCONCLUSIVE)]
)
def test_a_bound_is_kept_broken_or_too_close_to_call(within: str, expected: Outcome) -> None:
    policy = LatencyPolicy(p99_within=within)
    finding = found(judge_latency(policy, history_of(usual(4000))), "lat.over_bound")
    assert finding.outcome is expected
    assert bool(finding.rows) is (expected is Outcome.FAIL)


def test_every_request_failed_is_never_a_pass() -> None:
    findings = judge_latency(LatencyPolicy(p99_within="1s"), history_of(usual(4000), status=500))
    assert {one.outcome for one in findings} == {Outcome.INCONCLUSIVE}


def test_unanswered_requests_bound_a_percentile_from_below_only() -> None:
    endings = np.full(4000, int(Ending.ANSWERED), np.uint8)
    endings[::20] = int(Ending.UNKNOWN)  # reset after a few milliseconds: the answer would have come later, or never
    finding = found(
        judge_latency(LatencyPolicy(p99_within="1s"), history_of(usual(4000), endings=endings)), "lat.over_bound"
    )
    assert finding.outcome is Outcome.INCONCLUSIVE


def test_a_stalling_server_shows_from_intended_time_and_is_named_with_its_period() -> None:
    due = np.arange(6000, dtype=np.int64) * 10 * MS  # one minute; every 10 s the server freezes for 1 s
    response = np.where(due % (10 * S) < S, S - due % (10 * S), 0) + usual(6000)
    findings = judge_latency(LatencyPolicy(), history_of(response))
    # 10 % of the requests are due within a stall and wait U(0, 1 s): p99 is the wait of 9 in 10 of them.
    assert found(findings, "lat.percentiles").figures["p99_ns"] == pytest.approx(0.9 * S, rel=0.05)
    stall = found(findings, "lat.periodic_stall")
    assert stall.outcome is Outcome.FAIL
    assert stall.figures["period_ns"] == pytest.approx(10 * S, rel=0.01)
    assert found(findings, "lat.slow_one_percent").outcome is Outcome.PASS


def test_stalls_at_random_are_not_called_periodic() -> None:
    random = array_stream(5, "stalls")
    due = np.arange(12_000, dtype=np.int64) * 10 * MS
    response = usual(12_000)
    for begin in random.uniform(0, 119, size=9) * S:
        inside = (due >= begin) & (due < begin + S / 2)
        response[inside] += (begin + S / 2 - due[inside]).astype(np.int64)
    assert found(judge_latency(LatencyPolicy(), history_of(response)), "lat.periodic_stall").outcome is Outcome.PASS


def test_a_slow_one_percent_is_named_and_one_bad_second_is_not() -> None:
    scattered = usual(6000)
    scattered[array_stream(3, "slow").random(6000) < 0.01] += 150 * MS
    findings = judge_latency(LatencyPolicy(), history_of(scattered))
    assert found(findings, "lat.slow_one_percent").outcome is Outcome.FAIL
    assert found(findings, "lat.periodic_stall").outcome is Outcome.PASS
    one_second = usual(6000)
    one_second[3000:3060] += 150 * MS
    assert found(judge_latency(LatencyPolicy(), history_of(one_second)), "lat.slow_one_percent").outcome is Outcome.PASS


def test_growth_under_a_steady_load_is_named() -> None:
    grown = usual(6000) + np.arange(6000) * 5_000
    assert found(judge_latency(LatencyPolicy(), history_of(grown)), "lat.grows_with_time").outcome is Outcome.FAIL
    late_step = usual(6000)
    late_step[5500:] += 30 * MS
    assert found(judge_latency(LatencyPolicy(), history_of(late_step)), "lat.grows_with_time").outcome is Outcome.PASS


def test_a_cold_first_request_is_named() -> None:
    cold = usual(500)
    cold[0] = 900 * MS
    assert found(judge_latency(LatencyPolicy(), history_of(cold)), "lat.slow_first_request").outcome is Outcome.FAIL


def test_modes_and_warm_up_are_seen() -> None:
    assert count_modes(usual(5000)) == 1
    assert count_modes(np.concatenate([usual(5000), usual(2000, 2) + 80 * MS])) == 2
    warm = usual(4800)
    warm[:400] += 20 * MS
    assert 300 <= warm_up_samples(samples(warm)) <= 500
    assert warm_up_samples(samples(usual(4800))) == 0


def test_services_join_their_operations() -> None:
    both = History.concat([history_of(usual(500)), history_of(usual(500, 2), operation="write")])
    groups = gather(both, services={"read": "users", "write": "users"})
    assert [(one.name, len(one)) for one in groups] == [("read", 500), ("write", 500), ("service users", 1000)]


def test_the_bottleneck_is_named() -> None:
    quick, slow = samples(usual(1000)), samples(usual(1000) + 300 * MS)
    one_by_one = samples(usual(1000) + np.arange(1000) % 10 * 40 * MS)
    assert attribute_bottleneck(one_by_one, quick).figures["cause"] == "logical serialization"
    assert attribute_bottleneck(quick, quick).figures["cause"] == "none"
    spiky = samples(usual(1000) + (np.arange(1000) % 10 == 0) * 300 * MS)
    assert attribute_bottleneck(slow, spiky).figures["cause"] == "resource exhaustion"
    assert attribute_bottleneck(samples(usual(5)), quick).outcome is Outcome.SKIPPED
    none = np.zeros(0, dtype=np.int64)
    nobody = Samples("nobody", none, none, none, none.astype(np.bool_), 0)
    for pair in ((nobody, quick), (quick, nobody), (nobody, nobody)):
        assert "nothing to compare" in attribute_bottleneck(*pair).says


def test_serialization_where_no_lock_is_declared() -> None:
    quick = samples(usual(1000))
    assert judge_serialization(samples(usual(1000) + 200 * MS), quick).outcome is Outcome.FAIL
    assert judge_serialization(quick, quick).outcome is Outcome.PASS
    assert judge_serialization(samples(usual(5)), quick).outcome is Outcome.INCONCLUSIVE

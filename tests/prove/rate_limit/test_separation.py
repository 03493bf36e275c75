"""The separating schedule refutes every wrong declaration of a simulated limiter, and keeps every right one."""

from dataclasses import replace

import numpy as np
import pytest
from tests.prove.rate_limit.limiters import HONEST
from tests.prove.rate_limit.trials import policy_for
from tests.prove.rate_limit.worlds import ANCHOR, MS, SECOND

from proofload.core.seeds import stream
from proofload.judge.rate_limit import RateLimitContext, judge_admission
from proofload.judge.rate_limit.separate import separated, separating_phase_ns, separating_schedule
from proofload.judge.verdict import Outcome
from proofload.record.exchange import Ending, Exchange, Fault
from proofload.record.history import History

BUCKETS = {"token_bucket", "gcra", "leaky_bucket"}
LIMITS = (2, 3, 5, 10, 60)
ALIKE_WHERE_SMALL = {"sliding_log", "sliding_window_counter"}
"""A counter may round its estimate either way by a request: with fewer than five it is not told from a log."""


def driven(server, policy, seed=0, mean_ns=2 * MS):
    """Return what a client sees that follows the schedule, each group at once over a network."""
    dice = stream(seed, "separation")
    edge = -(-ANCHOR.wall_ns // policy.window) * policy.window
    start_ns = ANCHOR.to_monotonic_ns(edge + separating_phase_ns(policy))
    calls = []
    for offset_ns, count in separating_schedule(policy):
        for _ in range(count):
            sent_ns = start_ns + offset_ns + dice.randrange(MS)
            there, back = (int(dice.expovariate(1 / mean_ns)) + 20_000 for _ in range(2))
            calls.append((sent_ns + there, sent_ns, sent_ns + there + back))
    rows = []
    for at_ns, sent_ns, done_ns in sorted(calls):
        status = 200 if server.decide("a", ANCHOR.to_wall_ns(at_ns)).admitted else 429
        times = sent_ns, sent_ns, done_ns, done_ns
        rows.append(Exchange(0, "w", "o", 0, "127.0.0.2", 0, *times, Ending.ANSWERED, Fault.NONE, status, 0, 0, ""))
    return History.of(sorted(rows, key=lambda row: row.sent_ns))


def kind(model):
    return "bucket" if model in BUCKETS else model


@pytest.mark.parametrize("declared", HONEST)
@pytest.mark.parametrize("true", HONEST)
@pytest.mark.parametrize("window_s", [2, 60])
def test_a_wrong_model_is_refuted_and_the_right_one_kept(true, declared, window_s):
    """B1: a fixed window declared as a sliding log passed, and so did a sliding counter declared as a fixed window."""
    for limit in LIMITS:
        if limit < 5 and {true, declared} == ALIKE_WHERE_SMALL:
            continue
        policy = policy_for(declared, limit, window_s * SECOND, limit)
        history = driven(HONEST[true](limit, window_s * SECOND, limit), policy, seed=limit)
        context, rows = RateLimitContext(policy, history, ANCHOR), np.arange(len(history))
        found = [one.rule for one in judge_admission(context, rows) if one.outcome is Outcome.FAIL]
        finding = separated(context, rows)
        if kind(true) == kind(declared):
            assert not found, f"limit {limit}"
            assert finding.outcome is Outcome.PASS
        else:
            assert found, f"limit {limit}: {finding.says}"
            assert finding.outcome is Outcome.FAIL
            assert true.removesuffix(" on the clock").replace("_", " ") in finding.says or kind(true) == "bucket"


@pytest.mark.parametrize("true", HONEST)
@pytest.mark.parametrize("limit", LIMITS)
def test_nothing_else_fits_beside_the_right_model(true, limit):
    policy = policy_for(true, limit, 60 * SECOND, limit)
    history = driven(HONEST[true](limit, 60 * SECOND, limit), policy)
    finding = separated(RateLimitContext(policy, history, ANCHOR), np.arange(len(history)))
    assert finding.outcome is Outcome.PASS
    alike = finding.figures["also_fits"]
    assert not alike or (limit < 5 and true in ALIKE_WHERE_SMALL and "sliding window counter" in alike)


@pytest.mark.parametrize(("limit", "burst"), [(5, 20), (20, 5), (10, 10)])
@pytest.mark.parametrize("true", ["token_bucket", "fixed_window", "sliding_log"])
def test_a_bucket_of_another_size_is_told_from_windows(true, limit, burst):
    policy = policy_for("token_bucket", limit, 60 * SECOND, burst)
    history = driven(HONEST[true](limit, 60 * SECOND, burst), policy)
    context, rows = RateLimitContext(policy, history, ANCHOR), np.arange(len(history))
    assert separated(context, rows).outcome is (Outcome.PASS if true == "token_bucket" else Outcome.FAIL)


def test_one_burst_separates_nothing_and_says_so():
    policy = policy_for("fixed_window", 10, 60 * SECOND, None)
    history = driven(HONEST["fixed_window"](10, 60 * SECOND, None), policy)
    context = RateLimitContext(policy, history, ANCHOR)
    burst = separated(replace(context, fresh=False), np.arange(1, 14))
    assert burst.outcome is Outcome.PASS
    assert "sliding log" in burst.figures["also_fits"]
    served = np.flatnonzero(history.numbers("status") == 200)[:5]
    assert separated(context, served).outcome is Outcome.INCONCLUSIVE


def test_a_limiter_of_no_known_model_is_left_to_the_rules_on_admission():
    policy = policy_for("fixed_window", 10, 60 * SECOND, None)
    history = driven(HONEST["fixed_window"](7, 60 * SECOND, None), policy)
    context, rows = RateLimitContext(policy, history, ANCHOR), np.arange(len(history))
    assert separated(context, rows).outcome is Outcome.SKIPPED
    assert any(one.outcome is Outcome.FAIL for one in judge_admission(context, rows))


def test_the_schedule_is_bounded():
    for limit in (1, 7, 1000):
        policy = policy_for("fixed_window", limit, 60 * SECOND, None)
        schedule = separating_schedule(policy)
        assert [at for at, _ in schedule] == sorted({at for at, _ in schedule})
        assert schedule[-1][0] == 2 * policy.window
        assert sum(count for _, count in schedule) <= 3 * limit + 25

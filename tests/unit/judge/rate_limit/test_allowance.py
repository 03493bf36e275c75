"""What a client may send at once is one number everywhere: a bucket's size, or the limit."""

import numpy as np
import polars as pl
import pytest
from tests.prove.rate_limit.limiters import NoLimit, TokenBucketServer
from tests.prove.rate_limit.worlds import ANCHOR, SECOND, simulate

from proofload.judge.rate_limit import RateLimitContext, judge_admission, judge_exempt
from proofload.judge.verdict import Outcome, worst
from proofload.plan.policies import RateLimitPolicy
from proofload.record.history import History

WINDOW = 60 * SECOND


def bucket(limit, burst, algorithm="token_bucket"):
    return RateLimitPolicy(limit=limit, window="60s", probe="read", algorithm=algorithm, burst=burst)


def outcomes(history, declared):
    found = judge_admission(RateLimitContext(declared, history, ANCHOR), np.arange(len(history)))
    return {rule: worst(one.outcome for one in found if one.rule == rule) for rule in {one.rule for one in found}}


@pytest.mark.parametrize(
    ("declared", "allowance"),
    [
        (bucket(5, 20), 20),
        (bucket(20, 5), 5),
        (bucket(20, 0), 1),
        (bucket(20, None), 20),
        (bucket(20, 5, "gcra"), 5),
        (bucket(20, 5, "leaky_bucket"), 5),
        (bucket(20, 5, "fixed_window"), 20),
    ],
)
def test_the_allowance(declared, allowance):
    assert declared.allowance == allowance


@pytest.mark.parametrize(("limit", "burst"), [(5, 20), (20, 5)])
def test_a_bucket_is_judged_by_its_size(limit, burst):
    """B18: neither a burst above the limit nor one below it leaves the judges without an answer."""
    honest = simulate(1, TokenBucketServer(limit, WINDOW, burst), "sequence", burst, WINDOW, loss=0).history
    assert set(outcomes(honest, bucket(limit, burst)).values()) == {Outcome.PASS}
    # Fewer than the limit where the burst is below it: still more than may come at once.
    off = simulate(1, NoLimit(limit, WINDOW), "sequence", burst, WINDOW, loss=0).history
    assert outcomes(off, bucket(limit, burst))["rl.over_admission"] is Outcome.FAIL
    assert outcomes(off, bucket(limit, burst))["rl.never_rejects"] is Outcome.FAIL


@pytest.mark.parametrize(("limit", "burst"), [(5, 20), (20, 5)])
def test_another_status_is_told_by_the_size_of_the_bucket(limit, burst):
    world = simulate(1, TokenBucketServer(limit, WINDOW, burst), "sequence", burst + 4, WINDOW, loss=0).history
    status = pl.when(pl.col("status") == 429).then(503).otherwise(pl.col("status"))
    kept = History(world.frame.with_columns(status=status))
    assert outcomes(kept, bucket(limit, burst))["rl.wrong_status"] is Outcome.FAIL


def test_exempt_requests_must_outnumber_what_is_allowed_at_once():
    free = simulate(1, NoLimit(5, WINDOW), "sequence", 10, WINDOW, loss=0).history

    def judged(declared):
        return judge_exempt(RateLimitContext(declared, free, ANCHOR), np.arange(10))[0].outcome

    assert judged(bucket(5, 20)) is Outcome.INCONCLUSIVE
    assert judged(bucket(20, 5)) is Outcome.PASS

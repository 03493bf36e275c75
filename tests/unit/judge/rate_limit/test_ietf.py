"""The IETF draft's fields are read, held against the model, and abstained from where they are not there."""

import numpy as np
import polars as pl
import pytest
from tests.prove.rate_limit.limiters import FixedWindowServer, TokenBucketServer
from tests.prove.rate_limit.worlds import ANCHOR, SECOND, simulate

from proofload.judge.rate_limit import RateLimitContext, judge_headers
from proofload.judge.rate_limit.fields import structured
from proofload.judge.rate_limit.header_values import read_retry_after, read_time
from proofload.judge.verdict import Outcome, worst
from proofload.plan.policies import RateLimitPolicy
from proofload.record.history import History

LIMIT, WINDOW = 10, 60 * SECOND
HEADERS = {"limit": None, "remaining": None, "reset": None, "retry_after": None, "ietf": True}
POLICY = RateLimitPolicy(limit=LIMIT, window="60s", probe="read", headers=HEADERS)


def history(limit=None, policy='"default";q=10;w=60'):
    world = simulate(4, FixedWindowServer(LIMIT, WINDOW), "sequence", LIMIT, WINDOW, loss=0).history
    told = '"default";r=' + pl.col("header:x-ratelimit-remaining") + ";t=60" if limit is None else limit
    fields = {"header:ratelimit": told if isinstance(told, pl.Expr) else pl.lit(told)}
    if policy:
        fields["header:ratelimit-policy"] = pl.lit(policy)
    return History(world.frame.with_columns(**fields))


def outcomes(kept):
    found = judge_headers(RateLimitContext(POLICY, kept, ANCHOR), np.arange(len(kept)))
    return {rule: worst(one.outcome for one in found if one.rule == rule) for rule in {one.rule for one in found}}


def test_true_fields_pass():
    assert set(outcomes(history()).values()) == {Outcome.PASS}


@pytest.mark.parametrize(
    ("kept", "rule"),
    [
        (history(limit='"default";r=10;t=60'), "rl.remaining_wrong"),
        (history(policy='"default";q=100;w=60'), "rl.limit_header_wrong"),
        (history(policy='"default";q=10;w=3600'), "rl.limit_header_wrong"),
        (history(policy=None), "rl.header_missing"),
        (history(limit='"default'), "rl.ietf_malformed"),
        (history(limit='"default";r=' + pl.col("header:x-ratelimit-remaining") + ";t=5"), "rl.reset_untrue"),
    ],
)
def test_untrue_fields_fail(kept, rule):
    assert outcomes(kept)[rule] is Outcome.FAIL


def test_the_dictionary_of_draft_07_is_read():
    told = "limit=10, remaining=" + pl.col("header:x-ratelimit-remaining") + ", reset=60"
    assert set(outcomes(history(limit=told, policy=None)).values()) == {Outcome.PASS}


def test_the_policy_of_draft_07_is_read_beside_its_dictionary():
    told = "limit=10, remaining=" + pl.col("header:x-ratelimit-remaining") + ", reset=60"
    assert set(outcomes(history(limit=told, policy="5;w=1, 10;w=60")).values()) == {Outcome.PASS}
    assert outcomes(history(limit=told, policy="11;w=60"))["rl.limit_header_wrong"] is Outcome.FAIL


def test_the_dictionary_may_speak_of_another_policy_that_has_less_left():
    told = outcomes(history(limit="limit=5, remaining=1, reset=1", policy="5;w=1, 10;w=60"))
    assert told["rl.limit_header_wrong"] is Outcome.PASS
    assert told["rl.remaining_wrong"] is Outcome.INCONCLUSIVE


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("q=20;w=60", "PASS"),
        ("q=20;w=120", "PASS"),
        ("q=10;w=60", "PASS"),
        ("q=15;w=60", "FAIL"),
        ("q=20;w=90", "FAIL"),
    ],
)
def test_the_quota_of_a_bucket_may_be_its_size(told, expected):
    """A9: a bucket of 20 that 10 a minute flow into, told by its size and either time."""
    server = TokenBucketServer(LIMIT, WINDOW, 20)
    world = simulate(4, server, "sequence", 20, WINDOW, loss=0).history
    fields = {"header:ratelimit": pl.lit('"d";r=1'), "header:ratelimit-policy": pl.lit(f'"d";{told}')}
    kept = History(world.frame.with_columns(**fields))
    bucket = POLICY.model_copy(update={"algorithm": "token_bucket", "burst": 20})
    found = judge_headers(RateLimitContext(bucket, kept, ANCHOR), np.arange(len(kept)))
    assert worst(one.outcome for one in found if one.rule == "rl.limit_header_wrong") is Outcome[expected]


def test_a_window_below_a_second_is_told_in_whole_ones():
    kept = History(history().frame.with_columns(**{"header:ratelimit-policy": pl.lit('"default";q=10;w=1')}))
    short = POLICY.model_copy(update={"window": SECOND // 2})
    found = judge_headers(RateLimitContext(short, kept, ANCHOR), np.arange(len(kept)))
    assert worst(one.outcome for one in found if one.rule == "rl.limit_header_wrong") is Outcome.PASS


def test_the_item_that_speaks_of_the_policy_is_taken():
    told = '"burst";r=1;t=1, "default";r=' + pl.col("header:x-ratelimit-remaining") + ";t=60"
    kept = history(limit=told, policy='"burst";q=2;w=1, "default";q=10;w=60')
    assert set(outcomes(kept).values()) == {Outcome.PASS}


def test_nothing_to_read_decides_nothing():
    kept = history()
    found = judge_headers(RateLimitContext(POLICY, kept, ANCHOR), [])
    assert {one.outcome for one in found} == {Outcome.INCONCLUSIVE}


@pytest.mark.parametrize("text", ["", ";", ",", '"a" "b"', "a;b=1,,c", "\x00", "=", '"a";r=99999999999999999999'])
def test_odd_text_is_no_crash(text):
    structured(text)
    assert read_retry_after(text) is None
    assert read_time(text) is None

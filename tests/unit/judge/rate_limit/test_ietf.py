"""The IETF draft's fields are read, held against the model, and abstained from where they are not there."""

import numpy as np
import polars as pl
import pytest
from tests.prove.rate_limit.limiters import FixedWindowServer
from tests.prove.rate_limit.worlds import ANCHOR, SECOND, simulate

from proofload.judge.rate_limit import RateLimitContext, judge_headers
from proofload.judge.rate_limit.fields import retry_after_ns, structured
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
    assert retry_after_ns(text) is None

"""Several limits at once: each is judged by itself, and none is blamed for what another one rejected."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from tests.prove.rate_limit.limiters import (
    FixedWindowServer,
    LimitMinusOne,
    NoLimit,
    SlidingCounterServer,
    SlidingLogServer,
    TokenBucketServer,
)
from tests.prove.rate_limit.worlds import ANCHOR, MS, SECOND

from proofload.judge.rate_limit import RateLimitContext, judge_admission, judge_headers, judge_untested
from proofload.judge.sampling import share_seen
from proofload.judge.verdict import Outcome, worst
from proofload.plan.policies import RateLimitPolicy
from proofload.record.exchange import Ending, Exchange, Fault
from proofload.record.history import History

KINDS = {
    "fixed_window": FixedWindowServer,
    "sliding_log": SlidingLogServer,
    "sliding_window_counter": SlidingCounterServer,
    "token_bucket": lambda limit, window: TokenBucketServer(limit, window, limit),
}


def limit(count, window_s, name="gateway", algorithm="fixed_window", **more):
    aligned = {"alignment": "clock"} if algorithm == "sliding_window_counter" else {}
    declared = {"name": name, "limit": count, "window": f"{window_s}s", "probe": "read", "algorithm": algorithm}
    return RateLimitPolicy(**declared, **aligned, **more)


def history(servers, sends, paths=lambda _: True):
    """Return what clients see of limiters in a row: the first to reject ends it, and those before have counted."""
    rows = []
    for sent_ns, operation in sends:
        at = ANCHOR.to_wall_ns(sent_ns + MS)
        status, told = 200, []
        for name, server in servers:
            if paths((name, operation)) and status == 200:
                answer = server.decide("a", at)
                status = 200 if answer.admitted else 429
                told.append((answer.remaining if answer.admitted else -1, server.limit, answer))
        headers = written(*min(told, key=lambda one: one[:2]))
        times = sent_ns, sent_ns, sent_ns + 2 * MS, sent_ns + 2 * MS
        rows.append(
            Exchange(
                0, "w", operation, 0, "127.0.0.2", 0, *times, Ending.ANSWERED, Fault.NONE, status, 0, 0, "", headers
            )
        )
    return History.of(rows)


def written(left, count, answer):
    """Return the headers of whichever limit has least left."""
    told = {"x-ratelimit-limit": str(count), "x-ratelimit-remaining": str(max(0, left))}
    told["x-ratelimit-reset"] = f"{answer.reset_ns / SECOND:.3f}"
    return told if left >= 0 else {**told, "retry-after": f"{answer.retry_ns / SECOND:.3f}"}


def steady(count, gap_ms, operation="read", start_ns=3 * SECOND):
    return [(start_ns + place * gap_ms * MS, operation) for place in range(count)]


def fails(found):
    return {one.rule for one in found if one.outcome is Outcome.FAIL}


def judged(kept, policy, *also, **more):
    return judge_admission(RateLimitContext(policy, kept, ANCHOR, also=also, **more), np.arange(len(kept)))


BOTH = [*steady(30, 20), *steady(40, 150, start_ns=5 * SECOND), *steady(12, 10, start_ns=30 * SECOND)]


@pytest.mark.parametrize("short", KINDS)
@pytest.mark.parametrize("long", KINDS)
@pytest.mark.parametrize("order", [1, -1])
def test_two_honest_limits_are_not_blamed_for_each_other(short, long, order):
    """A5: 10 a second and 15 in ten seconds, whichever comes first and counts what the other rejects."""
    servers = [("short", KINDS[short](10, SECOND)), ("long", KINDS[long](15, 10 * SECOND))][::order]
    kept = history(servers, BOTH)
    policies = limit(10, 1, "short", short), limit(15, 10, "long", long)
    for policy, other in (policies, policies[::-1]):
        assert not fails(judged(kept, policy, other))


def test_without_the_other_limit_the_one_is_blamed():
    kept = history([("short", FixedWindowServer(10, SECOND)), ("long", FixedWindowServer(15, 10 * SECOND))], BOTH)
    assert fails(judged(kept, limit(10, 1))) == {"rl.wrongful_rejection"}


def test_a_limit_that_rejects_too_early_is_found_where_the_other_can_not_have_been_used_up():
    kept = history([("short", LimitMinusOne(10, SECOND)), ("long", FixedWindowServer(15, 10 * SECOND))], steady(12, 20))
    assert fails(judged(kept, limit(10, 1), limit(15, 10))) == {"rl.wrongful_rejection"}


def test_each_limit_is_exceeded_by_itself():
    kept = history([("short", FixedWindowServer(10, SECOND)), ("long", NoLimit(15, 10 * SECOND))], BOTH)
    assert not fails(judged(kept, limit(10, 1), limit(15, 10)))
    assert "rl.over_admission" in fails(judged(kept, limit(15, 10), limit(10, 1)))


@pytest.mark.parametrize("order", [1, -1])
def test_headers_may_speak_of_whichever_limit_has_least_left(order):
    servers = [("short", FixedWindowServer(10, SECOND)), ("long", FixedWindowServer(15, 10 * SECOND))][::order]
    kept = history(servers, BOTH)
    policies = limit(10, 1, "short"), limit(15, 10, "long")
    for policy, other in (policies, policies[::-1]):
        context = RateLimitContext(policy, kept, ANCHOR, also=(other,))
        assert not fails(judge_headers(context, np.arange(len(kept))))
        assert fails(judge_headers(replace(context, also=()), np.arange(len(kept))))


def test_headers_that_speak_of_this_limit_are_held_to_it():
    servers = [("short", FixedWindowServer(10, SECOND)), ("long", FixedWindowServer(15, 10 * SECOND))]
    kept = history(servers, steady(12, 20))
    stuck = History(kept.frame.with_columns(**{"header:x-ratelimit-remaining": pl.lit("10")}))
    other = History(kept.frame.with_columns(**{"header:x-ratelimit-limit": pl.lit("11")}))
    context = RateLimitContext(limit(10, 1), stuck, ANCHOR, also=(limit(15, 10),))
    assert "rl.remaining_wrong" in fails(judge_headers(context, np.arange(12)))
    assert "rl.limit_header_wrong" in fails(judge_headers(replace(context, history=other), np.arange(12)))
    unnamed = limit(10, 1, headers={"limit": None})
    found = judge_headers(replace(context, policy=unnamed), np.arange(12))
    assert worst(one.outcome for one in found if one.rule == "rl.remaining_wrong") is Outcome.INCONCLUSIVE


PATHS = {"read": "/api/x", "other": "/api/other"}
WIDE, NARROW = limit(20, 5, "wide", applies_to=["/api/*"]), limit(3, 5, "narrow", applies_to=["/api/other"])


def two_paths(narrow=FixedWindowServer):
    sends = sorted([*steady(8, 30, "other"), *steady(25, 20, "read", 3 * SECOND + 300 * MS)])
    servers = [("wide", FixedWindowServer(20, 5 * SECOND)), ("narrow", narrow(3, 5 * SECOND))]
    return history(servers, sends, lambda pair: pair[0] == "wide" or pair[1] == "other")


def test_only_a_limit_that_covers_the_path_explains_its_rejections():
    """A5: 20 in 5 s on /api/* with 3 in 5 s on /api/other."""
    kept = two_paths()
    operations = np.array(kept.frame["operation"].cast(str).to_list())
    wide = RateLimitContext(WIDE, kept, ANCHOR, also=(NARROW,), paths=PATHS)
    narrow = RateLimitContext(NARROW, kept, ANCHOR, also=(WIDE,), paths=PATHS)
    assert not fails(judge_admission(wide, np.arange(len(kept))))
    assert not fails(judge_admission(narrow, np.flatnonzero(operations == "other")))
    early = history([("wide", LimitMinusOne(20, 5 * SECOND))], steady(25, 20))
    assert fails(judged(early, WIDE, NARROW, paths=PATHS)) == {"rl.wrongful_rejection"}
    # Of the same answers nothing is certain where the narrow limit covers them as well.
    assert not fails(judged(early, WIDE, replace_globs(NARROW), paths=PATHS))


def replace_globs(policy):
    return policy.model_copy(update={"applies_to": ("/api/*",)})


def test_rows_from_before_we_looked_may_have_used_up_the_other_limit():
    kept = history([("short", FixedWindowServer(10, SECOND)), ("long", LimitMinusOne(9, 10 * SECOND))], steady(12, 20))
    fresh = RateLimitContext(limit(10, 1), kept, ANCHOR, also=(limit(15, 10),))
    assert fails(judge_admission(fresh, np.arange(12))) == {"rl.wrongful_rejection"}
    assert not fails(judge_admission(replace(fresh, fresh=False), np.arange(12)))


def test_a_declared_limit_that_nobody_came_near_is_named():
    """B2: the second of two declared limits was not enforced at all, and nothing said that it was not tested."""
    kept = history([("wide", FixedWindowServer(20, 5 * SECOND))], [*steady(24, 20), *steady(2, 20, "other")])
    context = RateLimitContext(WIDE, kept, ANCHOR, paths=PATHS)
    (found,) = judge_untested(context, np.arange(len(kept)), (WIDE, NARROW))
    assert (found.rule, found.outcome, found.examined) == ("rl.untested", Outcome.INCONCLUSIVE, 2)
    assert "narrow (3 in 5s on /api/other)" in found.says
    tried = two_paths()
    assert judge_untested(replace(context, history=tried), np.arange(len(tried)), (WIDE, NARROW)) == []


def test_a_pass_tells_how_rare_an_escape_would_have_been_seen():
    """B11: one request in 1,000 skips the limiter, and five rejections were looked at."""
    kept = history([("wide", FixedWindowServer(20, 5 * SECOND))], steady(70, 20))
    found = {one.rule: one for one in judged(kept, limit(20, 5))}
    assert found["rl.over_admission"].figures["would_see_share"] == share_seen(50)
    assert found["rl.wrongful_rejection"].figures["would_see_share"] == share_seen(20)


def test_rejections_by_the_other_limit_still_show_the_status():
    kept = history([("short", FixedWindowServer(10, SECOND)), ("long", FixedWindowServer(15, 10 * SECOND))], BOTH)
    found = judged(kept, limit(15, 10), limit(10, 1))
    assert worst(one.outcome for one in found if one.rule == "rl.wrong_status") is Outcome.PASS

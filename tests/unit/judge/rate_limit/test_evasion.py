"""An evasion is one only where a varied request is needed to exceed the limit; varied rows prove nothing else."""

import numpy as np
import pytest
from tests.prove.rate_limit.limiters import (
    FixedWindowServer,
    LimitPlusOne,
    NoLimit,
    PerProcessCounter,
    SlidingLogServer,
    TokenBucketServer,
)
from tests.prove.rate_limit.worlds import ANCHOR, MS, SECOND

from proofload.judge.rate_limit import RateLimitContext, judge_admission, judge_evasion
from proofload.judge.verdict import Outcome
from proofload.plan.policies import RateLimitPolicy
from proofload.record.exchange import Ending, Exchange, Fault
from proofload.record.history import History

LIMIT, WINDOW, PLAIN, VARIED = 10, 60 * SECOND, 14, 6
ROWS, SPENT, TRIED = np.arange(PLAIN + VARIED), np.arange(PLAIN), np.arange(PLAIN, PLAIN + VARIED)


class VariationOpens:
    """A limiter whose key holds what the client varies."""

    def __init__(self, *args):
        self.inner = FixedWindowServer(*args)

    def decide(self, key, now, worker=0):
        return self.inner.decide((key, worker), now)


def context(server, algorithm="fixed_window"):
    """Return plain requests of one client, and then varied ones: each variation is what the server calls a worker."""
    rows = []
    for place in ROWS.tolist():
        sent_ns = 3 * SECOND + 5 * MS * place
        answer = server.decide("a", ANCHOR.to_wall_ns(sent_ns + MS), max(0, place - PLAIN + 1))
        times = sent_ns, sent_ns, sent_ns + 2 * MS, sent_ns + 2 * MS
        status = 200 if answer.admitted else 429
        rows.append(Exchange(0, "w", "read", 0, "127.0.0.2", 0, *times, Ending.ANSWERED, Fault.NONE, status, 0, 0, ""))
    policy = RateLimitPolicy(limit=LIMIT, window="60s", probe="read", algorithm=algorithm)
    return RateLimitContext(policy, History.of(rows), ANCHOR)


def evasion(scene):
    (found,) = judge_evasion(scene, ROWS, "header", plain=SPENT)
    return found


def over(scene, **more):
    return next(one for one in judge_admission(scene, ROWS, **more) if one.rule == "rl.over_admission")


@pytest.mark.parametrize("server", [LimitPlusOne, NoLimit])
def test_a_limit_that_is_exceeded_anyway_is_not_evaded(server):
    """A7: one too many in the plain sequence was also called an evasion by header, query and path."""
    scene = context(server(LIMIT, WINDOW))
    assert evasion(scene).outcome is Outcome.INCONCLUSIVE
    assert over(scene, varied=TRIED).outcome is Outcome.FAIL
    assert set(over(scene, varied=TRIED).rows) <= set(SPENT.tolist())


@pytest.mark.parametrize("server", [VariationOpens, PerProcessCounter])
def test_what_only_a_varied_request_got_is_an_evasion_and_nothing_else(server):
    scene = context(server(LIMIT, WINDOW))
    found = evasion(scene)
    assert (found.outcome, found.figures["by"]) == (Outcome.FAIL, "header")
    assert set(found.rows) & set(TRIED.tolist())
    assert over(scene).outcome is Outcome.FAIL
    assert over(scene, varied=TRIED).outcome is Outcome.PASS


@pytest.mark.parametrize(
    ("server", "algorithm"),
    [
        (FixedWindowServer(LIMIT, WINDOW), "fixed_window"),
        (SlidingLogServer(LIMIT, WINDOW), "sliding_log"),
        (TokenBucketServer(LIMIT, WINDOW, LIMIT), "token_bucket"),
    ],
)
def test_an_honest_limiter_is_not_evaded(server, algorithm):
    scene = context(server, algorithm)
    assert evasion(scene).outcome is Outcome.PASS
    assert {one.outcome for one in judge_admission(scene, ROWS, varied=TRIED)} == {Outcome.PASS}


def test_what_varied_requests_may_have_spent_excuses_a_rejection():
    """Admitted by another key or counted against this one: a client can't tell, so neither is held against it."""
    scene = context(FixedWindowServer(LIMIT, WINDOW))
    frame = scene.history.frame
    first = History(frame[[*TRIED.tolist(), *SPENT.tolist()]].with_columns(frame.select("sent_ns", "done_ns")))
    early = RateLimitContext(scene.policy.model_copy(update={"limit": LIMIT + VARIED}), first, ANCHOR)
    rows = np.arange(len(first))
    wrongful = {one.rule: one.outcome for one in judge_admission(early, rows, varied=rows[:VARIED])}
    assert wrongful["rl.wrongful_rejection"] is not Outcome.FAIL
    assert {one.rule: one.outcome for one in judge_admission(early, rows)}["rl.wrongful_rejection"] is Outcome.FAIL


def test_nothing_varied_shows_nothing():
    scene = context(FixedWindowServer(LIMIT, WINDOW))
    (found,) = judge_evasion(scene, SPENT, "header", plain=SPENT)
    assert found.outcome is Outcome.INCONCLUSIVE
    (found,) = judge_evasion(scene, [], "header")
    assert found.outcome is Outcome.INCONCLUSIVE

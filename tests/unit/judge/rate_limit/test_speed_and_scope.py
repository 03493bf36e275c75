"""Rules that used to stay INCONCLUSIVE for ever: small limits, one counter for all, a user's counter, backend hits."""

import numpy as np
import polars as pl
import pytest
from tests.prove.rate_limit.limiters import HONEST, FixedWindowServer, NoLimit
from tests.prove.rate_limit.worlds import ANCHOR, MS, SECOND, simulate

from proofload.judge.rate_limit import (
    RateLimitContext,
    judge_admission,
    judge_backend_hits,
    judge_isolation,
    judge_rejection_speed,
)
from proofload.judge.verdict import Outcome, worst
from proofload.plan.policies import RateLimitPolicy
from proofload.record.exchange import Ending, Exchange, Fault
from proofload.record.history import History
from proofload.record.ledger import Reading

WINDOW = 60 * SECOND


def exchange(sent_ns, took_ns, status, *, user=0, source="127.0.0.1"):
    done_ns = sent_ns + took_ns
    times = sent_ns, sent_ns, done_ns, done_ns
    return Exchange(0, "w", "read", user, source, 0, *times, Ending.ANSWERED, Fault.NONE, status, 0, 0, "")


def policy(limit=5, **changes):
    return RateLimitPolicy(**{"limit": limit, "window": "60s", "probe": "read", **changes})


def speed(exchanges, limit=5, **bounds):
    history = History.of(exchanges)
    (found,) = judge_rejection_speed(RateLimitContext(policy(limit), history), np.arange(len(history)), **bounds)
    return found


def serial(served_ns, rejected_ns, served, rejected):
    took = [*[(served_ns, 200)] * served, *[(rejected_ns, 429)] * rejected]
    return [exchange(place * SECOND, ns, status) for place, (ns, status) in enumerate(took)]


def test_quick_rejections_pass_however_small_the_limit():
    """B19: a log-in limit of 5 a minute serves five, and ten were asked for."""
    found = speed(serial(50 * MS, 2 * MS, 5, 10), needed=10)
    assert (found.outcome, found.figures["rejected_median_ns"]) == (Outcome.PASS, 2 * MS)


@pytest.mark.parametrize(
    ("served", "rejected", "expected"), [(5, 30, "SKIPPED"), (30, 3, "SKIPPED"), (30, 0, "SKIPPED"), (30, 30, "FAIL")]
)
def test_slow_rejections_are_accused_only_beside_enough_served_and_never_block_a_pass(served, rejected, expected):
    found = speed(serial(100 * MS, 90 * MS, served, rejected), limit=30)
    assert found.outcome is Outcome[expected]
    assert worst([Outcome.PASS, found.outcome]) in (Outcome.PASS, Outcome.FAIL)


def test_what_waited_in_a_crowd_is_not_compared_with_what_was_sent_alone():
    alone = [exchange(place * SECOND, 40 * MS, 200) for place in range(30)]
    crowd = [exchange(100 * SECOND + place, 45 * MS, 429) for place in range(30)]
    assert speed([*alone, *crowd], limit=30).outcome is Outcome.SKIPPED
    both = [exchange(200 * SECOND + place, 45 * MS, status) for place, status in enumerate([200, 429] * 30)]
    assert speed([*alone, *both], limit=30).outcome is Outcome.FAIL


def test_one_counter_for_all_clients_is_judged_over_all_of_them():
    """B21: no key can leak into another where there is one key."""
    declared = policy(10, scope="global")
    honest, off = (
        spread(simulate(1, kind(10, WINDOW), "sequence", 10, WINDOW, loss=0).history)
        for kind in (FixedWindowServer, NoLimit)
    )
    rows = np.arange(len(honest))
    assert {one.outcome for one in judge_admission(RateLimitContext(declared, honest, ANCHOR), rows)} == {Outcome.PASS}
    assert judge_isolation(RateLimitContext(declared, honest, ANCHOR), rows) == []
    found = judge_admission(RateLimitContext(declared, off, ANCHOR), np.arange(len(off)))
    assert worst(one.outcome for one in found) is Outcome.FAIL
    few = judge_admission(RateLimitContext(declared, honest, ANCHOR), rows[:5])
    assert worst(one.outcome for one in few) is Outcome.INCONCLUSIVE


def spread(history):
    """Let every request come from an address and a virtual user of its own."""
    place = pl.int_range(pl.len())
    sources = "127.0.1." + place.cast(pl.String)
    return History(history.frame.with_columns(source=sources, user=place))


def test_a_users_counter_is_judged_over_all_that_sends_in_its_name():
    declared = policy(10, scope="user")
    honest = spread(simulate(1, FixedWindowServer(10, WINDOW), "sequence", 10, WINDOW, loss=0).history)
    rows, one_account = np.arange(len(honest)), np.zeros(len(honest), dtype=np.int64)
    scene = RateLimitContext(declared, honest, ANCHOR, accounts=one_account)
    assert {one.outcome for one in judge_admission(scene, rows)} == {Outcome.PASS}
    off = spread(simulate(1, NoLimit(10, WINDOW), "sequence", 10, WINDOW, loss=0).history)
    found = judge_admission(RateLimitContext(declared, off, ANCHOR, accounts=one_account), np.arange(len(off)))
    over = next(one for one in found if one.rule == "rl.over_admission")
    assert over.outcome is Outcome.FAIL
    assert "user 0" in over.says


def reading(at_ns):
    return Reading("svc", "r", at_ns, at_ns + MS, ())


@pytest.mark.parametrize("model", HONEST)
def test_only_what_was_sent_between_the_two_readings_is_held_against_the_hits(model):
    """B20: for buckets the evasions run after the second reading, and were counted into it."""
    server = HONEST[model](10, WINDOW, 10)
    history = simulate(1, server, "sequence_then_reset", 10, WINDOW, loss=0).history
    declared = policy(10, algorithm=model.removesuffix(" on the clock"))
    scene, rows = RateLimitContext(declared, history, ANCHOR), np.arange(len(history))
    status, done = history.numbers("status"), history.numbers("done_ns")
    last = int(np.flatnonzero(history.numbers("sent_ns") > history.numbers("sent_ns")[0] + WINDOW // 2)[0])
    readings = reading(-MS), reading(int(done[last - 1]) + MS)
    hits = int(np.count_nonzero(status[:last] == 200))
    assert judge_backend_hits(scene, rows, hits, hits)[0].outcome is Outcome.INCONCLUSIVE
    assert judge_backend_hits(scene, rows, hits, hits, readings=readings)[0].outcome is Outcome.PASS
    assert judge_backend_hits(scene, rows, hits + 1, hits + 1, readings=readings)[0].outcome is Outcome.FAIL
    # A request that was under way while the page was read may be in it, or not.
    crossing = reading(-MS), Reading("svc", "r", int(done[hits - 1]) - 1, int(done[hits - 1]) + 1, ())
    assert judge_backend_hits(scene, rows, hits, hits, readings=crossing)[0].outcome is Outcome.INCONCLUSIVE

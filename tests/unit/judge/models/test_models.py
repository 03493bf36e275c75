"""Every model is seen to say all three things, and what it can't judge it says."""

import numpy as np
import pytest
from tests.prove.rate_limit.limiters import HONEST
from tests.prove.rate_limit.trials import DECISIONS, make, policy_for
from tests.prove.rate_limit.worlds import ANCHOR, MS, SECOND, simulate

from proofload.judge.models.attempts import AttemptKind, Attempts, Slack
from proofload.judge.models.bucket_bounds import Bucket
from proofload.judge.models.bucket_bounds import examine as examine_bucket
from proofload.judge.models.clock_window import tell_clock
from proofload.judge.models.fixed_window import FixedWindow, examine_first_request
from proofload.judge.rate_limit import RateLimitContext, judge_admission, judge_headers
from proofload.judge.rate_limit.models import examine
from proofload.judge.verdict import Outcome
from proofload.record.history import History

LIMIT, WINDOW = 10, 60 * SECOND


def outcomes(model, history, rows=None, **scene):
    on = RateLimitContext(policy_for(model, LIMIT, WINDOW, LIMIT), history, ANCHOR, **scene)
    found = judge_admission(on, np.arange(len(history)) if rows is None else rows)
    return {finding.rule: finding.outcome for finding in found}


@pytest.mark.parametrize("model", HONEST)
def test_honest_passes_and_a_starved_history_abstains(model):
    history = simulate(3, HONEST[model](LIMIT, WINDOW, LIMIT), "burst", LIMIT, WINDOW, loss=0).history
    told = outcomes(model, history)
    assert told["rl.over_admission"] is Outcome.PASS
    assert told["rl.wrongful_rejection"] is Outcome.PASS
    starved = outcomes(model, history, np.flatnonzero(history.numbers("status") == 200)[:4])
    assert starved["rl.over_admission"] is Outcome.INCONCLUSIVE
    assert starved["rl.wrongful_rejection"] is Outcome.INCONCLUSIVE


@pytest.mark.parametrize("model", HONEST)
@pytest.mark.parametrize(("which", "rule"), [("more", "rl.over_admission"), ("less", "rl.wrongful_rejection")])
def test_one_more_and_one_less_fail(model, which, rule):
    names = {"fixed_window": {"more": "rl.limit_plus_one", "less": "rl.limit_minus_one"}}
    clock = {way: f"window on the clock, one {way}" for way in ("more", "less")}
    names |= {"fixed_window on the clock": clock}
    name = names.get(model, {}).get(which, f"{model}, one {which}")
    of_model, kind = DECISIONS[name]
    assert of_model == model
    history = simulate(3, make(model, kind, LIMIT, WINDOW), "sequence", LIMIT, WINDOW, loss=0).history
    assert outcomes(model, history)[rule] is Outcome.FAIL


def test_windows_on_the_clock_need_an_anchor():
    history = simulate(3, HONEST["fixed_window on the clock"](LIMIT, WINDOW, LIMIT), "burst", LIMIT, WINDOW).history
    on = RateLimitContext(policy_for("fixed_window on the clock", LIMIT, WINDOW, LIMIT), history, anchor=None)
    rows = np.arange(len(history))
    assert {finding.outcome for finding in judge_admission(on, rows)} == {Outcome.INCONCLUSIVE}
    assert Outcome.FAIL not in {finding.outcome for finding in judge_headers(on, rows)}


def test_a_key_with_a_past_is_not_accused_of_an_early_rejection():
    server = HONEST["fixed_window"](LIMIT, WINDOW, LIMIT)
    history = simulate(3, server, "sequence", LIMIT, WINDOW, loss=0).history
    later = np.arange(4, len(history))
    assert outcomes("fixed_window", history, later)["rl.wrongful_rejection"] is Outcome.FAIL
    assert outcomes("fixed_window", history, later, fresh=False)["rl.wrongful_rejection"] is not Outcome.FAIL


def attempts(*rows):
    """Return attempts from (sent, done, kind) in milliseconds."""
    sent, done, kind = (np.array(column) for column in zip(*rows, strict=True))
    return Attempts.make(np.arange(len(rows)), sent * MS, done * MS, kind.astype(np.uint8))


YES, NO, MAYBE = int(AttemptKind.ADMITTED), int(AttemptKind.REJECTED), int(AttemptKind.UNSURE)
SLACK = Slack(window_ns=20 * MS)


@pytest.mark.parametrize("phase_ms", [0, 400])
def test_a_window_on_a_clock_ends_where_its_phase_says(phase_ms):
    model = FixedWindow(2, 1_000 * MS, phase_ns=phase_ms * MS)
    told = tell_clock(model, attempts((3_300, 3_301, YES), (3_500, 3_501, YES)), SLACK, MS)
    ends = [(4_000, 4_000), (3_400, 4_400)][phase_ms > 0]
    assert told.end_lo_ns.tolist() == [(end - 1) * MS for end in ends]
    assert told.end_hi_ns.tolist() == [(end + 1) * MS for end in ends]
    assert told.remaining_hi.tolist() == [1, 0 if phase_ms == 0 else 1]


def test_an_admission_that_may_lie_in_the_next_window_is_no_excess():
    model = FixedWindow(2, 1_000 * MS)
    inside = attempts((0, 1, YES), (10, 11, YES), (900, 910, YES))
    across = attempts((0, 1, YES), (10, 11, YES), (900, 1_100, YES))
    assert examine_first_request(model, inside, SLACK).over.culprit == 2
    assert examine_first_request(model, across, SLACK).over is None


def test_an_unanswered_request_may_have_spent_the_allowance():
    model = FixedWindow(2, 1_000 * MS)
    lost = attempts((0, 1, YES), (10, 500, MAYBE), (20, 21, NO))
    assert examine_first_request(model, lost, SLACK).wrongful is None
    alone = attempts((0, 1, YES), (20, 21, NO))
    assert examine_first_request(model, alone, SLACK).wrongful.counted == 1


def test_a_bucket_that_refilled_owes_an_admission():
    bucket = Bucket(100 * MS, 2)
    early = attempts((0, 1, YES), (2, 3, YES), (50, 51, NO))
    late = attempts((0, 1, YES), (2, 3, YES), (250, 251, NO))
    assert examine_bucket(bucket, early, SLACK).wrongful is None
    assert examine_bucket(bucket, late, SLACK).wrongful.culprit == 2


def test_a_window_that_the_first_request_begins_holds_that_request_surely():
    # Where the window begins is known no better than the first request's interval, but nothing lies before it.
    sent = np.arange(LIMIT + 3, dtype=np.int64) * 10 * MS
    kind = np.array([AttemptKind.ADMITTED] * LIMIT + [AttemptKind.REJECTED] * 3, dtype=np.uint8)
    attempts = Attempts.make(np.arange(LIMIT + 3), sent, sent + 9 * MS, kind)
    policy = policy_for("sliding_window_counter", LIMIT, WINDOW, LIMIT).model_copy(
        update={"alignment": "first_request"}
    )
    seen = examine(RateLimitContext(policy, History.empty(), ANCHOR), attempts)
    assert (seen.granted, seen.tried, seen.over, seen.wrongful) == (LIMIT, LIMIT + 3, None, None)
    less = Attempts.make(attempts.row[1:], sent[1:], sent[1:] + 9 * MS, kind[1:])
    assert examine(RateLimitContext(policy, History.empty(), ANCHOR), less).wrongful is not None
    more = Attempts.make(attempts.row, sent, sent + 9 * MS, np.zeros(LIMIT + 3, dtype=np.uint8))
    assert examine(RateLimitContext(policy, History.empty(), ANCHOR), more).over is not None

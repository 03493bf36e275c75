"""Identification: the true model is never refuted, wrong ones mostly are, and it says what tells the rest apart."""

import numpy as np
import pytest
from tests.prove.rate_limit.limiters import HONEST
from tests.prove.rate_limit.trials import policy_for
from tests.prove.rate_limit.worlds import ANCHOR, MS, SECOND, simulate

from proofload.judge.rate_limit.identify import describe, difference, identify
from proofload.judge.verdict import Outcome
from proofload.record.exchange import Ending, Exchange, Fault
from proofload.record.history import History

LIMIT, WINDOW = 10, 5 * SECOND


def probe(server, offsets_ns):
    """Return the history of requests at some offsets, a few milliseconds each way."""
    rows = []
    for offset in offsets_ns:
        sent = 3 * SECOND + offset
        answer = server.decide("a", ANCHOR.to_wall_ns(sent + MS))
        done = sent + 2 * MS
        status = 200 if answer.admitted else 429
        row = (0, "w", "o", 0, "127.0.0.2", 0, sent, sent, done, done, Ending.ANSWERED, Fault.NONE, status, 0, 0, "")
        rows.append(Exchange(*row))
    return History.of(rows)


def thorough():
    """A burst, a steady knocking over three windows, a late burst and one after the edge."""
    burst = [3 * MS * place for place in range(LIMIT + 3)]
    knocking = [SECOND + 130 * MS * place for place in range(115)]
    pause = knocking[-1] + 2 * WINDOW
    late = [pause, *(pause + WINDOW * 9 // 10 + 3 * MS * place for place in range(LIMIT))]
    return [*burst, *knocking, *late, *(pause + WINDOW * 21 // 20 + 3 * MS * place for place in range(LIMIT))]


def base(model):
    return policy_for(model, LIMIT, WINDOW, LIMIT)


@pytest.mark.parametrize("model", HONEST)
def test_the_true_model_fits(model):
    history = probe(HONEST[model](LIMIT, WINDOW, LIMIT), thorough())
    found = identify(history, np.arange(len(history)), ANCHOR, base=base(model))
    truth = base(model)
    as_bucket = truth.model_copy(update={"algorithm": "token_bucket"})
    wanted = describe(as_bucket if model in ("gcra", "leaky_bucket") else truth)
    assert wanted in {describe(one) for one in found.fits}
    assert len(found.refuted) > 5 * len(found.fits)
    assert all(why for _, why in found.refuted)


@pytest.mark.parametrize("model", ["fixed_window", "fixed_window on the clock", "sliding_log", "token_bucket"])
def test_a_thorough_probe_leaves_one(model):
    history = probe(HONEST[model](LIMIT, WINDOW, LIMIT), thorough())
    known = [base(name).model_copy(update={"window": window}) for name in HONEST for window in (WINDOW, 2 * WINDOW)]
    candidates = [one for one in known if one.algorithm not in ("gcra", "leaky_bucket")]
    found = identify(history, np.arange(len(history)), ANCHOR, base=base(model), candidates=candidates)
    assert [describe(one) for one in found.fits] == [describe(base(model))]
    assert found.finding.outcome is Outcome.PASS


def test_a_single_burst_leaves_several_and_says_what_to_send_next():
    history = simulate(1, HONEST["fixed_window"](LIMIT, WINDOW, LIMIT), "burst", LIMIT, WINDOW, loss=0).history
    candidates = [base(name) for name in ("fixed_window", "sliding_log", "token_bucket")]
    found = identify(history, np.arange(len(history)), ANCHOR, base=candidates[0], candidates=candidates)
    assert len(found.fits) == 3
    assert found.finding.outcome is Outcome.INCONCLUSIVE
    assert all("send" in words for words in found.tell_apart)


def test_without_a_rejection_nothing_is_told():
    history = probe(HONEST["fixed_window"](LIMIT, WINDOW, LIMIT), [0, MS, 2 * MS])
    found = identify(history, np.arange(3), ANCHOR, base=base("fixed_window"))
    assert found.fits == ()
    assert "nothing was rejected" in found.finding.says


def test_the_difference_is_one_that_the_models_really_make():
    words = difference(base("fixed_window"), base("token_bucket"))
    assert "send 11 at once" in words
    assert "rejected by a fixed window" in words
    assert "admitted by a token bucket" in words
    assert "no probe" in difference(base("gcra"), base("token_bucket"))

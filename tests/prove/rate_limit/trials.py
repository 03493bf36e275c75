"""Trials of the rate-limit judges: honest worlds that must not be accused, defective ones that should be."""

from __future__ import annotations

import math
from collections import Counter
from itertools import product

import numpy as np
from tests.prove.rate_limit.limiters import (
    FIXED_WINDOW_DEFECTS,
    HONEST,
    FixedWindowServer,
    off_by,
    refills_twice_as_fast,
)
from tests.prove.rate_limit.worlds import ANCHOR, MS, PATTERNS, SECOND, simulate

from proofload.core.seeds import stream
from proofload.judge.rate_limit import (
    RateLimitContext,
    judge_admission,
    judge_headers,
    judge_isolation,
    judge_promised_reset,
)
from proofload.judge.verdict import Outcome
from proofload.plan.policies import RateLimitPolicy
from proofload.record.exchange import Ending


def policy_for(model, limit, window_ns, burst):
    on_clock = model in ("fixed_window on the clock", "sliding_window_counter")
    return RateLimitPolicy(
        limit=limit,
        window=f"{window_ns}ns",
        probe="read",
        burst=burst,
        algorithm=model.removesuffix(" on the clock"),
        alignment="clock" if on_clock else "first_request",
    )


def judged(world, policy, **scene):
    on, rows = RateLimitContext(policy, world.history, ANCHOR, **scene), np.arange(len(world.history))
    return [
        *judge_admission(on, rows),
        *judge_headers(on, rows),
        *judge_promised_reset(on, rows),
        *judge_isolation(on, rows),
    ]


def fails(findings):
    return [finding for finding in findings if finding.outcome is Outcome.FAIL]


def honest_trial(seed, model):
    """Return the findings on one honest world with everything drawn: limit, window, network, loss, skew, rounding."""
    dice = stream(seed, "honest", model)
    limit, window_ns = dice.choice([1, 2, 5, 10, 30]), dice.choice([1, 2, 5, 60]) * SECOND
    burst = dice.choice([1, 3, limit])
    server = HONEST[model](limit, window_ns, burst)
    if model == "fixed_window":
        # A store's timer fires a little early or late.
        server = FixedWindowServer(limit, window_ns, jitter=lambda: dice.randrange(-1, 3) * MS)
    skew_ns = dice.randrange(-2 * SECOND, 2 * SECOND) if dice.random() < 0.3 else 0
    world = simulate(
        seed,
        server,
        dice.choice(PATTERNS),
        limit,
        window_ns,
        skew_ns=skew_ns,
        loss=dice.choice([0, 0.01, 0.1]),
        mean_ns=dice.choice([MS // 2, 3 * MS, 30 * MS]),
        rounding=dice.choice([math.floor, math.ceil, round]),
    )
    return judged(world, policy_for(model, limit, window_ns, burst), clock_skew_ns=abs(skew_ns))


DECISIONS = {
    **{name: ("fixed_window", kind) for name, kind in FIXED_WINDOW_DEFECTS.items()},
    "window on the clock, one more": (
        "fixed_window on the clock",
        off_by(HONEST["fixed_window on the clock"](1, 1, 1).__class__, 1),
    ),
    "window on the clock, one less": (
        "fixed_window on the clock",
        off_by(HONEST["fixed_window on the clock"](1, 1, 1).__class__, -1),
    ),
}
for _model in ("sliding_log", "sliding_window_counter", "token_bucket", "gcra", "leaky_bucket"):
    DECISIONS[f"{_model}, one more"] = (_model, off_by(HONEST[_model](1, 1, 1).__class__, 1))
    DECISIONS[f"{_model}, one less"] = (_model, off_by(HONEST[_model](1, 1, 1).__class__, -1))
for _model in ("token_bucket", "gcra", "leaky_bucket"):
    DECISIONS[f"{_model}, refills twice as fast"] = (_model, refills_twice_as_fast(HONEST[_model]))

IN_HEADERS = {"rl.remaining_stuck", "rl.remaining_negative", "rl.reset_untrue", "rl.retry_after_too_short"}
MOST_LOST = 8
"""Unanswered requests beyond this many are left out of the brute force, which takes twice as long with each."""
BUCKETS = ("token_bucket", "gcra", "leaky_bucket")


def make(model, kind, limit, window_ns):
    if model in BUCKETS:
        return kind(limit, window_ns, limit)
    try:
        return kind(limit, window_ns)
    except TypeError:
        return kind(limit, window_ns, limit)


def tellable(name, model, world, limit, window_ns):
    """Return whether the true instants show it: no honest limiter would have given the answers that the client saw.

    A defect in the headers alone shows on every answer that carries them.
    """
    ending = world.history.numbers("ending")
    if name in IN_HEADERS:
        wanted = 429 if name == "rl.retry_after_too_short" else 200
        return bool(np.any((ending == Ending.ANSWERED) & (world.history.numbers("status") == wanted)))
    # An unanswered request may have counted or not, for all that a client knows: try both for each of them.
    reached = {row: (at_ns, key, admitted) for at_ns, key, admitted, row in world.decided}
    sent, sources = world.history.numbers("sent_ns"), world.history.frame["source"].to_list()
    seen = [(*reached[row], row) for row in reached if ending[row] == Ending.ANSWERED]
    lost = []
    for row in np.flatnonzero(ending == Ending.UNKNOWN).tolist():
        key = reached[row][1] if row in reached else chr(int(sources[row].rsplit(".", 1)[1]) + 95)
        lost.append((reached[row][0] if row in reached else int(sent[row]) + MS, key, None, row))
    lost = lost[:MOST_LOST]
    for counted in product((False, True), repeat=len(lost)):
        honest = HONEST[model](limit, window_ns, limit)
        events = sorted(
            [*seen, *(one for one, used in zip(lost, counted, strict=True) if used)], key=lambda one: one[0]
        )
        if all(
            honest.decide(key, ANCHOR.to_wall_ns(at)).admitted in (said, None) or said is None
            for at, key, said, _ in events
        ):
            return False
    return True


def detection(name, limit, trials, seed0=0):
    """Return (how many worlds could tell, how many of those were FAIL, requests in the median world)."""
    model, kind = DECISIONS[name]
    counted: Counter[str] = Counter()
    sizes = []
    window_ns = 5 * SECOND
    for trial in range(trials):
        seed = seed0 + trial
        pattern = PATTERNS[trial % len(PATTERNS)]
        world = simulate(seed, make(model, kind, limit, window_ns), pattern, limit, window_ns)
        sizes.append(len(world.history))
        if tellable(name, model, world, limit, window_ns):
            counted["could"] += 1
            counted["found"] += bool(fails(judged(world, policy_for(model, limit, window_ns, limit))))
    return counted["could"], counted["found"], int(np.median(sizes))

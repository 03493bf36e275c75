"""Laws of the breaker judge: doubt never accuses, the time of day doesn't matter, the step is the naive breaker's."""

import dataclasses

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.prove.breaker.breaker_trials import fails, judged
from tests.prove.breaker.breakers import DEFECTS, MS, SCENARIOS, SECOND, HonestBreaker, simulate

from proofload.core.seeds import stream
from proofload.judge.models import breaker as model
from proofload.record.history import History

OPEN_NS = 2 * SECOND
_SCENARIOS = st.sampled_from([name for name in SCENARIOS if name != "crowd"])
honest_worlds = st.tuples(st.none(), _SCENARIOS, st.integers(0, 10_000))
worlds = st.tuples(
    st.sampled_from([None, *sorted(DEFECTS)]),
    _SCENARIOS,
    st.integers(0, 10_000),
)


def build(drawn):
    name, scenario, seed = drawn
    kind = HonestBreaker if name is None else DEFECTS[name]
    return simulate(seed, kind(OPEN_NS), scenario, OPEN_NS)


def with_history(world, frame):
    return dataclasses.replace(world, history=History(frame))


@settings(max_examples=150, deadline=None)
@given(honest_worlds, st.integers(0, 1_000), st.floats(0, 1), st.sampled_from([MS, 30 * MS, SECOND]))
def test_a_wider_interval_never_accuses_an_honest_breaker(drawn, seed, share, most):
    # Of a defective one left undecided, wider intervals can bring out what is true: see docs/findings.md.
    world = build(drawn)
    assert fails(judged(world, OPEN_NS)) == []
    dice = stream(seed, "widen")
    count = len(world.history)
    earlier = [dice.randrange(most) if dice.random() < share else 0 for _ in range(count)]
    later = [dice.randrange(most) if dice.random() < share else 0 for _ in range(count)]
    wider = world.history.frame.with_columns(
        sent_ns=pl.col("sent_ns") - pl.Series(earlier), done_ns=pl.col("done_ns") + pl.Series(later)
    )
    # How long a rejection took is what it took: that rule goes by the duration itself.
    found = [one for one in fails(judged(with_history(world, wider), OPEN_NS)) if one.rule != "cb.slow_rejection"]
    assert found == []


@settings(max_examples=50, deadline=None)
@given(worlds, st.integers(0, 10**15))
def test_the_time_of_day_changes_nothing(drawn, shift):
    world = build(drawn)
    times = [pl.col(name) + shift for name in ("intended_ns", "sent_ns", "first_byte_ns", "done_ns")]
    moved = with_history(world, world.history.frame.with_columns(*times))
    edges = ("wide_from_ns", "narrow_from_ns", "narrow_to_ns", "wide_to_ns")
    moved.spans = tuple(
        dataclasses.replace(span, **{edge: getattr(span, edge) + shift for edge in edges}) for span in world.spans
    )
    before, after = judged(world, OPEN_NS), judged(moved, OPEN_NS)
    assert [(one.rule, one.outcome, one.rows) for one in before] == [(one.rule, one.outcome, one.rows) for one in after]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 30), st.sampled_from(list(model.CallOutcome)), st.integers(0, 40)),
        min_size=1,
        max_size=60,
    ),
    st.integers(1, 3),
)
def test_the_step_agrees_with_a_naive_breaker(calls, trials):
    naive = HonestBreaker(50)
    naive.trials = trials
    pure = model.Breaker(naive.failures, 50, naive.successes, trials)
    state, now, flying = model.BreakerState(), 0, []
    for gap, outcome, took in calls:
        now += gap
        for end, pure_generation, naive_generation, told in sorted(flying, key=lambda one: one[0]):
            if end <= now:
                state = pure.leave(state, end, pure_generation, told)
                naive.leave(end, naive_generation, told.value)
        flying = [one for one in flying if one[0] > now]
        passed, state = pure.enter(state, now)
        generation = naive.enter(now)
        assert passed == (generation is not None)
        if passed:
            flying.append((now + took, state.generation, generation, outcome))

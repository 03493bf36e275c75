"""Small worlds in which every placing of the instants is tried: what intervals can tell at all.

Time goes in ticks. `explained_*` ask whether any honest limiter or circuit gives the answers seen, with each decision
(and each outcome) anywhere inside its interval, in any order. Where one does, nobody outside can tell a defect, and a
FAIL would be unsound. Where none does, a FAIL is owed. Every state that can be reached is kept, so nothing is missed
but what lies between two ticks.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from tests.prove.breaker import breakers
from tests.prove.rate_limit.limiters import (
    ClockWindowServer,
    FixedWindowServer,
    LimitMinusOne,
    LimitPlusOne,
    SlidingCounterServer,
    SlidingLogServer,
    TokenBucketServer,
    TtlRefreshed,
    off_by,
    refills_twice_as_fast,
)
from tests.prove.rate_limit.trials import fails, policy_for

from proofload.core.clock import Anchor
from proofload.core.seeds import stream
from proofload.judge.breaker import OPENING, RECOVERY, BackendHits, CircuitContext, judge_breaker
from proofload.judge.rate_limit import RateLimitContext, judge_admission
from proofload.plan.policies import CircuitBreakerPolicy
from proofload.record.exchange import Ending, Exchange, Fault
from proofload.record.fault_edge import FaultSpan
from proofload.record.history import History

TICK = 500_000_000
SPAN = 20
"""Ticks of a window, and of an open period."""
ANCHOR = Anchor(monotonic_ns=0, wall_ns=0, uncertainty_ns=0)

State = Hashable
Step = Callable[[State, int], tuple[State, bool]]


@dataclass(frozen=True)
class Call:
    """What a client saw: sent and done, in ticks, and the answer."""

    sent: int
    done: int
    said: str
    """admitted or rejected; of a circuit's calls also failure and neutral."""


# Limiters, one step each, over values that can be kept in a set.


def fixed_window(limit: int) -> tuple[State, Step]:
    def step(state, now):
        end, count = state
        if now >= end:
            end, count = now + SPAN, 0
        return (end, min(count + 1, limit + 1)), count < limit

    return (-1, 0), step


def window_on_the_clock(limit: int) -> tuple[State, Step]:
    def step(state, now):
        number, count = state
        if number != now // SPAN:
            number, count = now // SPAN, 0
        return (number, min(count + 1, limit + 1)), count < limit

    return (-1, 0), step


def sliding_log(limit: int) -> tuple[State, Step]:
    def step(state, now):
        kept = tuple(at for at in state if at > now - SPAN)
        return ((*kept, now), True) if len(kept) < limit else (kept, False)

    return (), step


def bucket(limit: int, burst: int) -> tuple[State, Step]:
    """In `SPAN`ths of a token: a request costs `SPAN`, a tick brings `limit`."""

    def step(state, now):
        level, at = state
        level = min(burst * SPAN, level + (now - at) * limit)
        return ((level - SPAN, now), True) if level >= SPAN else ((level, now), False)

    return (burst * SPAN, 0), step


LIMITERS = {
    "fixed_window": fixed_window,
    "fixed_window on the clock": window_on_the_clock,
    "sliding_log": sliding_log,
    "token_bucket": lambda limit: bucket(limit, limit),
}


def explained_by_a_limiter(calls: list[Call], model: str, limit: int) -> bool:
    """Return whether an honest limiter may have given these answers."""
    begin, step = LIMITERS[model](limit)

    def moves(state, phases, now):
        for place, call in enumerate(calls):
            if not phases[place] and call.sent <= now <= call.done:
                after, admitted = step(state, now)
                if admitted == (call.said == "admitted"):
                    yield after, (*phases[:place], 1, *phases[place + 1 :])

    return _reaches_the_end(begin, calls, moves)


def _reaches_the_end(begin: State, calls: list[Call], moves: Callable[..., Iterator]) -> bool:
    """Return whether some way through the ticks takes every call to its last phase in time."""
    known = {(begin, (0,) * len(calls))}
    instants = sorted({tick for call in calls for tick in range(call.sent, call.done + 1)})
    for now in instants:
        new = known
        while new:
            new = {after for state, phases in new for after in moves(state, phases, now)} - known
            known = known | new
        known = {
            (state, phases)
            for state, phases in known
            if all(phase == 1 or call.done > now for phase, call in zip(phases, calls, strict=True))
        }
        if not known:
            return False
    return True


# Circuits: the honest one of the simulators, put back into any state it was in.

FAILURES, SUCCESSES = 2, 2


def explained_by_a_circuit(calls: list[Call]) -> bool:
    """Return whether an honest circuit may have given these answers; what is neutral may start the count again."""
    return any(_explained_by(calls, neutral) for neutral in ("neither", "success"))


def _explained_by(calls: list[Call], neutral: str) -> bool:
    outcomes = {"admitted": "success", "failure": "failure", "neutral": neutral}

    def moves(state, phases, now):
        for place, call in enumerate(calls):
            phase = phases[place]
            if phase == 1 or not call.sent <= now <= call.done:
                continue
            circuit = _circuit(state)
            if phase == 0:
                passed = circuit.enter(now)
                if (passed is None) != (call.said == "rejected"):
                    continue
                after = 1 if passed is None else ("in", passed)
            else:
                circuit.leave(now, phase[1], outcomes[call.said])
                after = 1
            yield _state(circuit), (*phases[:place], after, *phases[place + 1 :])

    return _reaches_the_end(_state(_circuit(None)), calls, moves)


_KEPT = ("state", "count", "until", "busy", "generation")


def _circuit(state: State | None) -> breakers.HonestBreaker:
    circuit = breakers.HonestBreaker(SPAN)
    circuit.failures, circuit.successes = FAILURES, SUCCESSES
    for name, value in zip(_KEPT, state or (), strict=state is not None):
        setattr(circuit, name, value)
    return circuit


def _state(circuit: breakers.HonestBreaker) -> State:
    return tuple(getattr(circuit, name) for name in _KEPT)


# Worlds.


def limiter_world(seed: int, server, limit: int, blur: int) -> list[Call]:
    """Return what a client saw of up to nine requests, each interval up to `blur` ticks longer at either end."""
    dice = stream(seed, "explained limiter")
    pattern = dice.choice(["burst", "spread", "edge"])
    first = dice.randrange(5, 40)
    count = dice.randrange(limit + 1, limit + 6)
    places = {
        "burst": [dice.randrange(3) for _ in range(count)],
        "spread": [dice.randrange(3 * SPAN) for _ in range(count)],
        "edge": [0, *(SPAN + dice.randrange(-4, 5) for _ in range(count - 1))],
    }[pattern]
    calls = []
    for place in sorted(places):
        now = first + place
        answer = server.decide("a", now)
        sent, done = max(0, now - dice.randrange(blur + 1)), now + dice.randrange(blur + 1)
        calls.append(Call(sent, done, "admitted" if answer.admitted else "rejected"))
    return calls


def circuit_world(seed: int, circuit: breakers.HonestBreaker, blur: int) -> tuple[list[Call], list[tuple[int, int]]]:
    """Return what a client saw of a dozen calls around outages, and the first and last tick of each."""
    dice = stream(seed, "explained circuit")
    down = dice.randrange(8, 16)
    pattern = dice.choice(["long", "again", "flickering"])
    outages = {
        "long": [(down, down + dice.choice([6, 10, SPAN + 8]))],
        "again": [(down, down + 8), (down + SPAN + (again := dice.randrange(4, 10)), down + SPAN + again + 6)],
        "flickering": [(down + place, down + place + 1) for place in range(0, 24, 4)],
    }[pattern]
    spread = 24 if pattern == "flickering" else 6
    ticks = [
        *(dice.randrange(down) for _ in range(2)),
        *(down + dice.randrange(spread) for _ in range(5)),
        *(down + dice.randrange(6, SPAN) for _ in range(dice.randrange(3))),
        *(down + SPAN + dice.randrange(16) for _ in range(5)),
        *(down + 2 * SPAN + dice.randrange(10) for _ in range(3)),
    ]
    calls, flying = [], []
    for now in sorted(ticks):
        for end, passed, outcome in sorted(one for one in flying if one[0] <= now):
            circuit.leave(end, passed, outcome)
        flying = [one for one in flying if one[0] > now]
        sent = max(0, now - dice.randrange(blur + 1))
        passed = circuit.enter(now)
        if passed is None:
            calls.append(Call(sent, now + dice.randrange(blur + 1), "rejected"))
            continue
        end = now + dice.randrange(2)
        failed = any(first <= now <= last for first, last in outages)
        said = "failure" if failed else "neutral" if dice.random() < 0.1 else "admitted"
        counted = {"failure": "failure", "neutral": "failure" if circuit.counts_4xx else "neither"}
        flying.append((end, passed, counted.get(said, "success")))
        calls.append(Call(sent, end + dice.randrange(blur + 1), said))
    return calls, outages


# Judges on such worlds.

_STATUS = {"admitted": 200, "rejected": 429, "failure": 500, "neutral": 404}


def history(calls: Iterable[Call], rejected: int) -> History:
    def exchange(call):
        status = rejected if call.said == "rejected" else _STATUS[call.said]
        body = b'{"code":"CIRCUIT_OPEN"}' if status == 503 else b"{}"
        sent, done = call.sent * TICK, call.done * TICK
        return Exchange(
            0,
            "w",
            "op",
            0,
            "127.0.0.2",
            0,
            sent,
            sent,
            done,
            done,
            Ending.ANSWERED,
            Fault.NONE,
            status,
            0,
            0,
            "",
            {},
            body,
        )

    return History.of(exchange(call) for call in calls)


def judged_limiter(calls: list[Call], model: str, limit: int) -> bool:
    """Return whether the judge says FAIL."""
    seen = history(calls, 429)
    scene = RateLimitContext(policy_for(model, limit, SPAN * TICK, limit), seen, ANCHOR)
    return bool(fails(judge_admission(scene, np.arange(len(seen)))))


def judged_circuit(calls: list[Call], outages: list[tuple[int, int]]) -> bool:
    """Return whether the judge says FAIL; how fast rejections are is left out, for a tick is longer than any."""
    policy = CircuitBreakerPolicy(
        service="orders",
        operation="buy",
        open_for=f"{SPAN * TICK}ns",
        failures=FAILURES,
        successes=SUCCESSES,
        fail_fast_within="1h",
    )
    spans = tuple(
        FaultSpan("stop", "orders", (down - 1) * TICK, down * TICK, up * TICK, (up + 1) * TICK, True, True)
        for down, up in outages
    )
    seen = history(calls, 503)
    stage = CircuitContext(policy, seen, spans, (BackendHits(0, 1 << 60, 0, len(calls)),), slack_ns=0)
    return bool(fails(judge_breaker(stage, np.arange(len(seen)), expect=(*OPENING, *RECOVERY))))


LIMITER_DEFECTS = {
    "honest": {
        "fixed_window": FixedWindowServer,
        "fixed_window on the clock": ClockWindowServer,
        "sliding_log": SlidingLogServer,
        "token_bucket": lambda limit, span: TokenBucketServer(limit, span, limit),
    },
    "one more": {
        "fixed_window": LimitPlusOne,
        "fixed_window on the clock": off_by(ClockWindowServer, 1),
        "sliding_log": off_by(SlidingLogServer, 1),
        "token_bucket": lambda limit, span: off_by(TokenBucketServer, 1)(limit, span, limit),
    },
    "one less": {
        "fixed_window": LimitMinusOne,
        "fixed_window on the clock": off_by(ClockWindowServer, -1),
        "sliding_log": off_by(SlidingLogServer, -1),
        "token_bucket": lambda limit, span: off_by(TokenBucketServer, -1)(limit, span, limit),
    },
    "window or refill wrong": {
        "fixed_window": TtlRefreshed,
        "fixed_window on the clock": lambda limit, span: ClockWindowServer(limit, span // 2),
        "sliding_log": lambda limit, span: SlidingLogServer(limit, span // 2),
        "token_bucket": lambda limit, span: refills_twice_as_fast(TokenBucketServer)(limit, span, limit),
    },
    "of another kind": {
        "fixed_window": SlidingCounterServer,
        "fixed_window on the clock": FixedWindowServer,
        "sliding_log": FixedWindowServer,
        "token_bucket": SlidingLogServer,
    },
}


def circuit_of(kind: type[breakers.HonestBreaker], **changes: int) -> Callable[[], breakers.HonestBreaker]:
    def make():
        circuit = kind(SPAN)
        for name, value in {"failures": FAILURES, "successes": SUCCESSES, **changes}.items():
            setattr(circuit, name, value)
        return circuit

    return make


CIRCUIT_DEFECTS = {
    "honest": circuit_of(breakers.HonestBreaker),
    "cb.never_opens": circuit_of(breakers.NeverOpens),
    "cb.threshold_off_by_one (one more)": circuit_of(breakers.HonestBreaker, failures=FAILURES + 1),
    "cb.threshold_off_by_one (one less)": circuit_of(breakers.HonestBreaker, failures=FAILURES - 1),
    "cb.counts_non_consecutive": circuit_of(breakers.NonConsecutive),
    "cb.counts_client_errors": circuit_of(breakers.CountsClientErrors),
    "cb.never_half_opens": circuit_of(breakers.NeverHalfOpens),
    "cb.timer_restarted_by_rejects": circuit_of(breakers.TimerRestarted),
    "cb.half_open_flood": circuit_of(breakers.HalfOpenFlood),
    "cb.closes_after_one": circuit_of(breakers.HonestBreaker, successes=1),
    "cb.reopens_without_period": circuit_of(breakers.ReopensWithoutPeriod),
    "cb.success_count_kept": circuit_of(breakers.SuccessCountKept),
    "never closes": circuit_of(breakers.NeverCloses),
}


@dataclass
class Tally:
    """How worlds of one kind came out."""

    worlds: int = 0
    tellable: int = 0
    found: int = 0
    unsound: int = 0
    """FAIL, although an honest system explains what was seen."""

    def add(self, *, explained: bool, failed: bool) -> None:
        self.worlds += 1
        self.tellable += not explained
        self.found += failed and not explained
        self.unsound += failed and explained

    def row(self) -> dict[str, int]:
        """Return the columns of a table."""
        return {
            "worlds": self.worlds,
            "unsound": self.unsound,
            "could be told": self.tellable,
            "found": self.found,
        }


def limiters(defect: str, model: str, blur: int, worlds: int) -> Tally:
    tally = Tally()
    for seed in range(worlds):
        limit = 2 + seed % 2
        calls = limiter_world(seed, LIMITER_DEFECTS[defect][model](limit, SPAN), limit, blur)
        tally.add(explained=explained_by_a_limiter(calls, model, limit), failed=judged_limiter(calls, model, limit))
    return tally


def circuits(defect: str, blur: int, worlds: int) -> Tally:
    tally = Tally()
    for seed in range(worlds):
        calls, outages = circuit_world(seed, CIRCUIT_DEFECTS[defect](), blur)
        tally.add(explained=explained_by_a_circuit(calls), failed=judged_circuit(calls, outages))
    return tally

"""A service that hangs as long as a circuit stays open: honest circuits are never accused, one that never opens is."""

import heapq

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.prove.breaker.breakers import DEFECTS, MS, SECOND, HonestBreaker

from proofload.core.seeds import stream
from proofload.judge.breaker import CircuitContext, judge_breaker
from proofload.judge.verdict import Outcome
from proofload.plan.policies import CircuitBreakerPolicy
from proofload.record.exchange import Ending, Exchange, Fault
from proofload.record.fault_edge import FaultSpan
from proofload.record.history import History

OPEN = b'{"code": "CIRCUIT_OPEN"}'
SPAN = FaultSpan("pause", "orders", 0, 0, 1 << 60, 1 << 60, held=True, mended=True)


def played(breaker: HonestBreaker, hang_ns: int, seed: int, *, bursts: int = 3, size: int = 6) -> History:
    """Return bursts of calls that all hang, each begun when the last has ended, as the client saw them."""
    dice = stream(seed, "hanging")
    exchanges: list[Exchange] = []
    at_ns = SECOND
    for _ in range(bursts):
        flying: list[tuple[int, int]] = []
        arrivals = sorted((at_ns + dice.randrange(20 * MS), at_ns) for _ in range(size))
        ended = at_ns
        for arrived, sent in arrivals:
            while flying and flying[0][0] <= arrived:
                breaker.leave(*heapq.heappop(flying), "failure")
            passed = breaker.enter(arrived)
            left = arrived + (MS if passed is None else hang_ns)
            if passed is not None:
                heapq.heappush(flying, (left, passed))
            done = left + dice.randrange(20 * MS)
            ended = max(ended, done)
            status, body = (503, OPEN) if passed is None else (504, b"{}")
            number = len(exchanges)
            exchanges.append(
                Exchange(
                    *(number, "w", "buy", 0, "127.0.0.2", number, sent, sent, done, done),
                    *(Ending.ANSWERED, Fault.NONE, status, 0, 0, "", {}, body),
                )
            )
        while flying:
            breaker.leave(*heapq.heappop(flying), "failure")
        at_ns = ended + dice.randrange(1, hang_ns)
    return History.of(exchanges)


def broken(history: History, open_ns: int) -> set[str]:
    policy = CircuitBreakerPolicy(service="orders", operation="buy", open_for=f"{open_ns}ns")
    found = judge_breaker(CircuitContext(policy, history, (SPAN,)), np.arange(len(history)))
    return {one.rule for one in found if one.outcome is Outcome.FAIL}


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 10**6), st.integers(100, 4_000), st.integers(100, 4_000), st.integers(1, 5), st.integers(1, 12))
def test_an_honest_circuit_is_never_accused(seed: int, hang_ms: int, open_ms: int, bursts: int, size: int) -> None:
    open_ns = open_ms * MS
    history = played(HonestBreaker(open_ns), hang_ms * MS, seed, bursts=bursts, size=size)
    assert broken(history, open_ns) == set()


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.integers(500, 4_000), st.integers(500, 4_000))
def test_one_that_ignores_timeouts_is_found_however_long_it_should_be_open(
    seed: int, hang_ms: int, open_ms: int
) -> None:
    open_ns = open_ms * MS
    history = played(DEFECTS["cb.never_opens"](open_ns), hang_ms * MS, seed, bursts=2, size=12)
    assert "cb.never_opens" in broken(history, open_ns)

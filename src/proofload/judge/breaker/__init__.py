"""Judges a circuit breaker from outside: replays calls on the automaton with bounds; never without a proven fault."""

from proofload.judge.breaker.calls import BackendHits, CallKind, Calls, CircuitContext, calls_of
from proofload.judge.breaker.judge import (
    OPENING,
    RECOVERY,
    REOPENING,
    TRIALS,
    judge_breaker,
    judge_isolation,
    judge_never_trips,
)
from proofload.judge.breaker.settle import settled_calls

__all__ = [
    "OPENING",
    "RECOVERY",
    "REOPENING",
    "TRIALS",
    "BackendHits",
    "CallKind",
    "Calls",
    "CircuitContext",
    "calls_of",
    "judge_breaker",
    "judge_isolation",
    "judge_never_trips",
    "settled_calls",
]

"""Judges a circuit breaker from outside: replays calls on the automaton with bounds; never without a proven fault."""

from proofload.judge.breaker.calls import Calls, Hits, Kind, Stage, calls_of
from proofload.judge.breaker.judge import (
    OPENING,
    RECOVERY,
    REOPENING,
    TRIALS,
    judge_breaker,
    judge_isolation,
    judge_never_trips,
)

__all__ = [
    "OPENING",
    "RECOVERY",
    "REOPENING",
    "TRIALS",
    "Calls",
    "Hits",
    "Kind",
    "Stage",
    "calls_of",
    "judge_breaker",
    "judge_isolation",
    "judge_never_trips",
]

"""Decides whether concurrent operations can be explained one after the other, each within its own interval."""

from proofload.judge.linearizable.jepsen import MODELS, check_jepsen, operations_of
from proofload.judge.linearizable.judge import judge_linearizable
from proofload.judge.linearizable.search import BUDGET, Result, SearchResult, search
from proofload.judge.linearizable.shrink import Counterexample, shrink

__all__ = [
    "BUDGET",
    "MODELS",
    "Counterexample",
    "Result",
    "SearchResult",
    "check_jepsen",
    "judge_linearizable",
    "operations_of",
    "search",
    "shrink",
]

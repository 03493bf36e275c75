"""Compares what the client sent with what the target counted: raw differences, bounds on both sides, entry by entry."""

from proofload.judge.reconcile.counters import CounterDiff, Foreign, Route, Span, counted_by_client, difference
from proofload.judge.reconcile.histogram import judge_histogram
from proofload.judge.reconcile.metrics import judge_metrics
from proofload.judge.reconcile.request_ids import judge_request_ids, request_ids

__all__ = [
    "CounterDiff",
    "Foreign",
    "Route",
    "Span",
    "counted_by_client",
    "difference",
    "judge_histogram",
    "judge_metrics",
    "judge_request_ids",
    "request_ids",
]

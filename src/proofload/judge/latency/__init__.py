"""Judges how long answers took, from the instant each was due. Never reads a clock, and never averages."""

from proofload.judge.latency.attribution import attribute_bottleneck, judge_serialization
from proofload.judge.latency.judge import judge_latency, percentiles_of
from proofload.judge.latency.overhead import Round, enough_rounds, judge_overhead
from proofload.judge.latency.percentiles import Percentile, estimate, interval_ranks, percentile_ns, samples_needed
from proofload.judge.latency.samples import Samples, gather
from proofload.judge.latency.shape import LatencyBounds, judge_slow_few

__all__ = [
    "LatencyBounds",
    "Percentile",
    "Round",
    "Samples",
    "attribute_bottleneck",
    "enough_rounds",
    "estimate",
    "gather",
    "interval_ranks",
    "judge_latency",
    "judge_overhead",
    "judge_serialization",
    "judge_slow_few",
    "percentile_ns",
    "percentiles_of",
    "samples_needed",
]

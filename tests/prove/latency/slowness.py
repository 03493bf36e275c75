"""Simulated response times: honest servers with noise, hiccups and warm-up, and servers with one trouble each."""

from __future__ import annotations

import numpy as np
import polars as pl

from proofload.core.seeds import array_stream
from proofload.judge.baseline import judge_against_baseline
from proofload.judge.latency import judge_latency
from proofload.judge.verdict import Outcome
from proofload.plan.policies import LatencyPolicy
from proofload.record.history import History

MS, S = 1_000_000, 1_000_000_000
DEFECTS = (
    "lat.slow_one_percent",
    "lat.periodic_stall",
    "lat.grows_with_time",
    "lat.slow_first_request",
    "lat.regression",
)


def response(seed, defect="", count=2_000, side=""):
    """Return due instants and response times of a steady open load of a minute."""
    dice = array_stream(seed, "slowness", defect, count, side)
    # What a server is like belongs to the world; noise belongs to the measurement.
    world = array_stream(seed, "server", defect)
    shape, scale = world.uniform(1.5, 8), world.uniform(0.2, 3) * MS
    due = np.arange(count, dtype=np.int64) * (60 * S // count)
    took = dice.gamma(shape, scale, size=count)
    # Noise comes in waves, and now and then the machine does something else for a while.
    took *= 1 + world.uniform(0, 0.3) * np.repeat(dice.uniform(0, 1, size=count // 20 + 1), 20)[:count]
    for _ in range(dice.poisson(1.5)):
        begin, length = dice.uniform(0, 60) * S, dice.exponential(120) * MS
        took += np.clip(begin + length - due, 0, None) * ((due >= begin) & (due < begin + length))
    if dice.random() < 0.3:
        took[: count // 50] *= 2
    if defect == "lat.slow_one_percent":
        took[dice.random(count) < 0.01] += 250 * MS
    if defect == "lat.periodic_stall":
        period = 10 * S
        took += np.clip(S - due % period, 0, None)
    if defect == "lat.grows_with_time":
        took += due / (60 * S) * 40 * MS
    if defect == "lat.slow_first_request":
        took[0] += 2 * S
    if defect == "lat.regression" and side == "after":
        took *= 1.3
    return due, took.astype(np.int64)


def history(due, took):
    count = len(due)
    plain = {
        name: [text] * count
        for name, text in (("workload", "w"), ("operation", "read"), ("source", ""), ("request_id", ""))
    }
    numbers = {name: np.ones(count, np.int64) for name in ("user", "connection", "bytes_out", "bytes_in")}
    return History(
        pl.DataFrame(
            {
                **plain,
                **numbers,
                "intended_ns": due,
                "sent_ns": due,
                "first_byte_ns": due + took,
                "done_ns": due + took,
                "ending": np.zeros(count, np.int64),
                "fault": np.zeros(count, np.int64),
                "status": np.full(count, 200),
            }
        )
    )


def judged(seed, defect="", count=2_000):
    """Return the findings on one world: its shape, its promises, and a second measurement against the first."""
    due, took = response(seed, defect, count)
    _, before = response(seed, defect, count, "before")
    _, after = response(seed, defect, count, "after")
    true = np.sort(np.concatenate([response(seed, defect, count, n)[1] for n in range(4)])) if not defect else None
    # A promise that is just kept: the percentile of four measurements together, and a little.
    policy = (
        LatencyPolicy(p99_within=f"{int(true[int(0.995 * len(true))] * 1.2)}ns")
        if true is not None
        else LatencyPolicy()
    )
    return [
        *judge_latency(policy, history(due, took)),
        *judge_against_baseline({"read": before}, {"read": after}, seed=seed, per_milles=(500, 900)),
    ]


def failed(findings):
    return sorted({one.rule for one in findings if one.outcome >= Outcome.FAIL})

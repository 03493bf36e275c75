"""Arrivals, a network and a recorder around a simulated limiter: a seed in, a history and the truth out."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from proofload.core.clock import Anchor
from proofload.core.seeds import stream
from proofload.record.exchange import Ending, Fault
from proofload.record.history import History

MS = 1_000_000
SECOND = 1_000_000_000
ANCHOR = Anchor(monotonic_ns=0, wall_ns=1_700_000_000 * SECOND + 123_456_789, uncertainty_ns=1_000)
PATTERNS = ("sequence", "burst", "sequence_then_reset", "poisson", "saturating", "two_keys", "burst_at_the_edge")


@dataclass
class World:
    history: History
    decided: list = field(default_factory=list)
    """(true instant, key, admitted, row) of every request that reached the limiter, in order."""


def delay(dice, mean_ns):
    """Mostly short, now and then ten times as long: a network."""
    base = dice.expovariate(1 / mean_ns)
    return int(base * 10 if dice.random() < 0.03 else base) + 20_000


def plan(dice, pattern, limit, window_ns):
    """Return (planned send instant or None for 'after the last answer', key) for each request."""
    start = dice.randrange(10 * SECOND)
    over = dice.randrange(2, 6)
    if pattern == "sequence":
        return [(start if i == 0 else None, "a") for i in range(limit + over)]
    if pattern == "burst":
        return [(start + dice.randrange(300_000), "a") for _ in range(limit + over + dice.randrange(limit))]
    if pattern == "sequence_then_reset":
        first = [(start if i == 0 else None, "a") for i in range(limit + over)]
        return [*first, (start + window_ns + SECOND * 3 // 2 + window_ns // 10, "a"), (None, "a")]
    if pattern == "poisson":
        sends, at = [], start
        for _ in range(4 * limit):
            at += int(dice.expovariate(1.5 * limit / window_ns))
            sends.append((at, "a"))
        return sends
    if pattern == "saturating":
        gap = window_ns // (3 * limit)
        return [(start + i * gap + dice.randrange(gap), "a") for i in range(10 * limit)]
    if pattern == "two_keys":
        flood = [(start + i * MS, "a") for i in range(limit + over)]
        return flood + [(start + (limit + 10 + 5 * i) * MS, "b") for i in range(max(1, limit // 2))]
    edge = start + window_ns
    early = [(start, "a")]
    return early + [(edge + dice.randrange(-200 * MS, 200 * MS), "a") for _ in range(2 * limit)]


def simulate(
    seed, limiter, pattern, limit, window_ns, *, skew_ns=0, loss=0.01, mean_ns=MS, rounding=math.ceil, workers=2
):
    """Return what a client recorded of `limiter` under `pattern`, and what really was decided."""
    dice = stream(seed, "world", pattern)
    planned = plan(dice, pattern, limit, window_ns)
    rows, last_done = [], 0
    # Requests that wait for the last answer can only be placed once it is known: they are decided one by one.
    parallel = [p for p in planned if p[0] is not None]
    chained = any(at is None for at, _ in planned)
    order = planned if chained else sorted(parallel)
    waiting = []
    for at, key in order:
        sent = max(last_done + 10_000, at or 0) if chained else at
        there = sent + delay(dice, mean_ns)
        row = [sent, there, key, delay(dice, mean_ns), dice.random(), dice.randrange(workers)]
        if chained:
            rows.append(_serve(row, limiter, skew_ns, loss, rounding))
            last_done = rows[-1]["done_ns"]
        else:
            waiting.append(row)
    if not chained:
        served = [(_serve(row, limiter, skew_ns, loss, rounding)) for row in sorted(waiting, key=lambda row: row[1])]
        rows = sorted(served, key=lambda row: row["sent_ns"])
    decided = sorted((r["at"], r["source"], r["admitted"], i) for i, r in enumerate(rows) if r["at"] is not None)
    return World(_history(rows), decided)


def _serve(row, limiter, skew_ns, loss, rounding):
    sent, there, key, back, luck, worker = row
    kept = {
        "sent_ns": sent,
        "source": key,
        "ending": Ending.ANSWERED,
        "fault": Fault.NONE,
        "status": 0,
        "at": None,
        "admitted": False,
    }
    if luck < loss / 3:
        return {**kept, "done_ns": sent, "ending": Ending.NOT_SENT, "fault": Fault.CONNECT_REFUSED}
    if luck < 2 * loss / 3:  # lost on the way there
        return {**kept, "done_ns": sent + 500 * MS, "ending": Ending.UNKNOWN, "fault": Fault.TIMEOUT}
    wall = ANCHOR.to_wall_ns(there) + skew_ns
    answer = limiter.decide(key, wall, worker)
    kept |= {"at": there, "admitted": answer.admitted}
    if luck < loss:  # decided and counted, the answer lost
        return {**kept, "done_ns": max(there, sent + 500 * MS), "ending": Ending.UNKNOWN, "fault": Fault.TIMEOUT}
    headers = {
        "header:x-ratelimit-limit": str(limiter.limit) if hasattr(limiter, "limit") else None,
        "header:x-ratelimit-remaining": str(answer.remaining),
        "header:x-ratelimit-reset": str(rounding(answer.reset_ns / SECOND)),
        "header:retry-after": None if answer.admitted else str(math.ceil(answer.retry_ns / SECOND)),
    }
    return {**kept, "done_ns": there + back, "status": 200 if answer.admitted else 429, **headers}


def _history(rows):
    names = [
        f"header:{name}" for name in ("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "retry-after")
    ]
    count = len(rows)
    numbers = {
        name: np.array([int(row[name]) for row in rows], dtype=np.int64)
        for name in ("sent_ns", "done_ns", "ending", "fault", "status")
    }
    zero = np.zeros(count, dtype=np.int64)
    frame = {
        "workload": ["w"] * count,
        "operation": ["probe"] * count,
        "user": zero,
        "source": [f"127.0.0.{ord(row['source']) - 95}" for row in rows],
        "connection": zero,
        "intended_ns": numbers["sent_ns"],
        "sent_ns": numbers["sent_ns"],
        "first_byte_ns": numbers["done_ns"],
        "done_ns": numbers["done_ns"],
        "ending": numbers["ending"],
        "fault": numbers["fault"],
        "status": numbers["status"],
        "bytes_out": zero,
        "bytes_in": zero,
        "request_id": [""] * count,
    }
    headers = {name: pl.Series([row.get(name) for row in rows], dtype=pl.String) for name in names}
    return History(pl.DataFrame({**frame, **headers}))

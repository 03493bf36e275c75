"""How the judges' cost grows: exchanges through each judge at 10 k, 100 k, 1 M and, with room for it, 10 M.

    python benchmarks/judges.py [--sizes 10000,100000,1000000] [--only rate_limit] [--json FILE]

One core (the process pins itself to one). Each judge is timed over the history alone, not over its making.
"""

import argparse
import importlib.util
import json
import os
import platform
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl

from proofload.core.clock import Anchor
from proofload.core.seeds import array_stream
from proofload.judge.breaker import CircuitContext, judge_breaker
from proofload.judge.overload import find_capacity, steps_of
from proofload.judge.rate_limit import (
    RateLimitContext,
    judge_admission,
    judge_headers,
    judge_isolation,
    judge_promised_reset,
)
from proofload.plan.policies import CircuitBreakerPolicy, RateLimitPolicy
from proofload.record.fault_edge import FaultSpan
from proofload.record.history import History

sys.path.insert(0, str(Path(__file__).parent))

MS, SECOND = 1_000_000, 1_000_000_000
ANCHOR = Anchor(0, 1_700_000_000 * SECOND, 1_000)
GIB = 1 << 30


def columns(sent, done, status, **more):
    count = len(sent)
    zero = np.zeros(count, dtype=np.int64)
    return History(
        pl.DataFrame(
            {
                "workload": pl.repeat("load", count, eager=True),
                "operation": pl.repeat("read", count, eager=True),
                "user": zero,
                "source": pl.repeat("127.0.0.2", count, eager=True),
                "connection": zero,
                "intended_ns": sent,
                "sent_ns": sent,
                "first_byte_ns": done,
                "done_ns": done,
                "ending": zero,
                "fault": zero,
                "status": status,
                "bytes_out": zero,
                "bytes_in": zero,
                "request_id": pl.repeat("", count, eager=True),
                **more,
            }
        )
    )


def limited(count, keys=100, limit=100, window_ns=60 * SECOND):
    """Return `count` exchanges of `keys` clients at 10,000 a second in all, limited by an honest fixed window each."""
    dice = array_stream(1, "judges", count)
    sent = np.sort(dice.integers(0, max(1, count // 10_000) * SECOND + SECOND, count))
    done = sent + dice.integers(MS // 2, 5 * MS, count)
    key = dice.integers(0, keys, count)
    decided = (sent + done) // 2
    status, left, ends = np.empty(count, np.int64), np.empty(count, np.int64), np.empty(count, np.int64)
    for one in range(keys):
        mine = np.flatnonzero(key == one)
        mine = mine[np.argsort(decided[mine], kind="stable")]
        at, place = decided[mine], 0
        while place < len(mine):
            end = int(np.searchsorted(at, at[place] + window_ns))
            used = np.arange(1, end - place + 1)
            status[mine[place:end]] = np.where(used <= limit, 200, 429)
            left[mine[place:end]] = np.maximum(0, limit - used)
            ends[mine[place:end]] = at[place] + window_ns
            place = end
    reset = (ends + ANCHOR.wall_ns + SECOND - 1) // SECOND
    wait = np.maximum(1, (ends - decided + SECOND - 1) // SECOND)
    retry = pl.select(pl.when(pl.Series(status) == 429).then(pl.Series(wait).cast(pl.String))).to_series()
    headers = {
        "header:x-ratelimit-limit": pl.repeat(str(limit), count, eager=True),
        "header:x-ratelimit-remaining": pl.Series(left).cast(pl.String),
        "header:x-ratelimit-reset": pl.Series(reset).cast(pl.String),
        "header:retry-after": retry,
    }
    made = columns(sent, done, status, **headers)
    return History(made.frame.with_columns(source=("127.0.1." + pl.Series(key).cast(pl.String)).alias("source")))


POLICY = RateLimitPolicy(limit=100, window="60s", probe="read")


def every(history):
    return np.arange(len(history))


def rate_limit(history):
    scene, rows = RateLimitContext(POLICY, history, ANCHOR), every(history)
    return [
        *judge_admission(scene, rows),
        *judge_headers(scene, rows),
        *judge_promised_reset(scene, rows),
        *judge_isolation(scene, rows),
    ]


def model(algorithm, alignment="first_request"):
    """Return a judgement of admission alone, by a model that the history need not fit."""

    def run(history):
        policy = POLICY.model_copy(update={"algorithm": algorithm, "alignment": alignment})
        return judge_admission(RateLimitContext(policy, history, ANCHOR), every(history))

    return run


def breaking(count):
    """Return `count` calls one after another: a circuit that opens at once, is refused, and recovers at the end."""
    sent = np.arange(count, dtype=np.int64) * MS
    status = np.full(count, 503)
    status[:5], status[5:10] = 200, 502
    status[-4:] = 200
    # The last four come after the open period: as trials and as the first call of the closed circuit.
    sent[-4:] += 61 * SECOND
    body = pl.Series(np.where(status == 503, "CIRCUIT_OPEN", "")).cast(pl.Binary)
    return columns(sent, sent + MS // 2, status, body=body)


def breaker(history):
    sent = history.numbers("sent_ns")
    period = int(sent[-5] - sent[9]) + 30 * SECOND
    policy = CircuitBreakerPolicy(service="orders", operation="read", open_for=f"{period}ns")
    span = FaultSpan("stop", "orders", int(sent[4]), int(sent[5]), int(sent[-5]), int(sent[-4]), held=True, mended=True)
    return judge_breaker(CircuitContext(policy, history, (span,)), every(history))


def overload(history):
    sent = history.numbers("sent_ns")
    edges = np.linspace(int(sent[0]), int(sent[-1]), 11).astype(np.int64).tolist()
    return [find_capacity(steps_of(history, every(history), edges))]


JUDGES = {
    "rate_limit": (limited, rate_limit),
    "rate_limit, sliding log": (limited, model("sliding_log")),
    "rate_limit, sliding counter": (limited, model("sliding_window_counter", "clock")),
    "rate_limit, token bucket": (limited, model("token_bucket")),
    "breaker": (breaking, breaker),
    "overload, capacity": (limited, overload),
}


def memory_bytes():
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")


def measure(name, build, judge, sizes, rounds):
    taken = {}
    for size in sizes:
        if size * 1_200 > memory_bytes():
            print(f"  {name}: {size:,} would need about {size * 1_200 / GIB:.0f} GiB, left out")
            break
        history = build(size)
        times = []
        for _ in range(rounds if size < 5_000_000 else 1):
            # Seconds of processor time, so that a busy machine does not change them.
            began = time.process_time()
            judge(history)
            times.append(time.process_time() - began)
        taken[size] = sorted(times)[len(times) // 2]
        del history
    return taken


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="10000,100000,1000000,10000000")
    parser.add_argument("--only", default="")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    judges = dict(JUDGES)
    if importlib.util.find_spec("_judges_b"):
        # The other judges' functions: a dict JUDGES of the same form.
        judges |= importlib.import_module("_judges_b").JUDGES
    sizes = [int(size) for size in asked.sizes.split(",")]
    core = min(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    print(f"Python {platform.python_version()}, processor seconds on one core, median of {asked.rounds}\n")
    print(f"{'judge':30}" + "".join(f"{size:>13,}" for size in sizes) + f"{'ns a row, last':>16}")
    everything = {}
    for name, (build, judge) in judges.items():
        if asked.only not in name:
            continue
        taken = everything[name] = measure(name, build, judge, sizes, asked.rounds)
        cells = "".join(f"{taken[size]:13.3f}" if size in taken else f"{'-':>13}" for size in sizes)
        last = max(taken)
        print(f"{name:30}{cells}{taken[last] / last * 1e9:16.0f}", flush=True)
    if asked.json:
        asked.json.write_text(json.dumps(everything, indent=2))


if __name__ == "__main__":
    main()

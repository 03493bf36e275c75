"""Scale of the judges of ledgers, latency and linearizability: cost per exchange, from 10,000 to the largest asked for.

`figures(sizes)` returns rows for the table of benchmarks/judges.py; run by itself it prints them.
"""

from __future__ import annotations

import sys
import time

import numpy as np
import polars as pl

from proofload.core.seeds import array_stream, stream
from proofload.judge.delivery import judge_delivery
from proofload.judge.latency import judge_latency
from proofload.judge.linearizable import judge_linearizable
from proofload.judge.models.bank import DONE, INSUFFICIENT, BankAccount
from proofload.judge.models.counter import Counter
from proofload.judge.models.model import Operation
from proofload.judge.reconcile import Foreign, Route, judge_metrics, judge_request_ids
from proofload.plan.policies import LatencyPolicy, MetricsPolicy
from proofload.record.history import History
from proofload.record.ledger import Reading, Sample

SIZES = (10_000, 100_000, 1_000_000)
BOUND_S = 3.0
BANK_BOUND_S = 10.0
_OPERATIONS = {name: Route(f"/{name}", "GET") for name in ("read", "write", "login", "order")}
_SECOND = 1_000_000_000


def history(count: int) -> History:
    dice = array_stream(1, "scale", count)
    due = np.arange(count, dtype=np.int64) * 50_000
    took = dice.gamma(4, 500_000, size=count).astype(np.int64)
    names = np.array(sorted(_OPERATIONS))
    return History(
        pl.DataFrame(
            {
                "workload": pl.Series(["load"]).extend_constant("load", count - 1),
                "operation": names[dice.integers(0, len(names), count)],
                "user": dice.integers(0, 1_000, count),
                "source": pl.Series(["127.0.0.1"]).extend_constant("127.0.0.1", count - 1),
                "connection": dice.integers(0, 50, count),
                "intended_ns": due,
                "sent_ns": due + 2_000,
                "first_byte_ns": due + took,
                "done_ns": due + took,
                "ending": np.zeros(count, np.int64),
                "fault": np.zeros(count, np.int64),
                "status": np.where(dice.random(count) < 0.005, 429, 200),
                "bytes_out": np.full(count, 100),
                "bytes_in": np.full(count, 300),
                "request_id": pl.int_range(count, eager=True).cast(pl.String),
            }
        )
    )


def readings(made: History) -> list[Reading]:
    counted = made.frame.group_by("operation", "status").len()
    samples = tuple(
        Sample("http_requests_total", {"route": f"/{name}", "method": "GET", "status": str(status)}, float(count))
        for name, status, count in counted.iter_rows()
    )
    end = int(made.numbers("done_ns").max()) + 10 * _SECOND
    return [Reading("m", "before", -_SECOND, -_SECOND // 2, ()), Reading("m", "after", end, end + 1, samples)]


def bank(operations: int, users: int) -> tuple[list[Operation], BankAccount]:
    """Return an honest history: each user's operations overlap, and every answer tells the truth at its instant."""
    dice, made = stream(2, "bank"), []
    for user in range(users):
        balance, now, calls = 100, 0, []
        for _ in range(operations // users):
            now += dice.randrange(1, 10)
            calls.append((now, now - dice.randrange(15), now + dice.randrange(15)))
        for row, (_, begin, end) in enumerate(calls):
            amount, call = dice.randrange(1, 60), dice.choice(["deposit", "withdraw", "balance"])
            result: int | str = DONE
            if call == "balance":
                result = balance
            elif call == "withdraw" and amount > balance:
                result = INSUFFICIENT
            else:
                balance += amount if call == "deposit" else -amount
            argument = None if call == "balance" else amount
            made.append(Operation(row, row % 5, call, argument, result, begin, end, key=user))
    return made, BankAccount(100)


def _best(work, rounds: int) -> float:
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def figures(sizes=SIZES) -> list[dict[str, object]]:
    """Return a row for each judge and size: seconds, nanoseconds an exchange, and the bound where one is set."""
    rows: list[dict[str, object]] = []
    for size in sizes:
        made = history(size)
        pages, ledger = readings(made), made.frame.select("request_id", pl.col("status").cast(pl.Int64))
        judges = {
            "reconcile (counters)": lambda made=made, pages=pages: judge_metrics(
                MetricsPolicy(), made, pages, operations=_OPERATIONS, foreign=Foreign(exclusive=True)
            ),
            "reconcile (request ids)": lambda made=made, ledger=ledger: judge_request_ids(made, ledger, source="log"),
            "latency": lambda made=made: judge_latency(LatencyPolicy(p99_within="1s"), made),
            "delivery": lambda made=made: judge_delivery(made),
        }
        for name, judge in judges.items():
            seconds = _best(judge, 2)
            rows.append(_row(name, size, seconds, BOUND_S if size == 1_000_000 else None))
    operations, model = bank(10_000, 100)
    rows.append(_row("bank, 100 users", 10_000, _best(lambda: judge_linearizable(operations, model), 2), BANK_BOUND_S))
    deposits = [Operation(n, n, "add", 2**n, None, 0, 100) for n in range(40)]
    deposits.append(Operation(99, 99, "read", None, 5_000_000_000_001, 0, 100))
    began = time.perf_counter()
    finding = judge_linearizable(deposits, Counter())
    rows.append(_row(f"pathological: {finding.outcome.name}", 41, time.perf_counter() - began, None))
    return rows


def _row(name: str, size: int, seconds: float, bound: float | None) -> dict[str, object]:
    return {
        "judge": name,
        "exchanges": size,
        "seconds": round(seconds, 3),
        "ns each": round(seconds / size * 1e9),
        "bound s": bound or "",
        "held": "" if bound is None else "yes" if seconds < bound else "NO",
    }


if __name__ == "__main__":
    for row in figures(tuple(int(one) for one in sys.argv[1:]) or SIZES):
        print(*row.values(), sep="\t")

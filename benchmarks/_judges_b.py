"""Scale of the judges of ledgers, latency and linearizability: `JUDGES` for benchmarks/judges.py.

Run by itself it times 10,000 bank operations of 100 users, and a history on which the search must stop at its budget.
"""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime

import numpy as np
import polars as pl

from proofload.core.clock import Anchor
from proofload.core.seeds import array_stream, stream
from proofload.judge.audit import AuditEvidence, ExpectedEvent, digests_of, judge_audit
from proofload.judge.delivery import judge_delivery
from proofload.judge.latency import judge_latency
from proofload.judge.linearizable import judge_linearizable
from proofload.judge.models.bank import DONE, INSUFFICIENT, BankAccount
from proofload.judge.models.counter import Counter
from proofload.judge.models.model import ModelOperation
from proofload.judge.reconcile import Foreign, Route, judge_metrics, judge_request_ids
from proofload.plan.policies import AuditPolicy, LatencyPolicy, MetricsPolicy
from proofload.record.history import History
from proofload.record.ledger import AuditEntry, Ledgers, Reading, Sample

_OPERATIONS = {name: Route(f"/{name}", "GET") for name in ("read", "write", "login", "order")}
_SECOND = 1_000_000_000
_EVENTS = ("login_failed", "login_succeeded")
_DIGESTS = digests_of(f"{n:06}-password-aA1!" for n in range(20))


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


def bank(operations: int, users: int) -> tuple[list[ModelOperation], BankAccount]:
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
            made.append(ModelOperation(row, row % 5, call, argument, result, begin, end, key=user))
    return made, BankAccount(100)


def counters(made: History):
    return judge_metrics(MetricsPolicy(), made, readings(made), operations=_OPERATIONS, foreign=Foreign(exclusive=True))


def request_ids(made: History):
    return judge_request_ids(made, made.frame.select("request_id", pl.col("status").cast(pl.Int64)), source="log")


def audit_log(count: int) -> tuple[list[ExpectedEvent], Ledgers]:
    """Return the events of `count` requests and a log that holds each of them, in envelopes of no kind."""
    expected, entries = [], []
    for n in range(count):
        event, user, ip = _EVENTS[n % 2], f"load_test_user_{n % 50}", f"127.64.0.{n % 200 + 1}"
        sent_ns = _SECOND + n * 1_000_000
        expected.append(ExpectedEvent(n, event, f"run-{n}", sent_ns, sent_ns + 1_000_000, user, ip))
        moment = datetime.fromtimestamp(sent_ns / _SECOND, UTC).isoformat()
        fields = {"time": moment, "event": event, "user": user, "ip": ip, "request_id": f"run-{n}", "service": "auth"}
        entries.append(AuditEntry("auth.jsonl", n + 1, json.dumps(fields), fields, sent_ns + _SECOND))
    return expected, Ledgers(audit=tuple(entries))


def audit(made: tuple[list[ExpectedEvent], Ledgers]):
    expected, ledgers = made
    known = AuditEvidence(1 << 60, Anchor(0, 0, 0), digests=_DIGESTS)
    return judge_audit(AuditPolicy(events={event: event for event in _EVENTS}), ledgers, expected, known, each=5)


JUDGES = {
    "audit": (audit_log, audit),
    "reconcile, counters": (history, counters),
    "reconcile, request ids": (history, request_ids),
    "latency": (history, lambda made: judge_latency(LatencyPolicy(p99_within="1s"), made)),
    "delivery": (history, judge_delivery),
}
"""How a history of a size is made, and what judges it."""


def main() -> None:
    operations, model = bank(10_000, 100)
    began = time.process_time()
    finding = judge_linearizable(operations, model)
    print(
        f"10,000 bank operations, 100 users: {finding.outcome.name} in {time.process_time() - began:.2f} s (bound 10 s)"
    )
    deposits = [ModelOperation(n, n, "add", 2**n, None, 0, 100) for n in range(40)]
    deposits.append(ModelOperation(99, 99, "read", None, 5_000_000_000_001, 0, 100))
    began = time.process_time()
    finding = judge_linearizable(deposits, Counter())
    print(f"40 concurrent adds, no sum as read: {finding.outcome.name} in {time.process_time() - began:.2f} s")


if __name__ == "__main__":
    main()

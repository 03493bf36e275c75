"""A service that miscounts must not make the limiter before it look broken."""

from typing import Any

import pytest

from proofload.cases.rate_limit.backend import backend
from proofload.core.clock import Anchor
from proofload.judge.evidence import Evidence
from proofload.judge.rate_limit import RateLimitContext
from proofload.judge.verdict import Outcome
from proofload.plan.reader import parse_target
from proofload.record.exchange import Ending, Exchange, Fault
from proofload.record.history import History
from proofload.record.ledger import Ledgers, Reading, Sample

TARGET = parse_target(
    """
version: 1
name: shop
address: http://127.0.0.1:1
operations: {profile: {path: /profile, service: auth}}
services: {auth: {metrics: "http://127.0.0.1:2/metrics"}}
policies: {rate_limit: [{limit: 2, window: 60s, probe: profile}]}
""",
    "test",
    {},
)


def history(rows: list[tuple[str, int]]) -> History:
    return History.of(
        Exchange(
            row=i,
            workload=f"TC-RL-001/{step}",
            operation="profile",
            user=0,
            source="127.0.0.9",
            connection=0,
            intended_ns=i * 10,
            sent_ns=i * 10,
            first_byte_ns=i * 10 + 5,
            done_ns=i * 10 + 6,
            ending=Ending.ANSWERED,
            fault=Fault.NONE,
            status=status,
            bytes_out=1,
            bytes_in=1,
            request_id=str(i),
        )
        for i, (step, status) in enumerate(rows)
    )


def evidence(counts: list[int], *, calibrated: bool = True, error: str = "") -> Evidence:
    labels = ["uncalibrated", "before", "after"] if calibrated else ["before", "after"]
    readings = tuple(
        Reading("auth", label, at_ns, at_ns, (Sample("http_requests_total", {"route": "/profile"}, count),), error)
        for label, count, at_ns in zip(labels, counts, (0, 29, 1_000) if calibrated else (0, 1_000), strict=True)
    )
    steps = [("calibration", 200)] * 3 if calibrated else []
    told = history([*steps, ("sequence", 200), ("sequence", 200), ("sequence", 429), ("sequence", 429)])
    return Evidence("TC-RL-001", TARGET, told, Anchor(0, 0, 0), (), ledgers=Ledgers(readings))


def outcome(told: Evidence) -> Any:
    context = RateLimitContext(told.target.policies.rate_limit[0], told.history, told.anchor)
    (finding,) = backend(told, context)
    return finding.outcome


@pytest.mark.parametrize(
    ("counts", "calibrated", "expected"),
    [
        ([0, 3, 5], True, Outcome.PASS),
        ([0, 3, 7], True, Outcome.FAIL),
        ([0, 6, 10], True, Outcome.INCONCLUSIVE),  # counts everything twice
        ([0, 6, 14], True, Outcome.INCONCLUSIVE),
        ([3, 5], False, Outcome.PASS),
        ([3, 7], False, Outcome.INCONCLUSIVE),  # twice, or two too many: nobody can tell
    ],
)
def test_the_count_is_believed_as_far_as_it_was_seen_to_be_right(
    counts: list[int], calibrated: bool, expected: Outcome
) -> None:
    assert outcome(evidence(counts, calibrated=calibrated)) is expected


def test_a_count_that_could_not_be_read_decides_nothing() -> None:
    assert outcome(evidence([0, 3, 5], error="connection refused")) is Outcome.INCONCLUSIVE

"""Every case there is, by id, in the order in which they are listed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from proofload.cases import interaction, negative, rate_limit, resilience
from proofload.cases.audit import capture as audit
from proofload.cases.audit import correlation as audit_further
from proofload.cases.case import Case
from proofload.cases.circuit_breaker import trip_and_recovery as breaker
from proofload.cases.end_to_end import journeys as journey
from proofload.cases.latency import load_levels as latency_levels
from proofload.cases.latency import percentiles as latency
from proofload.cases.latency import stalls as latency_shapes
from proofload.cases.lock import contention as lock
from proofload.cases.lock import failures as lock_failures
from proofload.cases.lock import idempotency as lock_repeated
from proofload.cases.lock import metrics as lock_counted
from proofload.cases.monitoring import accuracy as monitoring
from proofload.cases.monitoring import overhead

_CASES: dict[str, Case] = {
    case.id: case
    for case in (
        *rate_limit.CASES,
        *breaker.CASES,
        *monitoring.CASES,
        *audit.CASES,
        *audit_further.CASES,
        *overhead.AUDIT_CASES,
        *resilience.CASES,
        *lock.CASES,
        *lock_failures.CASES,
        *lock_repeated.CASES,
        *lock_counted.CASES,
        *latency.CASES,
        *latency_levels.CASES,
        *latency_shapes.CASES,
        *interaction.CASES,
        *journey.CASES,
        *negative.CASES,
    )
}
CATALOGUE: Mapping[str, Case] = _CASES
"""Ours, and behind them those of one's own that have joined."""

CORE = (
    "TC-RL-001",
    "TC-RL-002",
    "TC-CB-001",
    "TC-CB-002",
    "TC-MON-001",
    "TC-AUDIT-001",
    "TC-RES-001",
    "TC-LOCK-001",
    "TC-LATENCY-001",
)
"""The nine cases that run when none is named; the rest of the catalogue runs with `--all` or by name."""


def include(cases: Iterable[Case]) -> None:
    """Let cases of one's own join the catalogue, before anything is chosen from it."""
    _CASES.update((case.id, case) for case in cases)

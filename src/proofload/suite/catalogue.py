"""Every case there is, by id, in the order in which they are listed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from proofload.cases.audit import capture, correlation
from proofload.cases.case import AnyCase, cases_of
from proofload.cases.circuit_breaker import half_open, independence, trip_and_recovery
from proofload.cases.end_to_end import journeys
from proofload.cases.interaction import circuits, limits, store
from proofload.cases.latency import load_levels, percentiles, stalls
from proofload.cases.lock import contention, failures, idempotency, metrics
from proofload.cases.monitoring import accuracy, freshness, log_pipeline, overhead, restart
from proofload.cases.negative import breakers, health, ledgers, secrets, users
from proofload.cases.negative import limits as negative_limits
from proofload.cases.rate_limit import driving, judging, keys
from proofload.cases.resilience import audit_under_overload, crash_consistency, hung_service, overload, resources

_FAMILIES = ("RL", "CB", "MON", "AUDIT", "RES", "LOCK", "LATENCY", "INT", "E2E", "NEG")
_MODULES = (
    *(driving, judging, keys),
    *(trip_and_recovery, independence, half_open),
    *(accuracy, freshness, log_pipeline, overhead, restart),
    *(capture, correlation),
    *(overload, resources, crash_consistency, hung_service, audit_under_overload),
    *(contention, failures, idempotency, metrics),
    *(percentiles, load_levels, stalls),
    *(limits, circuits, store),
    journeys,
    *(negative_limits, breakers, users, secrets, health, ledgers),
)


def _place(case: AnyCase) -> tuple[int, str]:
    return _FAMILIES.index(case.id.split("-")[1]), case.id


_CASES: dict[str, AnyCase] = {case.id: case for case in sorted(cases_of(*_MODULES), key=_place)}
CATALOGUE: Mapping[str, AnyCase] = _CASES
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


def include(cases: Iterable[AnyCase]) -> None:
    """Let cases of one's own join the catalogue, before anything is chosen from it."""
    _CASES.update((case.id, case) for case in cases)

"""Every case there is, by id, in the order in which they are listed."""

from __future__ import annotations

from collections.abc import Mapping

from proofload.cases import audit, breaker, latency, lock, monitoring, rate_limit
from proofload.cases.case import Case

CATALOGUE: Mapping[str, Case] = {
    case.id: case
    for case in (*rate_limit.CASES, *breaker.CASES, *monitoring.CASES, *audit.CASES, *lock.CASES, *latency.CASES)
}

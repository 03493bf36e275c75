"""The catalogue of defects by id, and the door through which they are put in place."""

from __future__ import annotations

from collections.abc import Sequence

from ordersystem.compose import HONEST, Parts
from ordersystem.defects import (
    audit,
    audit_content,
    breaker,
    latency,
    locks,
    metrics,
    overload,
    rate_limit,
    rate_limit_headers,
)
from ordersystem.defects.defect import Defect, gateway

CONTENTION = Defect(
    "int.contention_trips_breaker",
    "Lock contention opens the circuit of its service.",
    "Rules on the status alone: a 503 is a 503.",
    "Five LOCK_CONTENTION in a row make CIRCUIT_OPEN for everybody.",
    "TC-INT-004",
    gateway(is_failure=lambda _ignored: lambda answer: answer.status >= 500),
)

ALL: dict[str, Defect] = {
    defect.id: defect
    for defect in (
        *rate_limit.DEFECTS,
        *rate_limit_headers.DEFECTS,
        *breaker.DEFECTS,
        *locks.DEFECTS,
        *metrics.DEFECTS,
        *audit.DEFECTS,
        *audit_content.DEFECTS,
        *overload.DEFECTS,
        *latency.DEFECTS,
        CONTENTION,
    )
}


class UnknownDefectError(Exception):
    """There is no defect of that id."""


def parts_with(ids: Sequence[str], parts: Parts = HONEST) -> Parts:
    """Return the parts with these defects in place."""
    for name in ids:
        if name not in ALL:
            raise UnknownDefectError(f"--defect: got {name!r}, expected an id of `python -m ordersystem defects`")
        parts = ALL[name].install(parts)
    return parts

"""The catalogue of defects by id, and the door through which they are put in place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from proofload.demo.ordersystem.compose import HONEST, Parts
from proofload.demo.ordersystem.defects import (
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
from proofload.demo.ordersystem.defects.defect import Defect, gateway

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


class DefectsCollideError(Exception):
    """Two defects change the same part, so that one would take the other out, unseen."""


def parts_with(ids: Sequence[str], parts: Parts = HONEST) -> Parts:
    """Return the parts with these defects in place."""
    taken: dict[str, tuple[str, Any]] = {}
    for name in dict.fromkeys(ids):
        if name not in ALL:
            raise UnknownDefectError(
                f"--defect: got {name!r}, expected an id of `python -m proofload.demo.ordersystem defects`"
            )
        for part, value in _changed(ALL[name].install(HONEST), HONEST):
            other, theirs = taken.setdefault(part, (name, value))
            if other != name and theirs is not value:
                raise DefectsCollideError(
                    f"--defect: got {other} and {name}, which both change {part}: one would take the other out; "
                    "start the system once with each"
                )
        parts = ALL[name].install(parts)
    return parts


def _changed(new: Any, old: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the name and the new value of each part of `new` that isn't the one of `old`."""
    for field in fields(old):
        ours, theirs = getattr(new, field.name), getattr(old, field.name)
        if is_dataclass(theirs) and not isinstance(theirs, type):
            yield from _changed(ours, theirs, f"{path}{field.name}.")
        elif ours is not theirs and ours != theirs:
            yield path + field.name, ours

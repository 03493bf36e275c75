"""Which declared operations may be sent at will: reads without effect, of each service, and those that need a token."""

from __future__ import annotations

from proofload.cases.isolation import service_of
from proofload.cases.requirement import Missing, Requirement
from proofload.plan.operation import Operation
from proofload.plan.target import Target


def is_repeatable(operation: Operation) -> bool:
    """Return whether an operation is a read without effect and without open fields."""
    return operation.effect == "none" and operation.method == "GET" and "${" not in operation.path


def repeatable(target: Target) -> list[str]:
    """Return the operations that may be repeated at will, sorted."""
    return sorted(name for name, one in target.operations.items() if is_repeatable(one))


def reads(target: Target) -> dict[str, str]:
    """Return a read of each service that may be repeated at will and succeeds, by service."""
    found: dict[str, str] = {}
    for name in repeatable(target):
        service = service_of(target, name)
        if service and not target.operations[name].accept:
            found.setdefault(service, name)
    return found


def guarded(target: Target) -> str | None:
    """Return a read that needs a token: without one, or with a worthless one, it must be denied."""
    return next((name for name in repeatable(target) if target.operations[name].auth == "bearer"), None)


def read_of(target: Target) -> str | Missing:
    """Return the read to measure: one that needs to know its user, where there is one."""
    # By name as well: a set's own order is another in every process, and a verdict is worked out again in another.
    return min(
        reads(target).values(),
        key=lambda name: (target.operations[name].auth != "bearer", name),
        default=Missing("the target declares no read of a service (operations.<name>.service)"),
    )


def _repeatable(target: Target) -> list[str] | Missing:
    return repeatable(target) or Missing("the target declares no operation that can be repeated without effect")


def _reads(target: Target) -> dict[str, str] | Missing:
    return reads(target) or Missing("the target declares no read of a service (operations.<name>.service)")


def _guarded(target: Target) -> str | Missing:
    return guarded(target) or Missing("the target declares no read that needs a token")


REPEATABLE = Requirement("read without effect", "operations", _repeatable)
READS = Requirement("read of a service", "operations.<name>.service", _reads)
READ = Requirement("read of a service", "operations.<name>.service", read_of)
GUARDED = Requirement("read that needs a token", "operations with auth: bearer", _guarded)

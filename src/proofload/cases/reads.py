"""Which declared operations may be sent at will: reads without effect, of each service, and those that need a token."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping

from proofload.cases.isolation import service_of
from proofload.cases.requirement import Missing, Requirement
from proofload.drive.user import Answer, Options, User
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
    """Return an operation that needs a token: without one, or with a worthless one, it must be denied.

    A read where there is one. Anything else is denied as well, before it has an effect.
    """
    needing = {name: one for name, one in sorted(target.operations.items()) if one.auth == "bearer"}
    sendable = (name for name, one in needing.items() if _without_open_fields(one))
    return min(
        sendable, key=lambda name: (not is_repeatable(needing[name]), needing[name].effect != "none"), default=None
    )


def without_token(
    user: User, operation: Operation, headers: Mapping[str, str] | None = None, *, keep_body: bool = False
) -> Awaitable[Answer]:
    """Return an awaitable that sends the operation with its own method, and with these headers in place of a token."""
    own = {name: text for name, text in operation.headers.items() if name.lower() != "authorization"}
    options: Options = {"name": operation.name, "headers": {**own, **(headers or {})}, "keep_body": keep_body}
    if operation.json_body is not None:
        options["json"] = operation.json_body
    elif operation.body is not None:
        options["data"] = operation.body
    send = {"GET": user.get, "POST": user.post, "PUT": user.put, "PATCH": user.patch, "DELETE": user.delete}
    return send[operation.method](operation.path, **options)


def _without_open_fields(operation: Operation) -> bool:
    return operation.is_static and operation.method not in ("HEAD", "OPTIONS")


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
    return guarded(target) or Missing(
        "the target declares no operation that needs a token and can be sent without fields (auth: bearer)"
    )


REPEATABLE = Requirement("read without effect", "operations", _repeatable)
READS = Requirement("read of a service", "operations.<name>.service", _reads)
READ = Requirement("read of a service", "operations.<name>.service", read_of)
GUARDED = Requirement("operation that needs a token", "operations with auth: bearer", _guarded)

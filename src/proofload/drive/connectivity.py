"""Asks a target one request, to see that it is there."""

from __future__ import annotations

from collections.abc import Callable

from proofload.core.errors import TargetError
from proofload.core.units import format_duration
from proofload.drive.engine import Engine
from proofload.drive.http.endpoint import Endpoint, TlsSettings
from proofload.drive.user import User
from proofload.plan.target import Target
from proofload.plan.workload import Sequence


async def reach(target: Target, vet: Callable[[str], None]) -> str:
    """Return what one GET of `/` got, in words. Raises TargetError where nothing came back."""
    told: list[str] = []

    async def ask(user: User) -> None:
        answer = await user.get("/")
        if answer.status:
            told.append(f"answers with {answer.status} in {format_duration(answer.done_ns - answer.sent_ns)}")
        else:
            told.append("")
            raise TargetError(
                f"{target.address}: no answer ({answer.fault.name.lower().replace('_', ' ')}), "
                "expected an HTTP server; is the target up?"
            )

    engine = Engine(Endpoint.of(target.address), target.operations, vet=vet, tls=TlsSettings.of(target.tls))
    await engine.run(Sequence(name="reach", run=ask, n=1))
    problems = [error.text for error in engine.delivery().user_errors]
    if problems or not told:
        raise TargetError("; ".join(problems) or f"{target.address}: could not be asked")
    return told[0]

"""Whether a target is itself again before a case begins: services healthy, circuits closed, allowances come back.

What ended cases left behind is told from their own answers; a case that can't have a sound target says so and why,
for what it saw would be said of a system that another case had broken.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import polars as pl

from proofload.cases.case import PlannedCase
from proofload.cases.circuit_breaker.calls import SETTLED, settle
from proofload.cases.context import CaseContext
from proofload.cases.isolation import ANY_SERVICE, gateway_service, service_of, service_resource, share_an_allowance
from proofload.cases.reads import reads
from proofload.core.errors import ProofloadError
from proofload.core.units import NS_PER_SECOND, format_duration
from proofload.drive.user import User
from proofload.faults import probes
from proofload.plan.policies import RateLimitPolicy
from proofload.plan.target import Target
from proofload.record.exchange import NEVER_NS
from proofload.record.history import History

_HEALTHY_WITHIN_NS = 15 * NS_PER_SECOND
_LONGEST_WAIT_NS = 180 * NS_PER_SECOND
"""An allowance that takes longer to come back is not waited for."""
_BETWEEN_NS = NS_PER_SECOND // 4


@dataclass(slots=True)
class LeftBehind:
    """What ended cases left behind at the target."""

    suspects: dict[str, str] = field(default_factory=dict)
    """Services whose last answer was a failure, with what was seen."""
    limited_until_ns: dict[str, int] = field(default_factory=dict)
    """By limit whose allowance all cases share: when it has come back, at the latest."""

    def note(self, case_id: str, target: Target, history: History, broken: Iterable[str] = ()) -> None:
        """Take in what a case's answers tell, and what it broke."""
        self.suspects.update((name, f"{case_id} broke it") for name in broken)
        if not len(history):
            return
        for name, status in _last_statuses(history).items():
            service = service_of(target, name)
            if service is None or name not in target.operations or target.operations[name].statuses & {status}:
                continue
            if status == 0 or status >= 500:
                seen = f"status {status}" if status else "no answer"
                self.suspects[service] = f"after {case_id}, {name} got {seen}"
        for limit in target.policies.rate_limit:
            if share_an_allowance(target, limit):
                self._note_limit(limit, history)

    def _note_limit(self, limit: RateLimitPolicy, history: History) -> None:
        rejected = history.numbers("status") == limit.status
        if rejected.any():
            last_ns = int(history.numbers("done_ns")[rejected].max())
            self.limited_until_ns[limit.name] = last_ns + limit.window


def _last_statuses(history: History) -> Mapping[str, int]:
    """Return what each operation was answered last; 0 where it was not answered."""
    frame = (
        history.frame.lazy()
        .select(pl.col("operation").cast(pl.String), "status", "sent_ns", "done_ns")
        .filter(pl.col("sent_ns") != NEVER_NS)
        .group_by("operation")
        .agg(pl.col("status").sort_by("done_ns").last())
        .collect()
    )
    return {str(name): int(status) for name, status in frame.iter_rows() if name}


async def why_not_ready(run: CaseContext, planned: PlannedCase, left: LeftBehind) -> str:
    """Wait until what the case calls is sound again; return why it is not, or nothing."""
    services = _called(run.target, planned)
    if reason := await _unhealthy(run, services):
        return reason
    suspects = sorted(name for name in services if name in left.suspects)
    for name, why in (await bring_back(run, suspects)).items():
        return f"{name} is not what it was before this run: {left.suspects.get(name, '')}; {why}"
    for name in suspects:
        left.suspects.pop(name, None)
    return await _limited(run, left)


def _called(target: Target, planned: PlannedCase) -> list[str]:
    """Return the services that a case calls; those that it breaks it brings back by itself."""
    broken = set(planned.case.breaks(planned.found))
    gateway = gateway_service(target)
    return [
        name
        for name in target.services
        if name not in broken
        and (name == gateway or ANY_SERVICE in planned.uses or service_resource(name) in planned.uses)
    ]


async def _unhealthy(run: CaseContext, services: Iterable[str]) -> str:
    for name in services:
        health = run.target.services[name].health
        if health is None:
            continue
        until_ns = run.clock.now_ns() + _HEALTHY_WITHIN_NS
        look = probes.answers(health)
        while await look() is None:
            if run.clock.now_ns() > until_ns:
                waited = format_duration(_HEALTHY_WITHIN_NS)
                return f"{name} was not healthy before this case began: {health} did not answer 200 within {waited}"
            run.doing(f"waiting for {name} to be healthy", until_ns)
            await run.clock.sleep_until_ns(run.clock.now_ns() + _BETWEEN_NS)
    return ""


async def _limited(run: CaseContext, left: LeftBehind) -> str:
    for name, until_ns in left.limited_until_ns.items():
        wait_ns = until_ns - run.clock.now_ns()
        if wait_ns > _LONGEST_WAIT_NS:
            return (
                f"the allowance of {name} was used up by an earlier case and comes back in {format_duration(wait_ns)}; "
                "run this case by itself, or declare more client addresses (sources)"
            )
        if wait_ns > 0:
            await run.wait_until_ns(until_ns, f"the allowance of {name}, which all cases share, to come back")
    return ""


async def bring_back(run: CaseContext, services: Iterable[str]) -> dict[str, str]:
    """Call what is behind each service until it is served again and its circuit closed; return those that are not."""
    failed: dict[str, str] = {}
    for service in services:
        circuits = [one for one in run.target.policies.circuit_breaker if one.service == service]
        operation = reads(run.target).get(service)
        try:
            if circuits:
                account = await run.spare_account()
                run.facts.pop(SETTLED, None)
                await settle(run, circuits[0], account, f"settle {service}")
                if not run.facts.get(SETTLED):
                    failed[service] = (
                        f"its circuit was not seen to close within {format_duration(circuits[0].open_for)}"
                    )
            elif operation is not None and not await _served(run, service, operation):
                failed[service] = f"{operation} was not served within {format_duration(_HEALTHY_WITHIN_NS)}"
        except ProofloadError as error:
            failed[service] = str(error)
    return failed


async def _served(run: CaseContext, service: str, operation: str) -> bool:
    account = await run.spare_account()
    until_ns = run.clock.now_ns() + _HEALTHY_WITHIN_NS
    served: list[bool] = []

    async def once(user: User) -> None:
        served.append((await user.request(operation)).ok)

    number = 0
    while run.clock.now_ns() < until_ns:
        number += 1
        await run.run(run.steps(f"settle {service} {number}", once, account=account, source=run.source()))
        if served[-1]:
            return True
        await run.wait_until_ns(run.clock.now_ns() + _BETWEEN_NS, f"{service} to be served again")
    return False

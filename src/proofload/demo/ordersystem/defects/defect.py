"""What a defect is, to the catalogue and to the composition root."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from proofload.demo.ordersystem.compose import Parts

Install = Callable[[Parts], Parts]


@dataclass(frozen=True)
class Defect:
    """One way to be wrong."""

    id: str
    sentence: str
    """What is wrong."""
    seen_in_public: str
    """Where such a thing was seen, or the kind of mistake it is."""
    client_observes: str
    failing_case: str
    """The case that must FAIL."""
    install: Install

    @property
    def control(self) -> str:
        """Return the control that is wrong, as the id says."""
        return CONTROLS[self.id.partition(".")[0]]


CONTROLS = {
    "rl": "rate_limit",
    "cb": "circuit_breaker",
    "lock": "locks",
    "mon": "metrics",
    "audit": "audit",
    "res": "overload",
    "lat": "latency",
    "int": "interactions",
}


def gateway(**changes: Any) -> Install:
    """Return an installer that changes parts of the gateway."""
    return lambda parts: replace(parts, gateway=replace(parts.gateway, **changes))


def auth(**changes: Any) -> Install:
    """Return an installer that changes parts of the auth service."""
    return lambda parts: replace(parts, auth=replace(parts.auth, **changes))


def user(**changes: Any) -> Install:
    """Return an installer that changes parts of the user service."""
    return lambda parts: replace(parts, user=replace(parts.user, **changes))


def order(**changes: Any) -> Install:
    """Return an installer that changes parts of the order service."""
    return lambda parts: replace(parts, order=replace(parts.order, **changes))


def everywhere(**changes: Any) -> Install:
    """Return an installer that changes what all services share."""
    return lambda parts: replace(parts, **changes)


def both(*installs: Install) -> Install:
    """Return an installer that does what several do."""

    def install(parts: Parts) -> Parts:
        for one in installs:
            parts = one(parts)
        return parts

    return install

"""What a defect is, to the catalogue and to the composition root."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from ordersystem.compose import Parts

Install = Callable[[Parts], Parts]


@dataclass(frozen=True)
class Defect:
    """One way to be wrong."""

    id: str
    control: str
    sentence: str
    """What is wrong."""
    seen_in_public: str
    """Where such a thing was seen, or the kind of mistake it is."""
    client_observes: str
    failing_case: str
    """The case that must FAIL."""
    install: Install


def gateway(**changes: Any) -> Install:
    """Return an installer that changes parts of the gateway."""
    return lambda parts: replace(parts, gateway=replace(parts.gateway, **changes))

"""The parts of the whole system: honest by default, with the named defects where they are asked for."""

from __future__ import annotations

from dataclasses import dataclass, field

from ordersystem.auth.app import AuthParts
from ordersystem.gateway.parts import GatewayParts


@dataclass(frozen=True)
class Parts:
    """One implementation for each role in each service, and settings that a defect may bring along."""

    gateway: GatewayParts = field(default_factory=GatewayParts)
    auth: AuthParts = field(default_factory=AuthParts)
    settings: dict[str, str] = field(default_factory=dict)
    """Overrides of the environment: for defects that are a wrong value and no wrong code."""


HONEST = Parts()

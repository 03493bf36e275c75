"""The parts of the whole system: honest by default, with the named defects where they are asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from proofload.demo.ordersystem.auth.app import AuthParts
from proofload.demo.ordersystem.common.audit import Audit, AuditFile
from proofload.demo.ordersystem.common.metrics import Metrics
from proofload.demo.ordersystem.common.service import Edge
from proofload.demo.ordersystem.gateway.parts import GatewayParts
from proofload.demo.ordersystem.orders.app import OrderParts
from proofload.demo.ordersystem.users.app import UserParts


@dataclass(frozen=True)
class Parts:
    """One implementation for each role in each service, and settings that a defect may bring along."""

    gateway: GatewayParts = field(default_factory=GatewayParts)
    auth: AuthParts = field(default_factory=AuthParts)
    user: UserParts = field(default_factory=UserParts)
    order: OrderParts = field(default_factory=OrderParts)
    metrics: Callable[[str], Metrics] = Metrics
    edge: type[Edge] = Edge
    audit: Callable[[str, Path, int], Audit] = AuditFile
    """Makes the audit log of a service: its name, its file, the size at which that rotates."""
    settings: dict[str, str] = field(default_factory=dict)
    """Overrides of the environment: for defects that are a wrong value and no wrong code."""


HONEST = Parts()

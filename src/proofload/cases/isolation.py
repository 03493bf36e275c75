"""What cases share of a target, told from its declaration: which may not run beside which. Pure.

A case uses the services that its operations call; it disturbs the services that it breaks and every service that
depends on one of them. A resource is a text: a service's, or one of the constants.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from proofload.cases.addresses import has_many
from proofload.plan.policies import RateLimitPolicy
from proofload.plan.target import Target

EVERYTHING = "everything"
"""Who disturbs this runs alone."""
QUIET = "quiet"
"""Disturbed by loads that last, used by measurements that need the target to themselves."""
ANY_SERVICE = "any service"
"""Used by operations of which nobody said which service they call: breaking any service may disturb them."""
ALLOWANCE = "allowance"
"""Used and spent by all where a limit has one key for every client that we have."""
UNKNOWN_SERVICE = "?"
"""A service that nobody named: breaking it may disturb everything."""
_SERVICE = "service:"


def service_resource(name: str) -> str:
    """Return the resource that a service is."""
    return f"{_SERVICE}{name}"


def service_of(target: Target, operation: str) -> str | None:
    """Return the service that an operation calls: as it says itself, or as a circuit breaker says; None if neither."""
    said = target.operations[operation].service if operation in target.operations else None
    if said is not None:
        return said
    return next(
        (one.service for one in target.policies.circuit_breaker if operation in (one.operation, one.failing_operation)),
        None,
    )


def used_by(target: Target, operations: Iterable[str]) -> frozenset[str]:
    """Return the resources that calls of these operations use."""
    services = [service_of(target, one) for one in operations if one in target.operations]
    return frozenset(ANY_SERVICE if one is None else service_resource(one) for one in services)


def sign_up_operations(target: Target) -> tuple[str, ...]:
    """Return the operations by which test users come to be, and which every case with users therefore calls."""
    users = target.users
    return tuple(one for one in (users.register_, users.login) if one) if users is not None else ()


def disturbed_by(target: Target, services: Iterable[str]) -> frozenset[str]:
    """Return the resources that breaking these services disturbs: theirs, and those of all that depend on them.

    A gateway, and a store that no operation calls and nobody says to depend on, may be behind everything.
    """
    broken = list(services)
    if any(_is_behind_everything(target, one) for one in broken):
        return frozenset({EVERYTHING})
    found: set[str] = set()
    while broken:
        one = broken.pop()
        if one not in found:
            found.add(one)
            broken += [name for name, service in target.services.items() if one in service.depends_on]
    # That a gateway depends on what it forwards to goes without saying: its other calls are not disturbed.
    return frozenset(map(service_resource, found - {gateway_service(target)}))


def too_few_to_trip(target: Target, service: str, most: int) -> int:
    """Return how many failures at the most, of `most` and at least one, leave each circuit of the service closed."""
    failures = [one.failures for one in target.policies.circuit_breaker if one.service == service]
    return max(1, min([most, *(count - 1 for count in failures)]))


def share_an_allowance(target: Target, limit: RateLimitPolicy) -> bool:
    """Return whether all cases spend one allowance: one key for all, or clients that can't be told apart."""
    return limit.scope == "global" or (limit.scope == "client_ip" and not has_many(target))


def gateway_service(target: Target) -> str | None:
    """Return the declared service that is the gateway itself: its health URL has the target's own address."""
    origin = _origin(target.address)
    return next((name for name, one in target.services.items() if one.health and _origin(one.health) == origin), None)


def store_services(target: Target) -> tuple[str, ...]:
    """Return the services that may be behind everything, but for the gateway: where controls keep their state."""
    own = gateway_service(target)
    return tuple(name for name in target.services if name != own and _is_behind_everything(target, name))


def _is_behind_everything(target: Target, service: str) -> bool:
    if service == gateway_service(target):
        return True
    called = {service_of(target, operation) for operation in target.operations}
    needed = {name for one in target.services.values() for name in one.depends_on}
    declared = target.services.get(service)
    return service not in called | needed and not (declared and declared.depends_on)


def _origin(url: str) -> tuple[str, int | None]:
    parts = urlsplit(url)
    return (parts.hostname or "", parts.port or {"http": 80, "https": 443}.get(parts.scheme))


def clash(uses: frozenset[str], disturbs: frozenset[str]) -> bool:
    """Return whether something in use would be disturbed.

    >>> broken = frozenset({"service:b"})
    >>> clash(frozenset({"service:a"}), broken), clash(frozenset({ANY_SERVICE}), broken)
    (False, True)
    """
    if EVERYTHING in disturbs:
        return True
    breaks_a_service = any(one.startswith(_SERVICE) for one in disturbs)
    return not uses.isdisjoint(disturbs) or (ANY_SERVICE in uses and breaks_a_service)

"""What the parts of a target say against each other: names that nothing has, promises that exclude one another."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from proofload.plan.document import REMEDY, KeyPath
from proofload.plan.operation import Operation
from proofload.plan.policies import CircuitBreakerPolicy, RateLimitPolicy
from proofload.plan.target import Target

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_ALIGNED = ("fixed_window", "sliding_window_counter")
_BUCKETS = ("token_bucket", "gcra", "leaky_bucket")


@dataclass(frozen=True, slots=True)
class Clash:
    """One contradiction, at the key path that has to change."""

    path: KeyPath
    got: str
    expected: str
    remedy: str = REMEDY


def clashes(target: Target) -> list[Clash]:
    """Return every contradiction within the target."""
    return [
        *_unknown_names(target),
        *_names(target),
        *_operations(target),
        *_users(target),
        *_rate_limits(target),
        *_breakers(target),
        *_others(target),
        *_tls(target),
    ]


def _unknown_names(target: Target) -> Iterator[Clash]:
    for path, name in _named_operations(target):
        if name is not None and name not in target.operations:
            known = ", ".join(sorted(target.operations))
            yield Clash(path, f"'{name}'", f"one of the operations {known}", "declare it under operations")
    for path, name in _named_services(target):
        if name is not None and name not in target.services:
            known = ", ".join(sorted(target.services)) or "none declared"
            yield Clash(path, f"'{name}'", f"one of the services ({known})", "declare it under services")


def _named_operations(target: Target) -> Iterator[tuple[KeyPath, str | None]]:
    if target.users is not None:
        yield ("users", "register"), target.users.register_
        yield ("users", "login"), target.users.login
    policies = target.policies
    for i, limit in enumerate(policies.rate_limit):
        yield ("policies", "rate_limit", i, "probe"), limit.probe
    for i, breaker in enumerate(policies.circuit_breaker):
        yield ("policies", "circuit_breaker", i, "operation"), breaker.operation
        yield ("policies", "circuit_breaker", i, "failing_operation"), breaker.failing_operation
    for i, lock in enumerate(policies.locks):
        yield ("policies", "locks", i, "operation"), lock.operation
    if policies.latency is not None:
        for i, name in enumerate(policies.latency.operations):
            yield ("policies", "latency", "operations", i), name
    if policies.orders is not None:
        for field in ("order", "book", "deposit", "balance"):
            yield ("policies", "orders", field), getattr(policies.orders, field)
    if policies.overload is not None:
        yield ("policies", "overload", "operation"), policies.overload.operation
        if not policies.overload.health.startswith("/"):
            yield ("policies", "overload", "health"), policies.overload.health


def _named_services(target: Target) -> Iterator[tuple[KeyPath, str | None]]:
    for name, operation in target.operations.items():
        yield ("operations", name, "service"), operation.service
    for i, limit in enumerate(target.policies.rate_limit):
        yield ("policies", "rate_limit", i, "service"), limit.service
    for i, breaker in enumerate(target.policies.circuit_breaker):
        yield ("policies", "circuit_breaker", i, "service"), breaker.service
    for name in target.faults:
        yield ("faults", name), name
    for name, service in target.services.items():
        for i, other in enumerate(service.depends_on):
            yield ("services", name, "depends_on", i), other


def _names(target: Target) -> Iterator[Clash]:
    for section, names in (("operations", target.operations), ("services", target.services)):
        for name in names:
            if not _NAME.fullmatch(name):
                yield Clash((section, name), f"the name {name!r}", "letters, digits, _, - and dots, 64 at the most")
    policies = target.policies
    yield from _twice("rate_limit", "name", (one.name for one in policies.rate_limit))
    yield from _twice("circuit_breaker", "service", (one.service for one in policies.circuit_breaker))
    yield from _twice("locks", "name", (one.name for one in policies.locks))


def _twice(section: str, key: str, values: Iterable[str]) -> Iterator[Clash]:
    seen: set[str] = set()
    for i, value in enumerate(values):
        if value in seen:
            yield Clash(("policies", section, i, key), f"'{value}' a second time", f"a {key} of its own for each")
        seen.add(value)


def _operations(target: Target) -> Iterator[Clash]:
    for name, operation in target.operations.items():
        path: KeyPath = ("operations", name)
        if operation.body is not None and operation.json_body is not None:
            yield Clash((*path, "body"), "a `body` beside a `json`", "one of the two")
        if operation.auth == "bearer" and (target.users is None or target.users.login is None):
            expected = "users.login, the operation that gets the token that `bearer` sends"
            yield Clash((*path, "auth"), "'bearer'", expected, "declare users.login, or send the token in headers")
        for key, value in operation.headers.items():
            if not _HEADER_NAME.fullmatch(key):
                yield Clash((*path, "headers", key), f"the header name {key!r}", "a name that HTTP allows")
            if any(ord(sign) < 0x20 and sign != "\t" for sign in value) or "\x7f" in value:
                yield Clash((*path, "headers", key), "a control character", "a value that stands in one line")


def _users(target: Target) -> Iterator[Clash]:
    if target.users is None:
        return
    for key, name in (("register", target.users.register_), ("login", target.users.login)):
        operation = target.operations.get(name or "")
        if operation is not None and operation.auth == "bearer":
            yield Clash(("users", key), f"'{name}', which needs a token", "an operation with auth: none")
    if target.users.register_ is not None and target.users.login is None:
        yield Clash(("users", "login"), "nothing", "the operation that logs a registered user in")


def _rate_limits(target: Target) -> Iterator[Clash]:
    for i, limit in enumerate(target.policies.rate_limit):
        path: KeyPath = ("policies", "rate_limit", i)
        if limit.burst is not None and limit.algorithm not in _BUCKETS:
            yield Clash(
                (*path, "burst"), f"a burst for {limit.algorithm}", f"one of {', '.join(_BUCKETS)}, or no burst"
            )
        if limit.alignment != "first_request" and limit.algorithm not in _ALIGNED:
            yield Clash(
                (*path, "alignment"),
                f"'{limit.alignment}' for {limit.algorithm}",
                f"one of {', '.join(_ALIGNED)}, or no alignment",
            )
        for j, exempt in enumerate(limit.exempt):
            if exempt in limit.applies_to:
                yield Clash((*path, "exempt", j), f"'{exempt}', which `applies_to` lists too", "one of the two")
        yield from _probe(path, limit, target.operations.get(limit.probe))


def _probe(path: KeyPath, limit: RateLimitPolicy, probe: Operation | None) -> Iterator[Clash]:
    if probe is None:
        return
    shown = f"'{probe.name}' ({probe.path})"
    if limit.exempts(probe.path):
        yield Clash((*path, "probe"), f"{shown}, which `exempt` lists", "an operation that the limit covers")
    elif not limit.covers(probe.path):
        yield Clash((*path, "probe"), f"{shown}, which `applies_to` leaves out", "an operation that the limit covers")
    if limit.scope == "user" and probe.auth == "none":
        yield Clash(
            (*path, "probe"), f"{shown}, which no user sends", "an operation with auth: bearer, as the scope is user"
        )


def _breakers(target: Target) -> Iterator[Clash]:
    for i, breaker in enumerate(target.policies.circuit_breaker):
        path: KeyPath = ("policies", "circuit_breaker", i)
        if breaker.failing_operation == breaker.operation:
            yield Clash(
                (*path, "failing_operation"),
                f"'{breaker.operation}', the `operation` itself",
                "one that is answered 4xx",
            )
        if (breaker.ratio is None) != (breaker.ratio_window is None):
            given, missing = ("ratio", "ratio_window") if breaker.ratio is not None else ("ratio_window", "ratio")
            yield Clash((*path, missing), f"nothing beside `{given}`", f"both `{given}` and `{missing}`, or neither")
        yield from _other_service(path, breaker, target)


def _other_service(path: KeyPath, breaker: CircuitBreakerPolicy, target: Target) -> Iterator[Clash]:
    for key in ("operation", "failing_operation"):
        name = getattr(breaker, key)
        operation = target.operations.get(name or "")
        if operation is not None and operation.service not in (None, breaker.service):
            got = f"'{name}', which the service {operation.service} answers"
            yield Clash((*path, key), got, f"an operation of the service {breaker.service}")


def _others(target: Target) -> Iterator[Clash]:
    latency, overload = target.policies.latency, target.policies.overload
    if latency and latency.p90_within and latency.p99_within and latency.p90_within > latency.p99_within:
        yield Clash(("policies", "latency", "p90_within"), "more than p99_within", "at most p99_within")
    if overload is not None and overload.operation == overload.health:
        yield Clash(
            ("policies", "overload", "health"), f"'{overload.health}', the `operation` itself", "another operation"
        )
    if overload is not None and overload.most < 2 * overload.starts_at:
        yield Clash(("policies", "overload", "most"), f"{overload.most}", "at least twice `starts_at`")


def _tls(target: Target) -> Iterator[Clash]:
    if target.tls is None:
        return
    if urlsplit(target.address).scheme != "https":
        yield Clash(("tls",), "certificates for an http address", "an https address, or no `tls`")
    if target.tls.key is not None and target.tls.certificate is None:
        yield Clash(("tls", "key"), "a key without a certificate", "`certificate` as well")
    if not target.tls.verify and target.tls.ca is not None:
        yield Clash(("tls", "ca"), "an authority that `verify: false` makes idle", "one of the two")

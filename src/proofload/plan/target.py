"""The target as a user declares it in `proofload.yaml`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

from proofload.core.errors import Problem
from proofload.core.units import NS_PER_SECOND
from proofload.plan.operation import Operation
from proofload.plan.policies import Policies
from proofload.plan.values import Declared, DurationNs

TEST_PREFIX = "load_test_"


class CeilingsDeclared(Declared):
    """What a run never exceeds, whatever a case asks for."""

    requests_per_second: int = Field(default=50_000, ge=1, le=1_000_000)
    total_requests: int = Field(default=2_000_000, ge=1, le=1_000_000_000)
    duration: DurationNs = Field(default=3_600 * NS_PER_SECOND, ge=NS_PER_SECOND, le=86_400 * NS_PER_SECOND)


class Users(Declared):
    """How a test user comes to be and logs in. Only users with the prefix are ever acted for."""

    prefix: str = Field(default="load_test_user_", pattern=r"^load_test_[A-Za-z0-9_.-]*$")
    register_: str | None = Field(default=None, alias="register")
    """The operation that creates `${user.name}` with `${user.password}`; null where users exist by themselves."""
    login: str | None = None
    """The operation that logs the user in; null where the target knows no log-in."""
    token: str = "access_token"  # noqa: S105 -- the name of a field, not a token
    """Where the token stands in the log-in's JSON answer: names joined by dots."""

    def token_of(self, answer: Any) -> str | None:
        """Return the token in a log-in's answer, or None where it holds none."""
        for name in self.token.split("."):
            answer = answer.get(name) if isinstance(answer, Mapping) else None
        return answer if isinstance(answer, str) and answer else None


class Service(Declared):
    """A service behind the gateway."""

    metrics: str | None = None
    """URL of its own metrics page, where backend hits can be read."""
    hits: str = "http_requests_total"
    """The counter of the requests that reached it."""


class Ownership(Declared):
    """The token that a target that is not on loopback must show at /.well-known/proofload.txt."""

    token: SecretStr
    """Write `${NAME}` to take it from the environment."""


class CommandFault(Declared):
    """Stop and start a service by commands: lists of arguments, never a shell line."""

    driver: Literal["command"]
    stop: tuple[str, ...] = Field(min_length=1)
    start: tuple[str, ...] = Field(min_length=1)


class SupervisedFault(Declared):
    """Stop, pause and kill a service through the reference system's control socket."""

    driver: Literal["supervised"]
    control: str
    service: str


FaultDeclared = Annotated[CommandFault | SupervisedFault, Field(discriminator="driver")]


class Target(Declared):
    """The system under test: where it is, what it offers, and what its controls promise."""

    version: Literal[1]
    name: str = Field(default="target", pattern=r"^[A-Za-z0-9][A-Za-z0-9_. -]{0,63}$")
    address: str
    """The gateway, as `http://host:port`."""
    allow: tuple[str, ...] = ()
    """Addresses or networks beyond loopback that may be loaded, once they have answered the challenge."""
    ownership: Ownership | None = None
    ceilings: CeilingsDeclared = CeilingsDeclared()
    sources: tuple[str, ...] = ()
    """Local addresses to send from; for a target on loopback they are chosen, and there are millions."""
    users: Users | None = None
    operations: dict[str, Operation] = Field(min_length=1)
    services: dict[str, Service] = Field(default_factory=dict)
    policies: Policies = Policies()
    faults: dict[str, FaultDeclared] = Field(default_factory=dict)
    """How each service can be broken, by its name."""

    @field_validator("address")
    @classmethod
    def _is_address(cls, value: str) -> str:
        parts = urlsplit(value)
        try:
            fine = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and not parts.username
        except ValueError:
            fine = False
        if not fine or parts.query or parts.fragment or parts.path not in ("", "/"):
            raise ValueError("a URL such as http://127.0.0.1:8080, without user name, path or query")
        return value.rstrip("/")

    @field_validator("operations")
    @classmethod
    def _named(cls, value: dict[str, Operation]) -> dict[str, Operation]:
        return {key: one.model_copy(update={"name": key}) for key, one in value.items()}

    def told_headers(self) -> Iterable[str]:
        """Return the lower-case names of the response headers in which the declared controls tell something."""
        names: set[str] = set()
        for limit in self.policies.rate_limit:
            told = limit.headers
            names |= {name.lower() for name in (told.limit, told.remaining, told.reset, told.retry_after) if name}
            if told.ietf:
                names |= {"ratelimit", "ratelimit-policy"}
        for breaker in self.policies.circuit_breaker:
            if breaker.retry_after:
                names.add(breaker.retry_after.lower())
        return sorted(names)

    def problems(self) -> list[Problem]:
        """Return what the parts say against each other, each at its key path: names that nothing has."""
        found: list[Problem] = []
        for place, name in self._named_operations():
            if name is not None and name not in self.operations:
                known = ", ".join(sorted(self.operations))
                found.append(
                    Problem(place, f"'{name}'", f"one of the operations {known}", "declare it under operations")
                )
        for i, breaker in enumerate(self.policies.circuit_breaker):
            found += self._service(f"policies.circuit_breaker[{i}].service", breaker.service)
        for i, limit in enumerate(self.policies.rate_limit):
            if limit.service is not None:
                found += self._service(f"policies.rate_limit[{i}].service", limit.service)
        return found

    def _service(self, place: str, name: str) -> list[Problem]:
        if name in self.services:
            return []
        known = ", ".join(sorted(self.services)) or "none declared"
        return [Problem(place, f"'{name}'", f"one of the services ({known})", "declare it under services")]

    def _named_operations(self) -> Iterable[tuple[str, str | None]]:
        if self.users is not None:
            yield "users.register", self.users.register_
            yield "users.login", self.users.login
        for i, limit in enumerate(self.policies.rate_limit):
            yield f"policies.rate_limit[{i}].probe", limit.probe
        for i, breaker in enumerate(self.policies.circuit_breaker):
            yield f"policies.circuit_breaker[{i}].operation", breaker.operation
            yield f"policies.circuit_breaker[{i}].failing_operation", breaker.failing_operation
        for i, lock in enumerate(self.policies.locks):
            yield f"policies.locks[{i}].operation", lock.operation
        if self.policies.latency is not None:
            for i, name in enumerate(self.policies.latency.operations):
                yield f"policies.latency.operations[{i}]", name
        if self.policies.overload is not None:
            yield "policies.overload.operation", self.policies.overload.operation
            yield "policies.overload.health", self.policies.overload.health

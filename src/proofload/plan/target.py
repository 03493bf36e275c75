"""The target as a user declares it in `proofload.yaml`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, PrivateAttr, SecretStr, field_validator

from proofload.core.units import NS_PER_SECOND
from proofload.plan.faults import FaultDeclared
from proofload.plan.monitoring import Monitoring
from proofload.plan.operation import Operation
from proofload.plan.policies import Policies
from proofload.plan.values import AllowedNetwork, Declared, DurationNs, HttpUrl, ProbeUrl, SourceAddress

TEST_PREFIX = "load_test_"
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,252}[A-Za-z0-9_])?|[0-9A-Fa-f:.]+")


class CeilingsDeclared(Declared):
    """What a run never exceeds, whatever a case asks for."""

    requests_per_second: int = Field(default=50_000, ge=1, le=1_000_000)
    """Requests in any one second."""
    total_requests: int = Field(default=2_000_000, ge=1, le=1_000_000_000)
    """Requests in the whole run."""
    duration: DurationNs = Field(default=3_600 * NS_PER_SECOND, ge=NS_PER_SECOND, le=86_400 * NS_PER_SECOND)
    """How long the run may send."""


class Users(Declared):
    """How a test user comes to be and logs in. Only users with the prefix are ever acted for."""

    prefix: str = Field(default="load_test_user_", pattern=r"^load_test_[A-Za-z0-9_.-]*$")
    """What the name of every test user begins with; it must begin with `load_test_`."""
    register_: str | None = Field(default=None, alias="register")
    """The operation that creates a user from `${user.name}` and `${user.password}`; null where none is needed."""
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

    health: ProbeUrl | None = None
    """URL at which the service itself answers 200 while it is up: how a fault is seen to hold and to be mended.
    For a store, `tcp://HOST:PORT`: that it takes a connection."""
    metrics: HttpUrl | None = None
    """URL of its own metrics page, where backend hits can be read."""
    hits: str = "http_requests_total"
    """The counter of the requests that reached it."""
    depends_on: tuple[str, ...] = ()
    """Other services that it calls itself."""
    timeout: DurationNs | None = None
    """How long the gateway waits for its answer before it answers itself; null where nothing is promised."""


class Ownership(Declared):
    """The token that a target that is not on loopback must show at /.well-known/proofload.txt."""

    token: SecretStr
    """`${env:NAME}` takes it from the environment, `${file:PATH}` from a file; a token as it stands is refused."""


class Tls(Declared):
    """How certificates are checked and shown, where the address is https. Paths go from the working directory."""

    verify: bool = True
    """False accepts any certificate."""
    ca: str | None = None
    """A PEM file of the authorities to trust in place of the system's."""
    certificate: str | None = None
    """Our own certificate (and chain) as PEM, where the target asks for one."""
    key: str | None = None
    """The private key of `certificate`, where it is not in the same file."""


class Target(Declared):
    """The system under test: where it is, what it offers, and what its controls promise."""

    version: Literal[1]
    """Version of this format."""
    name: str = Field(default="target", pattern=r"^[A-Za-z0-9][A-Za-z0-9_. -]{0,63}$")
    """What reports call the target."""
    address: str
    """The gateway, as `http://host:port`."""
    tls: Tls | None = None
    """Own certificates for an https address; null trusts what the system trusts."""
    allow: tuple[AllowedNetwork, ...] = ()
    """Addresses or networks beyond loopback that may be loaded, once they have answered the challenge."""
    ownership: Ownership | None = None
    """What an address under `allow` must answer before it is loaded."""
    ceilings: CeilingsDeclared = CeilingsDeclared()
    """What a run never exceeds; always in force."""
    sources: tuple[SourceAddress, ...] = ()
    """Local addresses to send from; for a target on loopback they are chosen, and there are millions."""
    users: Users | None = None
    """How test users come to be; null where operations need none."""
    operations: dict[str, Operation] = Field(min_length=1)
    """The requests that the target offers, by name."""
    services: dict[str, Service] = Field(default_factory=dict)
    """The services behind the gateway, by name."""
    policies: Policies = Policies()
    """What the controls promise; a control that is not declared is SKIPPED."""
    faults: dict[str, FaultDeclared] = Field(default_factory=dict)
    """How each service can be broken, by its name."""
    monitoring: Monitoring = Monitoring()
    """Where the run's own metrics go, and which servers know the target's."""
    _secrets: frozenset[str] = PrivateAttr(default=frozenset())
    """Values that came from secret-looking variables; no dump shows them."""

    @field_validator("address")
    @classmethod
    def _is_address(cls, value: str) -> str:
        try:
            parts = urlsplit(value)
            host = parts.hostname or ""
            fine = parts.scheme in ("http", "https") and _HOST.fullmatch(host) and parts.port != 0
            fine = fine and "@" not in parts.netloc
        except ValueError:
            fine = False
        if not fine or parts.query or parts.fragment or parts.path not in ("", "/"):
            raise ValueError("a URL such as http://127.0.0.1:8080, without user name, path or query")
        return value.rstrip("/")

    @field_validator("operations")
    @classmethod
    def _named(cls, value: dict[str, Operation]) -> dict[str, Operation]:
        misnamed = [key for key, one in value.items() if one.name not in ("", key)]
        if misnamed:
            raise ValueError(f"operations without a name of their own: the key is the name of {misnamed[0]!r}")
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

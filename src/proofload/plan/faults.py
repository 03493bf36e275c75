"""How a service can be broken, as a user declares it: a model for each driver, lists of arguments, never a shell."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from proofload.core.units import NS_PER_SECOND
from proofload.plan.values import Declared, DurationNs

_LONGEST_DELAY_NS = 3_600 * NS_PER_SECOND


def _is_url(value: str) -> str:
    parts = urlsplit(value)
    try:
        fine = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and not parts.username
    except ValueError:
        fine = False
    if not fine or parts.query or parts.fragment:
        raise ValueError("a URL such as http://127.0.0.1:8474, without user name or query")
    return value.rstrip("/")


Url = Annotated[str, AfterValidator(_is_url)]
# It becomes an argument of a command line client: nothing that begins with a dash may be taken for an option.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,252}$")]
Delay = Annotated[DurationNs, Field(gt=0, le=_LONGEST_DELAY_NS)]


class CommandFault(Declared):
    """Stop and start a service by commands: lists of arguments, never a shell line."""

    driver: Literal["command"]
    stop: tuple[str, ...] = Field(min_length=1)
    """Program and arguments that stop the service."""
    start: tuple[str, ...] = Field(min_length=1)
    """Program and arguments that start it again."""


class SupervisedFault(Declared):
    """Stop, pause and kill a service through the reference system's control socket."""

    driver: Literal["supervised"]
    control: str
    """Path of the supervisor's control socket."""
    service: str
    """The supervisor's name for the service."""


class ProxyFault(Declared):
    """Break requests in proofload's own HTTP proxy, which the gateway has in place of the service."""

    driver: Literal["proxy"]
    control: Url
    """The proxy's control address, as it prints it when it starts."""
    status: int = Field(default=503, ge=200, le=599)
    """What `status` and `fail_n` answer."""
    times: int = Field(default=5, ge=1, le=1_000_000)
    """How many requests `fail_n` fails."""
    delay: Delay = 2 * NS_PER_SECOND
    """How long `delay` holds a request back."""
    path: str = Field(default="/", pattern=r"^/\S*$")
    """Only requests whose path begins so."""


class DockerFault(Declared):
    """Stop, pause, kill or disconnect a container by the Docker command line client, or one that acts like it."""

    driver: Literal["docker"]
    container: Name
    """The container's name or id."""
    network: Name | None = None
    """The network that `disconnect` takes the container off."""
    client: tuple[str, ...] = Field(default=("docker",), min_length=1)
    """The client and its own options, such as `[docker, --context, lab]` or `[podman]`."""


class KubernetesFault(Declared):
    """Scale a workload to nothing or restart it by kubectl."""

    driver: Literal["kubernetes"]
    workload: str = Field(pattern=r"^(deployment|statefulset|replicaset)/[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")
    """Such as `deployment/orders`."""
    namespace: str = Field(default="default", pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")
    """Where the workload is."""
    client: tuple[str, ...] = Field(default=("kubectl",), min_length=1)
    """The client and its own options, such as `[kubectl, --context, lab]`."""


class ToxiproxyFault(Declared):
    """Cut, delay or silence connections in a Toxiproxy that stands before the service."""

    driver: Literal["toxiproxy"]
    api: Url
    """Its HTTP API, such as http://127.0.0.1:8474."""
    proxy: Name
    """The proxy's name there."""
    delay: Delay = 2 * NS_PER_SECOND
    """How long `delay` holds back what the service answers."""


FaultDeclared = Annotated[
    CommandFault | SupervisedFault | ProxyFault | DockerFault | KubernetesFault | ToxiproxyFault,
    Field(discriminator="driver"),
]

Switch = Annotated[CommandFault | SupervisedFault, Field(discriminator="driver")]
"""What switches a control off (`stop`) and on again (`start`): commands, or the reference system's supervisor."""

"""Where a running system keeps its files, and the environment that each of its services gets."""

from __future__ import annotations

import os
import secrets
import socket
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from proofload.demo.ordersystem.common import switches
from proofload.demo.ordersystem.common.environment import Environment

# The kernel's limit for the path of a Unix socket is 108 bytes, its final zero included.
_LONGEST_SOCKET_PATH = 107


@dataclass(frozen=True)
class Layout:
    """The folder of one running system."""

    folder: Path
    control: Path = field(init=False)

    def __post_init__(self) -> None:
        control = self.folder / "control.sock"
        if len(os.fsencode(control)) > _LONGEST_SOCKET_PATH:
            control = Path(tempfile.mkdtemp(prefix="ordersystem-")) / "control.sock"
        object.__setattr__(self, "control", control)

    def make(self) -> None:
        """Make the folders."""
        for name in ("logs", "audit", "data", "metrics", "redis"):
            (self.folder / name).mkdir(parents=True, exist_ok=True, mode=0o700)
        switches.make(self.switches)

    @property
    def switches(self) -> Path:
        """Return the file of the switches."""
        return self.folder / "switches"

    def log(self, service: str) -> Path:
        """Return the log file of a service."""
        return self.folder / "logs" / f"{service}.log"

    def audit(self, service: str) -> Path:
        """Return the audit file of a service; rotated ones lie beside it with a number behind."""
        return self.folder / "audit" / f"{service}.jsonl"


@dataclass
class ReservedPort:
    """A port of loopback that stays ours while services come and go.

    The socket is bound and never listens: with SO_REUSEPORT the workers bind the same port beside it, and when none of
    them is there a client is refused, as it would be by a service that is down.
    """

    port: int
    _socket: socket.socket

    @classmethod
    def reserve(cls, port: int = 0) -> ReservedPort:
        """Reserve this port, or any free one for 0."""
        held = reuse_port_socket(port)
        return cls(held.getsockname()[1], held)


def reuse_port_socket(port: int) -> socket.socket:
    """Return a bound TCP socket whose port others of this user may bind too."""
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        bound.bind(("127.0.0.1", port))
    except OSError:
        bound.close()
        raise
    return bound


def base_environment(values: Mapping[str, str], layout: Layout, redis_url: str) -> dict[str, str]:
    """Return what all services share: what the user set, and what he left open."""
    shared = dict(values)
    shared["REDIS_URL"] = redis_url
    shared.setdefault("ORDERSYSTEM_KEY_PREFIX", f"ordersystem:{secrets.token_hex(4)}:")
    shared.setdefault("JWT_SECRET", secrets.token_hex(32))
    shared.setdefault("GATEWAY_TOKEN", secrets.token_hex(32))
    shared[switches.FILE] = str(layout.switches)
    shared["AUDIT_DIR"] = str(layout.folder / "audit")
    return shared


def service_environment(
    shared: Mapping[str, str], layout: Layout, service: str, ports: Mapping[str, int]
) -> dict[str, str]:
    """Return the whole environment of one service."""
    values = dict(shared)
    for name, port in ports.items():
        # An address that the user gave wins: a fault proxy may stand in between.
        values.setdefault(f"GATEWAY_UPSTREAM_{name.upper()}", f"http://127.0.0.1:{port}")
    if "user" in ports:
        values.setdefault("ORDER_USER_SERVICE", f"http://127.0.0.1:{ports['user']}")
    values.setdefault("DATABASE_URL", f"sqlite:///{layout.folder / 'data' / service}.sqlite")
    metrics = layout.folder / "metrics" / service
    metrics.mkdir(parents=True, exist_ok=True)
    values["PROMETHEUS_MULTIPROC_DIR"] = str(metrics)
    return values


def worker_counts(env: Environment, services: tuple[str, ...]) -> dict[str, int]:
    """Return how many processes each service has."""
    return {name: env.whole(f"WORKERS_{name.upper()}", 2, 1, 64) for name in services}

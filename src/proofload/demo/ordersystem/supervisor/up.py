"""Puts a system together: ports, environments, services, and the file that says it is ready."""

from __future__ import annotations

import asyncio
import http.client
import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path

from proofload.demo.ordersystem.common.environment import Environment
from proofload.demo.ordersystem.common.errors import StoreDownError
from proofload.demo.ordersystem.common.resp import RedisConnection, ReplyError
from proofload.demo.ordersystem.compose import Parts
from proofload.demo.ordersystem.serve import SERVICE_NAMES, check_settings, serve
from proofload.demo.ordersystem.supervisor.control import refuse_if_running
from proofload.demo.ordersystem.supervisor.layout import (
    Layout,
    ReservedPort,
    base_environment,
    reuse_port_socket,
    service_environment,
    worker_counts,
)
from proofload.demo.ordersystem.supervisor.process import spawn_here
from proofload.demo.ordersystem.supervisor.redis_server import find_redis_server, redis_command
from proofload.demo.ordersystem.supervisor.supervisor import Service, StartError, Supervisor


class System:
    """A system that is about to run."""

    def __init__(self, folder: Path, parts: Parts, values: Mapping[str, str], gateway_port: int = 0) -> None:
        self.layout = Layout(folder)
        refuse_if_running(self.layout.control)
        self.layout.make()
        given = {**values, **parts.settings}
        check_settings(given)  # what is wrong is said here, before anything is had, rather than in a log later
        counts = worker_counts(Environment(given), (*SERVICE_NAMES, "gateway"))
        self.redis_url = given.get("REDIS_URL", "")
        first: list[Service] = []
        if self.redis_url:
            _check_redis(self.redis_url)
        else:
            own = self._redis()
            self.redis_url = own.address
            first.append(own)
        try:
            gateway = ReservedPort.reserve(gateway_port)
        except OSError as error:
            raise StartError(f"--gateway-port: port {gateway_port} can't be had: {error.strerror}") from error
        self._reserved = {"gateway": gateway, **{name: ReservedPort.reserve() for name in SERVICE_NAMES}}
        shared = base_environment(given, self.layout, self.redis_url)
        self.audit_dir = Path(shared["AUDIT_DIR"])
        services = self._services(shared, parts, counts)
        self.supervisor = Supervisor(self.layout, first + services)
        self.urls = {service.name: service.address for service in services}

    def _services(self, shared: dict[str, str], parts: Parts, counts: dict[str, int]) -> list[Service]:
        ports = {name: self._reserved[name].port for name in SERVICE_NAMES}
        services = []
        for name in (*SERVICE_NAMES, "gateway"):
            port = self._reserved[name].port
            values = service_environment(shared, self.layout, name, ports)
            services.append(
                Service(
                    name,
                    _worker(name, port, values, parts),
                    lambda port=port: _answers_health(port),  # type: ignore[misc]
                    self.layout.log(name),
                    counts[name],
                    f"http://127.0.0.1:{port}",
                )
            )
        return services

    def _redis(self) -> Service:
        port = _free_port()
        command = redis_command(find_redis_server(), port, self.layout.folder / "redis")
        log = self.layout.log("redis")
        url = f"redis://127.0.0.1:{port}/0"
        return Service("redis", lambda: spawn_here(command), lambda: _answers_ping(url), log, 1, url)

    def description(self) -> dict[str, object]:
        """Return what others need to know to use the running system."""
        services = {name: url for name, url in self.urls.items() if name != "gateway"}
        return {
            "gateway": self.urls["gateway"],
            "services": services,
            "redis": self.redis_url,
            "control": str(self.layout.control),
            "logs": str(self.layout.folder / "logs"),
            "audit": [str(self.audit_dir / f"{name}.jsonl") for name in ("gateway", *services)],
            "dir": str(self.layout.folder),
            "pid": os.getpid(),
        }


def _worker(name: str, port: int, values: Mapping[str, str], parts: Parts) -> Callable[[], None]:
    def run() -> None:
        os.environ.update(values)
        serve(name, values, parts, reuse_port_socket(port))

    return run


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _check_redis(url: str) -> None:
    if not _answers_ping(url):
        raise StartError(f"REDIS_URL: no Redis answers at {url}; start it, or unset REDIS_URL to have one started")


def _answers_ping(url: str) -> bool:
    async def ping() -> bool:
        connection = RedisConnection(url, 1.0)
        try:
            return bool(await connection.call("PING") == b"PONG")
        except (StoreDownError, ReplyError):
            return False
        finally:
            await connection.close()

    return asyncio.run(ping())


def _answers_health(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1.0)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()

"""A running reference system for a test, as a process of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

import proofload.demo.ordersystem.common.metrics  # noqa: F401 - decides here, once, that values live in memory
from proofload.demo.ordersystem.supervisor.control import order
from proofload.demo.ordersystem.supervisor.process import die_with
from proofload.demo.ordersystem.supervisor.redis_server import find_redis_server, redis_command


@dataclass
class Running:
    process: subprocess.Popen[str]
    ready: dict[str, Any]

    @property
    def gateway(self) -> str:
        return str(self.ready["gateway"])

    def client(self, source: str = "127.0.0.1", **options: Any) -> httpx.Client:
        """A client whose connections come from this address of loopback."""
        # Nothing here speaks TLS, and reading the authorities' certificates takes longer than most of the tests.
        transport = httpx.HTTPTransport(verify=False, local_address=source, limits=httpx.Limits(max_connections=300))
        return httpx.Client(base_url=self.gateway, transport=transport, timeout=20.0, **options)

    def audit(self, service: str) -> list[dict[str, Any]]:
        folder = Path(self.ready["dir"]) / "audit"
        files = [*sorted(folder.glob(f"{service}.jsonl.*")), folder / f"{service}.jsonl"]
        return [json.loads(line) for file in files for line in file.read_text().splitlines()]

    def log(self, service: str) -> str:
        return (Path(self.ready["logs"]) / f"{service}.log").read_text()

    def order(self, what: str, service: str | None = None) -> dict[str, Any]:
        """Give an order over the control socket and return the reply."""
        return order(Path(self.ready["control"]), do=what, service=service)

    def status(self) -> dict[str, Any]:
        return dict(self.order("status")["services"])

    def login(self, username: str, source: str = "127.0.0.1") -> dict[str, str]:
        """Register and log in; return the headers of the user."""
        credentials = {"username": username, "password": "a long password"}
        with self.client(source) as client:
            made = client.post("/api/v1/auth/register", json=credentials)
            assert made.status_code in (201, 409), made.text
            token = client.post("/api/v1/auth/login", json=credentials).json()["access_token"]
        return {"authorization": f"Bearer {token}"}


def start(folder: Path, *arguments: str, **settings: str) -> Running:
    ready = folder / "ready-for-test.json"
    command = [
        sys.executable,
        "-m",
        "proofload.demo.ordersystem",
        "up",
        "--die-with-parent",
        "--dir",
        str(folder / "system"),
    ]
    process = subprocess.Popen(
        [*command, "--ready-file", str(ready), *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **settings},
    )
    deadline = time.monotonic() + 60
    while not ready.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            _, errors = process.communicate()
            raise AssertionError(f"the system did not start: {errors}")
        time.sleep(0.02)
    return Running(process, json.loads(ready.read_text()))


def end(running: Running) -> None:
    if running.process.poll() is None:
        running.process.send_signal(signal.SIGTERM)
    running.process.communicate(timeout=30)


@pytest.fixture(autouse=True)
def environ_as_it_was():
    """Take back what a command that ran in this process said to those that it would have started."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def start_system(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Start systems that end with the test."""
    running: list[Running] = []

    def starter(*arguments: str, **settings: str) -> Running:
        folder = tmp_path / f"system-{len(running)}"
        folder.mkdir()
        running.append(start(folder, *arguments, **settings))
        return running[-1]

    yield starter
    for one in running:
        end(one)


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One honest system with default limits for all tests of a module; tests use addresses of their own."""
    running = start(tmp_path_factory.mktemp("ordersystem"))
    yield running
    end(running)


def eventually(holds: Callable[[], bool], within_s: float = 10.0) -> bool:
    """Wait for an event, with a deadline."""
    deadline = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One real Redis for all that run without processes of their own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = redis_command(find_redis_server(), port, tmp_path_factory.mktemp("redis"))
    parent = os.getpid()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, preexec_fn=lambda: die_with(parent))  # noqa: PLW1509
    assert eventually(lambda: answers(port))
    yield f"redis://127.0.0.1:{port}/0"
    process.terminate()
    process.wait(10)


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0

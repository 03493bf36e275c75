"""Fixtures of the tests of faults: a small service, the reference system, and runners to be killed."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.faults.world import (
    RUNNER,
    SERVICE,
    START,
    STOP,
    Runner,
    SmallService,
    StartRunner,
    System,
    answers,
    eventually,
    start_system,
)


@pytest.fixture
def small_service(tmp_path: Path) -> Iterator[SmallService]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for name, code in (("service", SERVICE), ("start", START), ("stop", STOP)):
        (tmp_path / f"{name}.py").write_text(code)
    pid_file = tmp_path / "service.pid"
    start = [sys.executable, str(tmp_path / "start.py"), str(tmp_path / "service.py"), str(port), str(pid_file)]
    stop = [sys.executable, str(tmp_path / "stop.py"), str(pid_file)]
    service = SmallService(f"http://127.0.0.1:{port}/", stop, start, pid_file)
    subprocess.run(start, check=True)
    eventually(lambda: answers(service.url), 20, "the service starts")
    yield service
    subprocess.run(stop, check=False)


@pytest.fixture
def start_runner(tmp_path: Path) -> Iterator[StartRunner]:
    started: list[Runner] = []

    def start(driver: str, kind: str, url: str, duration_s: float = 120.0, **arguments: Any) -> Runner:
        journal = tmp_path / "journal"
        command = [sys.executable, str(RUNNER), str(journal), str(duration_s), driver, json.dumps(arguments), kind, url]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        runner = Runner(process, process.stdout.readline().strip(), journal)
        started.append(runner)
        return runner

    yield start
    for runner in started:
        if runner.process.poll() is None:
            runner.process.send_signal(signal.SIGCONT)
            runner.kill()


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    process, told = start_system(tmp_path_factory.mktemp("system"))
    try:
        yield System(told["control"], told["services"])
    finally:
        process.terminate()
        process.wait(30)

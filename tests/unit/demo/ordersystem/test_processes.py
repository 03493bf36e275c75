"""The gauges of a service's workers show those that are alive, and nobody else."""

import os
import re
import subprocess
import sys
from pathlib import Path

from proofload.demo.ordersystem.common import processes
from proofload.demo.ordersystem.common.environment import Environment
from proofload.demo.ordersystem.gateway.settings import Room, gateway_settings


def value(page: bytes, name: str) -> float:
    found = re.search(rf"^{name} ([\d.]+)$", page.decode(), re.MULTILINE)
    assert found is not None, page
    return float(found[1])


def test_an_open_file_shows_until_it_is_closed(tmp_path: Path) -> None:
    before = value(processes.lines([os.getpid()]), "process_open_fds")
    with (tmp_path / "a").open("w"), (tmp_path / "b").open("w"):
        assert value(processes.lines([os.getpid()]), "process_open_fds") == before + 2
    assert value(processes.lines([os.getpid()]), "process_open_fds") == before


def test_memory_and_cpu_are_those_of_the_processes_together() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        pids = [os.getpid(), child.pid]
        alone, both = processes.lines(pids[:1]), processes.lines(pids)
        assert value(both, "process_resident_memory_bytes") > value(alone, "process_resident_memory_bytes") > 1e6
        assert value(both, "process_cpu_seconds_total") >= value(alone, "process_cpu_seconds_total") > 0
    finally:
        child.communicate(b"\n")
    # Whoever is gone takes nothing any more.
    assert value(processes.lines([child.pid]), "process_open_fds") == 0


def test_only_siblings_that_are_alive_count_as_workers(tmp_path: Path) -> None:
    processes.sign_in(tmp_path)
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        # Alive, but started by us and not by who started us: a number that was given away anew.
        (tmp_path / f"worker_{child.pid}").touch()
        assert processes.signed_in(tmp_path) == [os.getpid()]
    finally:
        child.communicate(b"\n")


def test_a_service_may_have_room_of_its_own() -> None:
    given = {
        "GATEWAY_MAX_CONCURRENCY": "10",
        "GATEWAY_MAX_CONCURRENCY_USER": "3",
        "GATEWAY_QUEUE_PATIENCE_USER": "0.25",
    }
    rooms = gateway_settings(Environment({"JWT_SECRET": "x", "GATEWAY_TOKEN": "y", **given})).rooms
    assert rooms["auth"] == Room(10, 1000, 1.0)
    assert rooms["user"] == Room(3, 1000, 0.25)

"""Faults of a real run: one that does nothing is no evidence, and one that outlives its runner is mended."""

import json
import os
import signal
import time
import urllib.request
from pathlib import Path

from proofload.demo.reference_system import ReferenceSystem
from tests.e2e.cli import proofload, start, wait_for_line
from tests.e2e.conftest import Declare

BREAKER = """\
  circuit_breaker:
    - {{service: order, operation: orders, failures: 5, open_for: 60s, successes: 3, code_when_open: CIRCUIT_OPEN}}
services:
  order: {{health: "{order}/health"}}
faults:
  order: {fault}
"""
IDLE = '{driver: command, stop: ["true"], start: ["true"]}'


def declare_breaker(declare: Declare, system: ReferenceSystem, fault: str) -> Path:
    place = declare(system.ready.gateway, more=BREAKER.format(order=system.ready.services["order"], fault=fault))
    text = place.read_text().replace(
        "policies:\n", "  orders: {path: /api/v1/orders, auth: bearer, service: order}\npolicies:\n"
    )
    place.write_text(text)
    return place


def test_a_fault_that_does_nothing_proves_nothing(tmp_path: Path, system: ReferenceSystem, declare: Declare) -> None:
    declare_breaker(declare, system, IDLE)
    ran = proofload("run", "TC-CB-001", "--json", cwd=tmp_path)
    assert ran.status == 11, ran.out + ran.err
    assert ran.outcomes() == {"TC-CB-001": "INCONCLUSIVE"}
    assert "not proven to have taken hold" in ran.out


def test_a_runner_that_is_killed_leaves_nothing_broken(
    tmp_path: Path, system: ReferenceSystem, declare: Declare
) -> None:
    control = f'{{driver: supervised, control: "{system.ready.control}", service: order}}'
    declare_breaker(declare, system, control)
    state = {"XDG_STATE_HOME": str(tmp_path / "state")}
    os.environ.update(state)
    try:
        process = start("run", "TC-CB-001", cwd=tmp_path)
        wait_for_line(process, "failing, until the circuit opens")
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=20)
        deadline = time.monotonic() + 10
        while not answers(system.ready.services["order"]):
            assert time.monotonic() < deadline, "the service is still down 10 s after its breaker was killed"
            time.sleep(0.1)
        first = proofload("recover", "--json", cwd=tmp_path)
        assert first.status == 0
        assert json.loads(first.out), "what the watchdog mended is told once"
        assert "Nothing is left to mend" in proofload("recover", cwd=tmp_path).out
    finally:
        del os.environ["XDG_STATE_HOME"]


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=1) as answer:
            return bool(answer.status == 200)
    except (TimeoutError, OSError):
        return False

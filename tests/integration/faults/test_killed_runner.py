"""A runner that is killed without warning leaves nothing broken behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.integration.faults.world import SmallService, StartRunner, System, alive, answers, eventually

# What the issue promises for a runner killed while a service is stopped.
PROMISED_S = 10

RESTART = """
import socket, sys
line = socket.socket(socket.AF_UNIX); line.connect(sys.argv[1]); line.sendall(b'{"do": "start", "service": "order"}\\n')
assert b'"ok": true' in line.makefile("rb").readline()
"""

pytestmark = pytest.mark.xdist_group("faults")


@pytest.mark.parametrize("kind", ["stop", "pause", "kill"])
def test_a_service_of_the_reference_system_is_up_again(system: System, start_runner: StartRunner, kind: str) -> None:
    health = system.services["order"] + "/health"
    runner = start_runner("supervised", kind, health, control=system.control, service="order")
    assert runner.first_line == "held"
    assert not answers(health)
    watchdog = runner.watchdog()
    runner.kill()
    eventually(lambda: answers(health), PROMISED_S, "the service is up again")
    eventually(lambda: not alive(watchdog), PROMISED_S, "the watchdog ends with its purpose")
    (entry,) = runner.journal.glob("*.jsonl")
    noted = [json.loads(line) for line in entry.read_text().splitlines()]
    assert noted[-1]["note"] == "mended"
    assert noted[-1]["why"] in ("the runner is gone", "the runner let go")


def test_a_lease_that_ran_out_is_mended_for_a_runner_that_hangs(
    small_service: SmallService, start_runner: StartRunner
) -> None:
    runner = start_runner(
        "command", "stop", small_service.url, duration_s=0.5, stop=small_service.stop, start=small_service.start
    )
    runner.process.send_signal(signal.SIGSTOP)
    eventually(lambda: answers(small_service.url), PROMISED_S, "the service is up again")
    runner.process.send_signal(signal.SIGCONT)


def test_a_watchdog_ends_with_a_fault_that_its_runner_mended(
    small_service: SmallService, start_runner: StartRunner
) -> None:
    runner = start_runner("command", "stop", small_service.url, stop=small_service.stop, start=small_service.start)
    watchdog = runner.watchdog()
    runner.process.send_signal(signal.SIGINT)
    runner.process.communicate(timeout=30)
    assert answers(small_service.url)
    assert not alive(watchdog)
    assert list(runner.journal.iterdir()) == []


def test_signals_do_not_turn_a_watchdog_from_its_purpose(
    small_service: SmallService, start_runner: StartRunner
) -> None:
    runner = start_runner("command", "stop", small_service.url, stop=small_service.stop, start=small_service.start)
    watchdog = runner.watchdog()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(watchdog, number)
    runner.kill()
    eventually(lambda: answers(small_service.url), PROMISED_S, "the service is up again")
    (ignored,) = re.findall(r"SigIgn:\s*(\S+)", Path(f"/proc/{small_service.pid}/status").read_text())
    assert not int(ignored, 16) & 1 << signal.SIGTERM - 1, "what the watchdog starts can still be ended in order"


def test_a_child_of_the_runner_that_lives_on_does_not_hide_its_end(
    small_service: SmallService, start_runner: StartRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WITH_CHILD", "1")
    runner = start_runner("command", "stop", small_service.url, stop=small_service.stop, start=small_service.start)
    child = int(runner.first_line.removeprefix("held "))
    runner.process.kill()
    try:
        eventually(lambda: answers(small_service.url), PROMISED_S, "the service is up again")
        assert alive(child)
    finally:
        os.kill(child, signal.SIGKILL)
        runner.process.communicate()


def test_a_system_that_ended_as_a_whole_leaves_nothing_to_mend(
    system: System, start_runner: StartRunner, tmp_path: Path
) -> None:
    health = system.services["order"] + "/health"
    control = tmp_path / "control.sock"
    control.symlink_to(system.control)
    runner = start_runner("supervised", "stop", health, control=str(control), service="order")
    control.unlink()
    runner.kill()
    (path,) = runner.journal.glob("*.jsonl")
    eventually(lambda: "ended with it" in path.read_text(), PROMISED_S, "the watchdog says that nobody is there")
    subprocess.run([sys.executable, "-c", RESTART, system.control], check=True)
    assert answers(health)


def test_arguments_are_passed_as_they_stand(
    small_service: SmallService, start_runner: StartRunner, tmp_path: Path
) -> None:
    trap = tmp_path / "trap"
    stop = [*small_service.stop, f"; touch {trap}", f"$(touch {trap})", f"`touch {trap}`", f"| touch {trap}"]
    runner = start_runner("command", "stop", small_service.url, stop=stop, start=small_service.start)
    assert runner.first_line == "held"
    runner.kill()
    eventually(lambda: answers(small_service.url), PROMISED_S, "the service is up again")
    assert not trap.exists()

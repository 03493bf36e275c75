"""`proofload recover` mends what was left, says so once, and leaves a living run its fault."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.integration.faults.world import Runner, SmallService, StartRunner, alive, answers, eventually

pytestmark = pytest.mark.xdist_group("faults")

NOTHING = "Nothing is left to mend.\n"


def recover(journal: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "proofload", "recover", "--journal", str(journal), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def stopped(small_service: SmallService, start_runner: StartRunner) -> Runner:
    runner = start_runner("command", "stop", small_service.url, stop=small_service.stop, start=small_service.start)
    assert runner.first_line == "held"
    return runner


def kill_both(runner: Runner) -> None:
    """As when the machine's memory runs out, or a container ends: runner and watchdog at one stroke."""
    watchdog = runner.watchdog()
    os.kill(watchdog, signal.SIGKILL)
    runner.kill()
    eventually(lambda: not alive(watchdog), 10, "the watchdog is dead")


def test_it_mends_once_what_nobody_else_could(small_service: SmallService, start_runner: StartRunner) -> None:
    runner = stopped(small_service, start_runner)
    kill_both(runner)
    first = recover(runner.journal)
    assert answers(small_service.url)
    assert first.returncode == 0
    assert first.stdout.startswith("mended order: stop (command), left by the run with process")
    second = recover(runner.journal)
    assert (second.returncode, second.stdout) == (0, NOTHING)


def test_it_says_what_the_watchdog_mended_even_when_both_come_at_once(
    small_service: SmallService, start_runner: StartRunner
) -> None:
    runner = stopped(small_service, start_runner)
    runner.kill()
    first = recover(runner.journal, "--json")
    assert first.returncode == 0
    (told,) = json.loads(first.stdout)["faults"]
    assert told["state"] in ("mended", "was_mended")
    assert (told["service"], told["kind"], told["runner_pid"]) == ("order", "stop", runner.process.pid)
    assert answers(small_service.url)
    assert recover(runner.journal).stdout == NOTHING


def test_it_waits_for_the_watchdog_and_tells_of_it(small_service: SmallService, start_runner: StartRunner) -> None:
    runner = stopped(small_service, start_runner)
    watchdog = runner.watchdog()
    runner.kill()
    eventually(lambda: not alive(watchdog), 10, "the watchdog ends with its purpose")
    first = recover(runner.journal)
    assert "by its watchdog" in first.stdout
    assert recover(runner.journal).stdout == NOTHING


def test_a_living_run_keeps_its_fault_unless_forced(small_service: SmallService, start_runner: StartRunner) -> None:
    runner = stopped(small_service, start_runner)
    spared = recover(runner.journal)
    assert (spared.returncode, spared.stdout[:10]) == (0, "left alone")
    assert not answers(small_service.url)
    forced = recover(runner.journal, "--force")
    assert forced.stdout.startswith("mended order")
    assert answers(small_service.url)
    pid = small_service.pid
    runner.process.send_signal(signal.SIGINT)  # its own mending finds nothing left to do
    runner.process.communicate(timeout=30)
    assert small_service.pid == pid
    assert recover(runner.journal).stdout == NOTHING


def test_what_can_t_be_mended_is_said_and_kept(small_service: SmallService, start_runner: StartRunner) -> None:
    runner = stopped(small_service, start_runner)
    kill_both(runner)
    start = Path(small_service.start[1])
    code = start.read_text()
    start.write_text("raise SystemExit('out of order')")
    for _ in range(2):
        failed = recover(runner.journal)
        assert failed.returncode == 13
        assert "out of order" in failed.stderr
        assert str(runner.journal) in failed.stderr
    start.write_text(code)
    assert recover(runner.journal).returncode == 0
    assert answers(small_service.url)


def test_a_journal_that_was_never_there_holds_nothing(tmp_path: Path) -> None:
    nothing = recover(tmp_path / "none")
    assert (nothing.returncode, nothing.stdout) == (0, NOTHING)


def test_a_damaged_remedy_is_said_beside_the_others(small_service: SmallService, start_runner: StartRunner) -> None:
    runner = stopped(small_service, start_runner)
    kill_both(runner)
    damaged = runner.journal / "1-damaged.jsonl"
    damaged.write_text("{")
    damaged.chmod(0o600)
    both = recover(runner.journal)
    assert both.returncode == 13
    assert "1-damaged.jsonl" in both.stderr
    assert both.stdout.startswith("mended order")
    assert answers(small_service.url)
    given_up = recover(runner.journal, "--forget")
    assert (given_up.returncode, damaged.exists()) == (0, False)

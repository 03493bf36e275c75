"""Remedies on disk outlive crashes, and nobody but their owner can have them carried out."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from proofload.faults import journal as journals
from proofload.faults.journal import Journal, default_folder, mend, read, remove
from proofload.faults.process_identity import ProcessIdentity
from proofload.faults.recipe import FaultError, carry_out, run_step


def written(folder: Path, *command: str) -> Path:
    recipe = {"steps": [run_step(command or ("true",))]}
    return Journal(folder).write(fault="stop", service="auth", driver="command", kind="stop", recipe=recipe)


def test_an_entry_is_read_as_it_was_written(tmp_path: Path) -> None:
    entry = read(written(tmp_path))
    assert (entry.fault, entry.service, entry.driver, entry.kind) == ("stop", "auth", "command", "stop")
    assert entry.runner == ProcessIdentity.own()
    assert entry.mended is None


def test_a_torn_last_line_costs_nothing(tmp_path: Path) -> None:
    path = written(tmp_path)
    with path.open("a") as file:
        file.write('{"note": "men')
    assert read(path).mended is None
    assert mend(path, "a test", "to see") is not None


def test_only_the_first_of_many_mends(tmp_path: Path) -> None:
    count = tmp_path / "count"
    path = written(
        tmp_path / "journal", "dd", "if=/dev/zero", f"of={count}", "bs=1", "count=1", "oflag=append", "conv=notrunc"
    )
    said: list[str | None] = []
    threads = [threading.Thread(target=lambda: said.append(mend(path, "a test", "to see"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([one for one in said if one is not None]) == 1
    assert count.read_bytes() == b"\0"


def test_a_mending_that_fails_is_noted_and_can_be_tried_again(tmp_path: Path) -> None:
    path = written(tmp_path, "false")
    for _ in range(2):
        with pytest.raises(FaultError, match="exit status 1"):
            mend(path, "a test", "to see")
    assert [note["note"] for note in read(path).notes] == ["failed", "failed"]


def test_an_entry_that_is_gone_is_mended(tmp_path: Path) -> None:
    path = written(tmp_path)
    remove(path)
    remove(path)
    assert mend(path, "a test", "to see") is None


@pytest.mark.parametrize("what", ["folder", "entry"])
def test_what_others_may_write_to_is_never_carried_out(tmp_path: Path, what: str) -> None:
    folder = tmp_path / "journal"
    path = written(folder)
    (folder if what == "folder" else path).chmod(0o777)
    with pytest.raises(FaultError, match="chmod go-w"):
        [read(one) for one in Journal(folder).entries()]


@pytest.mark.parametrize("damage", ["", "[]", "{}", '{"version": 1}', "\0\0\0", '{"runner": 3}'])
def test_a_damaged_entry_is_an_error_that_names_the_file(tmp_path: Path, damage: str) -> None:
    path = written(tmp_path)
    path.write_text(damage)
    with pytest.raises(FaultError, match=path.name):
        read(path)


def test_a_folder_that_can_t_be_written_to_breaks_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FaultError, match="nothing was broken"):
        written(tmp_path / "file" / "journal")


def test_the_folder_follows_the_environment() -> None:
    assert default_folder({"XDG_STATE_HOME": "/state"}) == Path("/state/proofload/faults")
    assert default_folder({"XDG_STATE_HOME": "relative"}) == default_folder({})


def test_a_process_is_known_beyond_its_number() -> None:
    own = ProcessIdentity.own()
    assert own.is_alive()
    assert ProcessIdentity.of_json(json.loads(json.dumps(own.to_json()))) == own
    assert not ProcessIdentity(own.pid, own.start_ticks + 1, own.boot).is_alive()
    assert not ProcessIdentity(own.pid, own.start_ticks, "another boot").is_alive()


def test_a_zombie_is_not_alive() -> None:
    child = subprocess.Popen([sys.executable, "-c", "print(open('/proc/self/stat').read())"], stdout=subprocess.PIPE)
    assert child.stdout is not None
    ticks = int(child.stdout.read().rpartition(b")")[2].split()[19])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not ProcessIdentity(child.pid, ticks, ProcessIdentity.own().boot).is_alive()
    child.communicate()


@pytest.mark.parametrize(
    "step",
    [
        {"do": "shell", "line": "true"},
        {"do": "run"},
        {"do": "http", "url": "file:///etc/passwd", "method": "GET", "expected": [200]},
        {},
    ],
)
def test_a_recipe_with_an_unknown_step_is_refused(step: dict[str, object]) -> None:
    with pytest.raises(FaultError):
        carry_out({"steps": [step]})


def test_lines_are_only_appended(tmp_path: Path) -> None:
    path = written(tmp_path)
    before = path.read_bytes()
    journals.note(path, note="seen")
    assert path.read_bytes().startswith(before)
    assert path.stat().st_mode & 0o777 == 0o600

"""Load that is kept while it is made: the same figures again from the rows, after a good end and after kill -9."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from tests.e2e.cli import proofload, start
from tests.listening import Listener

from proofload.core.errors import ToolError
from proofload.drive import durable_run as kept

_ENOUGH = 300


class Counting:
    """A server that counts, and tells when it has seen enough."""

    def __init__(self) -> None:
        self.count = 0
        self.enough = threading.Event()
        seen = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                seen.count += 1
                if seen.count >= _ENOUGH:
                    seen.enough.set()
                self.send_response(200 if self.path != "/fail" else 500)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *_: object) -> None:
                pass

        self.listener = Listener(Handler)
        self.url = self.listener.url


@pytest.fixture
def server() -> Iterator[Counting]:
    one = Counting()
    yield one
    one.listener.close()


def test_a_kept_run_is_told_again_as_it_was_told_first(server: Counting, tmp_path: Path) -> None:
    first = proofload(
        "load", f"{server.url}/", "--users", "4", "-n", "500", "-p", "2", "--keep", "kept", "--report", "told.json",
        "--fail-if", "errors > 1%", "--seed", "3", cwd=tmp_path,
    )  # fmt: skip
    assert first.status == 0, first.out + first.err
    again = proofload("judge", "kept", "--json", cwd=tmp_path)
    assert again.status == 0, again.out
    told = json.loads((tmp_path / "told.json").read_text())
    assert again.json == {**told, "finished": True}
    assert again.json["requests"]["answered"] == 500
    assert "held: fail if errors > 1%" in proofload("judge", "kept", cwd=tmp_path).out


def test_a_threshold_that_was_broken_is_broken_again(server: Counting, tmp_path: Path) -> None:
    ask = ("load", f"{server.url}/fail", "--users", "2", "-n", "20", "--keep", "kept", "--fail-if", "errors > 1%")
    assert proofload(*ask, cwd=tmp_path).status == 10
    assert proofload("judge", "kept", cwd=tmp_path).status == 10


def test_killed_with_all_its_generators_it_can_be_read_up_to_the_last_requests(
    server: Counting, tmp_path: Path
) -> None:
    running = start("load", f"{server.url}/", "--users", "4", "--for", "60s", "-p", "2", "--keep", "kept", cwd=tmp_path)
    assert server.enough.wait(60)
    # The runner and its two generators, all at once, as a machine that runs out of memory would do it.
    for pid in [*_children(running.pid), running.pid]:
        os.kill(pid, signal.SIGKILL)
    running.communicate()
    assert (tmp_path / "kept" / "load.json").exists()
    assert not (tmp_path / "kept" / "sealed.json").exists()
    told = proofload("judge", "kept", "--json", cwd=tmp_path)
    assert told.status == 11, told.out
    assert told.json["finished"] is False
    requests = told.json["requests"]
    # Whatever was not answered when the axe fell may have had its effect: one for each user at the most.
    assert requests["unknown"] <= 4
    assert _ENOUGH - 4 <= requests["answered"] <= server.count <= requests["sent"]
    assert "not finished" in proofload("judge", "kept", cwd=tmp_path).out


def _children(pid: int) -> list[int]:
    told = subprocess.run(["ps", "--ppid", str(pid), "-o", "pid="], capture_output=True, text=True, timeout=10)
    return [int(one) for one in told.stdout.split()]


def test_rows_that_were_changed_afterwards_are_refused_by_name(server: Counting, tmp_path: Path) -> None:
    proofload("load", f"{server.url}/", "--users", "1", "-n", "10", "--keep", "kept", cwd=tmp_path)
    (rows,) = (tmp_path / "kept").rglob("rows-*.bin")
    content = bytearray(rows.read_bytes())
    content[40] ^= 1
    rows.write_bytes(content)
    told = proofload("judge", "kept", cwd=tmp_path)
    assert told.status == 13
    assert "rows-000000.bin" in told.err
    rows.unlink()
    with pytest.raises(ToolError, match="too few"):
        kept.read(tmp_path / "kept")


def test_a_folder_with_something_in_it_is_left_alone_and_nothing_is_sent(server: Counting, tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "mine.txt").write_text("precious")
    told = proofload("load", f"{server.url}/", "-n", "10", "--keep", "kept", cwd=tmp_path)
    assert told.status == 12
    assert "--keep" in told.err
    assert server.count == 0
    assert [one.name for one in (tmp_path / "kept").iterdir()] == ["mine.txt"]

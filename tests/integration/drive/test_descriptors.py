"""A machine that runs out of file descriptors is our fault, whatever the load looks like."""

import json
import resource
import subprocess
import sys
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from tests.listening import Listener


class Kind(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def load(url: str, report: Path, *, soft: int, hard: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "proofload", "load", url, "--users", "90", "-n", "300", "--report", str(report)]
    return subprocess.run(
        [*command, "--fail-if", "errors > 1%", "-q"],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard)),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_low_hard_limit_is_exit_11_and_says_so(tmp_path: Path) -> None:
    with Listener(Kind) as server:
        done = load(server.url, tmp_path / "r.json", soft=60, hard=60)
    assert "ran out of file descriptors (ulimit -n is 60)" in done.stderr
    assert done.returncode == 11
    told = json.loads((tmp_path / "r.json").read_text())
    assert told["by_fault"].keys() == {"NO_DESCRIPTOR"}
    assert told["thresholds"][0]["failed"] is False


def test_a_low_soft_limit_is_raised(tmp_path: Path) -> None:
    with Listener(Kind) as server:
        done = load(server.url, tmp_path / "r.json", soft=60, hard=1_000)
    assert (done.returncode, done.stderr) == (0, "")

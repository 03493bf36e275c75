"""What the tests of faults act on: a small service with commands to stop and start it, and a runner to be killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RUNNER = Path(__file__).with_name("runner.py")

SERVICE = """
import http.server, os, pathlib, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.send_header("Content-Length", "2"); self.end_headers(); self.wfile.write(b"ok")
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
pathlib.Path(sys.argv[2]).write_text(str(os.getpid()))
server.serve_forever()
"""

# `start` leaves the service behind and ends, as `systemctl start` or `docker start` would.
START = """
import pathlib, subprocess, sys, time
service, port, pid_file = sys.argv[1:]
if not pathlib.Path(pid_file).exists():
    subprocess.Popen([sys.executable, service, port, pid_file], start_new_session=True)
    while not pathlib.Path(pid_file).exists(): time.sleep(0.01)
"""

STOP = """
import os, pathlib, signal, sys
pid_file = pathlib.Path(sys.argv[1])
if pid_file.exists():
    os.kill(int(pid_file.read_text()), signal.SIGKILL); pid_file.unlink()
"""


def eventually(seen: Callable[[], Any], deadline_s: float, what: str) -> Any:
    """Return what was seen, once it is seen; fail when the deadline passes."""
    due = time.monotonic() + deadline_s
    while not (found := seen()):
        assert time.monotonic() < due, f"not within {deadline_s} s: {what}"
        time.sleep(0.02)
    return found


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1.0) as answer:
            return int(answer.status) == 200
    except (OSError, urllib.error.URLError):
        return False


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@dataclass
class SmallService:
    """A service of one file, with the commands that stop and start it."""

    url: str
    stop: list[str]
    start: list[str]
    pid_file: Path

    @property
    def pid(self) -> int:
        return int(self.pid_file.read_text())


@dataclass
class Runner:
    """A process that holds a fault."""

    process: subprocess.Popen[str]
    first_line: str
    journal: Path

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def watchdog(self) -> int:
        """The pid of the process that watches over it."""
        for stat in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = stat.read_bytes().split(b"\0")
            except OSError:
                continue
            if b"proofload.faults.watchdog" in words and str(self.process.pid).encode() in words:
                return int(stat.parent.name)
        raise AssertionError("no watchdog")


@dataclass
class System:
    """A running reference system."""

    control: str
    services: dict[str, str]


StartRunner = Callable[..., Runner]


def start_system(folder: Path, **settings: str) -> tuple[subprocess.Popen[bytes], dict[str, Any]]:
    """Start the reference system; return its process and what it tells of itself once it is ready."""
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
    environ = {**os.environ, "AUTH_KDF_TIME_COST": "1", "AUTH_KDF_MEMORY_KIB": "8", **settings}
    process = subprocess.Popen([*command, "--ready-file", str(ready)], stdout=subprocess.DEVNULL, env=environ)
    eventually(lambda: ready.exists() or process.poll() is not None, 60, "the reference system starts")
    return process, json.loads(ready.read_text())

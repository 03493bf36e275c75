"""A real Ray cluster on this machine: a head and raylets, each a process of ours that ends with the test."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

_RAY = str(Path(sys.executable).parent / "ray")
_READY_S = 60


class Raylets:
    """Starts nodes of a cluster; `address` is what others connect to."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.host = host
        # Ray's sockets lie below it, and a path of a socket may have no more than 107 characters.
        self._folder = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))
        with socket.socket() as probe:
            probe.bind((host, 0))
            self._port = probe.getsockname()[1]
        self.address = f"{host}:{self._port}"
        self.nodes: list[subprocess.Popen[bytes]] = []

    def head(self, cpus: int = 1) -> None:
        """Start the first node."""
        self._start(["--head", "--port", str(self._port), "--include-dashboard", "false"], self.host, cpus)

    def join(self, host: str, cpus: int = 1, *, inside: Sequence[str] = ()) -> subprocess.Popen[bytes]:
        """Start one more node, by a command such as `ip netns exec NAME` where one is given."""
        return self._start(["--address", self.address], host, cpus, inside)

    def _start(self, arguments: list[str], host: str, cpus: int, inside: Sequence[str] = ()) -> subprocess.Popen[bytes]:
        command = [*inside, _RAY, "start", *arguments, "--node-ip-address", host, "--num-cpus", str(cpus), "--block"]
        command += ["--temp-dir", str(self._folder), "--disable-usage-stats", "--object-store-memory", "80000000"]
        environ = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_RECORD_ACTOR_TASK_LOGGING": "0"}
        # Ray leaves a token in the home of whoever ever began a cluster with `ray.init`; nodes of ours ask for none.
        environ["RAY_AUTH_MODE"] = "disabled"
        with (self._folder / f"node-{len(self.nodes)}.log").open("wb") as log:
            process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=environ,
                start_new_session=True,
            )  # fmt: skip
        self.nodes.append(process)
        deadline = time.monotonic() + _READY_S
        told = self._folder / f"node-{len(self.nodes) - 1}.log"
        while b"Ray runtime started" not in told.read_bytes():
            assert process.poll() is None, told.read_text()
            assert time.monotonic() < deadline, told.read_text()
            time.sleep(0.1)
        return process

    def kill_raylet(self, number: int) -> None:
        """End a node as a crash does: its raylet by SIGKILL, which nothing can answer."""
        for pid in _below(self.nodes[number].pid):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                if "/raylet/raylet" in Path(f"/proc/{pid}/cmdline").read_text().split("\0")[0]:
                    os.kill(pid, signal.SIGKILL)
                    return
        raise AssertionError("no raylet below the node")

    def close(self) -> None:
        """End every process of every node."""
        for process in reversed(self.nodes):
            below = _below(process.pid)
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
            for pid in [process.pid, *below]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


def _below(pid: int) -> list[int]:
    """Return the ids of all descendants of a process, found by their parents and by their session."""
    parents: dict[int, int] = {}
    sessions: dict[int, int] = {}
    for place in Path("/proc").iterdir():
        if place.name.isdecimal():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                fields = (place / "stat").read_text().rsplit(")", 1)[1].split()
                parents[int(place.name)], sessions[int(place.name)] = int(fields[1]), int(fields[3])
    found = [one for one, session in sessions.items() if session == pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one and child not in found]
    return [one for one in found if one != pid]

"""Starts the command line by forking a process that has imported it: what `python -m proofload` does, a second sooner.

Whoever asks gets a process with its own directory, environment and output, whose `__main__` is proofload's and which
ends as any interpreter does. What a new interpreter alone has (its own imports and hash seed) is left to the tests
that use `tests.e2e.cli.start`, and to all of them with PROOFLOAD_TESTS_FORK=0.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

_MOST_BYTES = 1 << 20
_PACKAGES = ("proofload.cli", "proofload.suite", "proofload.report", "proofload.demo.reference_system", "uvloop")


class Forking:
    """The asking side: one server for each process that asks."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._server = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        self._socket = ours
        atexit.register(self.close)

    def run(
        self, arguments: Sequence[str], cwd: Path, env: Mapping[str, str], timeout_s: float
    ) -> tuple[int, str, str]:
        """Return the exit status, the output and the errors of `proofload ARGUMENTS`.

        Raises subprocess.TimeoutExpired, with the process ended.
        """
        told, tell = os.pipe()
        with (
            os.fdopen(told, "rb", buffering=0) as status,
            tempfile.TemporaryFile() as out,
            tempfile.TemporaryFile() as err,
        ):
            order = json.dumps([list(arguments), str(cwd), dict(env)]).encode()
            socket.send_fds(self._socket, [order], [out.fileno(), err.fileno(), tell])
            os.close(tell)
            pid = int(status.readline())
            ended, _, _ = select.select([status], [], [], timeout_s)
            if not ended:
                os.kill(pid, signal.SIGKILL)
            code = int(status.readline())
            texts = []
            for file in (out, err):
                file.seek(0)
                texts.append(file.read().decode())
        if not ended:
            raise subprocess.TimeoutExpired(list(arguments), timeout_s, *texts)
        return code, texts[0], texts[1]

    def close(self) -> None:
        """End the server."""
        self._socket.close()
        self._server.wait()


def serve(number: int) -> None:
    """Fork for every order until nobody is left to ask. Returns in a process that is to be the command."""
    for name in _PACKAGES:
        package = importlib.import_module(name)
        for module in pkgutil.walk_packages(getattr(package, "__path__", ()), f"{name}."):
            importlib.import_module(module.name)
    with socket.socket(fileno=number) as asking:
        while True:
            order, files, _, _ = socket.recv_fds(asking, _MOST_BYTES, 3)
            if not order:
                break
            if not os.fork():
                asking.close()
                _be_parent(*json.loads(order), *files)
                return
            for file in files:
                os.close(file)
            _reap(os.WNOHANG)
    _reap(0)
    # Nothing of a command that never ran belongs here.
    os._exit(0)


def _reap(how: int) -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, how)[0]:
            pass


def _be_parent(arguments: list[str], cwd: str, env: dict[str, str], out: int, err: int, tell: int) -> None:
    """Fork the command, in which this returns, and tell its pid and how it ended."""
    pid = os.fork()
    if pid:
        os.close(out)
        os.close(err)
        os.write(tell, b"%d\n" % pid)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        os.write(tell, b"%d\n" % status)
        os._exit(0)
    os.close(tell)
    for file, number in ((out, 1), (err, 2)):
        os.dup2(file, number)
        os.close(file)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = ["proofload", *arguments]
    sys.path[0] = cwd


if __name__ == "__main__":
    serve(int(sys.argv[1]))
    runpy.run_module("proofload", run_name="__main__", alter_sys=True)

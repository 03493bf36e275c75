"""Child processes that end with their parent, however it ends."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


def die_with(parent_pid: int, number: int = signal.SIGKILL) -> None:
    """Have the kernel signal this process when its parent ends; end at once if the parent is gone already."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
    if os.getppid() != parent_pid:  # it died before the call above could be made
        os._exit(1)


def fork(log: Path, run: Callable[[], None]) -> int:
    """Return the pid of a child that runs `run` with its output in the log."""
    parent = os.getpid()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        die_with(parent)
        _become_child(log)
        run()
        status = 0
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else 1
    except BaseException:  # noqa: BLE001 - nothing may unwind into the parent's frames in this process
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def spawn_here(command: Sequence[str]) -> None:
    """Become another program. What the kernel was told about the parent's death stays in force."""
    os.execv(command[0], list(command))  # noqa: S606 - an argument list, no shell


def _become_child(log: Path) -> None:
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    # A Ctrl-C in the terminal is the supervisor's to handle: it stops its children in order.
    os.setpgid(0, 0)
    out = os.open(log, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(out, 1)
    os.dup2(out, 2)
    # The supervisor's sockets are none of the child's business: it would keep them open after the supervisor's end.
    os.closerange(3, 4096)

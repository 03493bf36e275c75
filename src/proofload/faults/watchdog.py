"""A small process that outlives its runner by as long as mending takes, and never longer.

`python -m proofload.faults.watchdog ENTRY PID DUE_NS` prints `ready`, then listens on standard input:
`until N` moves the instant (monotonic, nanoseconds) at which the lease has run out for certain; `done` ends it, for the
runner has mended. Where standard input or the runner ends without that, or the lease runs out, it mends by the entry.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import sys
import time
from pathlib import Path

from proofload.core.clock import SystemClock
from proofload.faults.journal import mend
from proofload.faults.recipe import FaultError

_TRIES = 8
_FIRST_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 5.0


def main(arguments: list[str]) -> int:
    """Watch, and mend where the runner does not. Return 0 when all is mended, 1 when that failed."""
    entry, runner_pid, due_ns = Path(arguments[0]), int(arguments[1]), int(arguments[2])
    # Whoever ends the runner's group or session may hit us as well; our purpose is just that moment.
    # A handler, not SIG_IGN: what we start again would inherit that, and could never be ended in order.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda _number, _frame: None)
    why = _watch(runner_pid, due_ns)
    return 0 if why is None or _mend(entry, why) else 1


def _watch(runner_pid: int, due_ns: int) -> str | None:
    """Return why we must mend, or None where the runner has done it."""
    clock, told = SystemClock(), b""
    with selectors.DefaultSelector() as selector, contextlib.ExitStack() as open_files:
        selector.register(0, selectors.EVENT_READ)
        # Standard input alone won't do: a process that the runner forked may hold its other end after it is gone.
        try:
            runner = os.pidfd_open(runner_pid)
        except ProcessLookupError:
            return "the runner is gone"
        open_files.callback(os.close, runner)
        selector.register(runner, selectors.EVENT_READ)
        _say_ready()
        while (left_ns := due_ns - clock.now_ns()) > 0:
            ready = {key.fd for key, _ in selector.select(left_ns / 1e9)}
            if 0 in ready:
                heard = os.read(0, 4096)
                *lines, told = (told + heard).split(b"\n")
                for words in (line.split() for line in lines):
                    if words == [b"done"]:
                        return None
                    if words[:1] == [b"until"]:
                        due_ns = int(words[1])
                if not heard:
                    return "the runner let go"
            elif runner in ready:
                return "the runner is gone"
    return "the lease ran out"


def _say_ready() -> None:
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    # Nobody reads us from here on, and a runner's reader must see our end of the pipe close.
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123 -- a descriptor is wanted
        os.dup2(nowhere.fileno(), 1)


def _mend(entry: Path, why: str) -> bool:
    pause_s = _FIRST_PAUSE_S
    for attempt in range(_TRIES):
        try:
            mend(entry, "watchdog", why)
        except FaultError:
            if attempt + 1 < _TRIES:
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        except FileNotFoundError:
            return True
        else:
            return True
    return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

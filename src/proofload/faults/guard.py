"""The runner's end of its watchdog: started before anything is broken, told when all is mended."""

from __future__ import annotations

import contextlib
import os
import selectors
import subprocess
import sys
from pathlib import Path

from proofload.faults.recipe import FaultError

_START_TIMEOUT_S = 30.0
_END_TIMEOUT_S = 10.0
_HANDED_OVER_TIMEOUT_S = 2.0


class Guard:
    """One running watchdog. All of it blocks for a moment: call it from a thread."""

    def __init__(self, entry: Path, due_ns: int) -> None:
        """Start the watchdog and return once it watches. Raises FaultError where it does not come up."""
        # -P: what lies in the folder that we stand in is not to be imported in place of our own modules.
        watching = [sys.executable, "-P", "-m", "proofload.faults.watchdog"]
        self._process = subprocess.Popen(
            [*watching, str(entry), str(os.getpid()), str(due_ns)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # what ends the runner's session or group is not to end this
        )
        if not self._is_ready():
            self._process.kill()
            self._process.communicate()
            raise FaultError("the watchdog process did not start; nothing was broken")

    @property
    def pid(self) -> int:
        """Return the watchdog's process id."""
        return self._process.pid

    def until(self, due_ns: int) -> None:
        """Tell when the lease has run out for certain, on the monotonic clock."""
        self._tell(f"until {due_ns}\n")

    def dismiss(self) -> None:
        """Tell that all is mended, and wait for the watchdog to end."""
        self._tell("done\n")
        self._let_go(_END_TIMEOUT_S)

    def hand_over(self) -> None:
        """Leave the mending to the watchdog, which goes on trying for a while when we could not."""
        self._let_go(_HANDED_OVER_TIMEOUT_S)

    def _is_ready(self) -> bool:
        output = self._process.stdout
        assert output is not None
        with selectors.DefaultSelector() as selector, output:
            selector.register(output, selectors.EVENT_READ)
            return bool(selector.select(_START_TIMEOUT_S)) and output.readline() == b"ready\n"

    def _tell(self, line: str) -> None:
        with contextlib.suppress(OSError):  # it may have mended and ended by itself
            os.write(self._stdin(), line.encode())

    def _stdin(self) -> int:
        assert self._process.stdin is not None
        return self._process.stdin.fileno()

    def _let_go(self, timeout_s: float) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            # It still mends, and ends by itself; we merely stop waiting for it.
            self._process.returncode = 0

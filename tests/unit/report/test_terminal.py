"""What a person sees, on a real pseudo-terminal of 80 and of 140 columns, with colour and without."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyte
import pytest

DEADLINE_S = 20


class Terminal:
    """A process in a pseudo-terminal, and what is on its screen."""

    def __init__(self, columns: int, lines: int, environ: dict[str, str]) -> None:
        self.screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self.screen)
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS", "LINES", "CI")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.unit.report.on_terminal"],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={
                **kept,
                "TERM": "xterm-256color",
                "PYTHONPATH": str(Path.cwd()),
                "PYTHONIOENCODING": "utf-8",
                **environ,
            },
            start_new_session=True,
        )
        os.close(slave)

    def read_until(self, part: str) -> list[str]:
        """Return the lines of the screen once `part` is on it."""
        until = time.monotonic() + DEADLINE_S
        while part not in "\n".join(self.screen.display):
            left = until - time.monotonic()
            ready, _, _ = select.select([self._master], [], [], max(0, left))
            assert ready, "\n".join(self.screen.display)
            self._stream.feed(os.read(self._master, 65_536))
        return [line.rstrip() for line in self.screen.display]

    def say(self, text: str) -> None:
        os.write(self._master, text.encode())

    def colours(self) -> set[str]:
        return {cell.fg for row in self.screen.buffer.values() for cell in row.values()}

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)


@contextmanager
def terminal(columns: int, **environ: str) -> Iterator[Terminal]:
    one = Terminal(columns, 60, environ)
    try:
        yield one
    finally:
        one.close()


@pytest.mark.parametrize("columns", [80, 140])
def test_the_live_view_and_the_verdicts_fit_the_terminal(columns: int) -> None:
    with terminal(columns) as one:
        lines = [line for line in one.read_until("in force") if line]
        assert lines[0].split()[0] == "TC-RL-001"
        assert lines[0].endswith("45s left")
        assert "failing, until the circuit opens" in lines[1]
        assert lines[1].endswith("1,200 requests")
        assert lines[2].split() == ["TC-LATENCY-001", "PASS"]
        assert "1 of 3 ended, 15s" in lines[3]
        assert lines[4].startswith("80/s of 80/s asked  2xx 1,110  5xx 90  p99 60")
        assert "▁" in lines[4]
        assert lines[4][-1] in "▁▂▃▄▅▆▇█"
        assert lines[5:] == ["in force: stop order"]
        one.say("\n")
        shown = one.read_until("proofload judge")
        assert not any("ended, 15s" in line for line in shown), "the live table is gone"
        text = "\n".join(shown)
        assert text.index("INCONCLUSIVE") < text.index("fail: 101 requests") < text.index("evidence  runs/")
        assert all(len(line) <= columns for line in shown)
        assert one.colours() > {"default"}


def test_without_colour_there_is_none() -> None:
    with terminal(80, NO_COLOR="1") as one:
        one.read_until("1 of 3 ended")
        one.say("\n")
        one.read_until("proofload judge")
        assert one.colours() == {"default"}

"""Switches that the supervisor throws and every worker sees at once: to measure what metrics and the audit log cost.

One byte for each in a file that all map into their memory; a look at it costs less than a tenth of a microsecond.
Outside of a supervised system (tests in one process) nothing can be switched off.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path

FILE = "ORDERSYSTEM_SWITCHES"
"""The variable that names the file."""
NAMES = ("metrics", "audit")


class Switch:
    """One switch. It is on until it is opened and thrown."""

    def __init__(self, name: str) -> None:
        self._place = NAMES.index(name)
        self._bytes: mmap.mmap | bytes = bytes(len(NAMES))

    def open(self) -> None:
        """Look at the file from now on, where there is one."""
        path = os.environ.get(FILE)
        if path:
            with Path(path).open("rb") as file:
                self._bytes = mmap.mmap(file.fileno(), len(NAMES), access=mmap.ACCESS_READ)

    @property
    def is_off(self) -> bool:
        """Return whether nothing is to be counted, or written, just now."""
        return self._bytes[self._place] != 0


METRICS = Switch("metrics")
AUDIT = Switch("audit")


def make(path: Path) -> None:
    """Make the file, with everything on."""
    path.write_bytes(bytes(len(NAMES)))


def throw(path: Path, name: str, *, off: bool) -> None:
    """Switch one of `NAMES` off or on again, in all workers."""
    with path.open("r+b") as file:
        file.seek(NAMES.index(name))
        file.write(b"\1" if off else b"\0")

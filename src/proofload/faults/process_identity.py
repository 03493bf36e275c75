"""Who a process is, beyond its number: numbers come again, a number with its start and its boot does not."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_START_TIME = 19  # counted from the field behind the name; field 22 in proc(5)


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """One process of one boot of this machine."""

    pid: int
    start_ticks: int
    boot: str

    @classmethod
    def own(cls) -> ProcessIdentity:
        """Return who we are."""
        return cls(os.getpid(), _start_ticks(os.getpid()) or 0, _boot())

    @classmethod
    def of_json(cls, told: Any) -> ProcessIdentity:
        """Return who was written down. Raises KeyError, TypeError or ValueError for anything else."""
        return cls(int(told["pid"]), int(told["start_ticks"]), str(told["boot"]))

    def to_json(self) -> dict[str, int | str]:
        """Return the identity as JSON-able data."""
        return {"pid": self.pid, "start_ticks": self.start_ticks, "boot": self.boot}

    def is_alive(self) -> bool:
        """Return whether this very process still runs."""
        return self.boot == _boot() and self.start_ticks == _start_ticks(self.pid)


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _start_ticks(pid: int) -> int | None:
    """Return when a process started, in ticks since boot; None for one that is gone or a mere zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name of a program may hold spaces and brackets: the last one closes it.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[_START_TIME])

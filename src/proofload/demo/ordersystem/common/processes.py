"""What the workers of a service take of the machine, read from /proc: one page shows all of them together."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

_PROC = Path("/proc")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")
_SIGN = "worker_"
# Places in /proc/PID/stat, counted from behind the name, which may itself hold blanks.
_PARENT, _USER_TICKS, _SYSTEM_TICKS = 1, 11, 12


def sign_in(folder: Path) -> None:
    """Leave word, for the page of any worker, that this process is one of the service's."""
    (folder / f"{_SIGN}{os.getpid()}").touch()


def signed_in(folder: Path) -> list[int]:
    """Return the workers that are alive. A number that the system gave to another process has another parent."""
    pids = [int(path.name.removeprefix(_SIGN)) for path in folder.glob(f"{_SIGN}*")]
    return [pid for pid in pids if (stat := _stat(pid)) and int(stat[_PARENT]) == os.getppid()]


def lines(pids: Iterable[int]) -> bytes:
    """Return the lines of a metrics page on these processes, by the names that Prometheus' clients use."""
    files = resident_bytes = 0
    cpu_s = 0.0
    for pid in pids:
        stat = _stat(pid)
        if not stat:
            continue
        try:
            files += sum(1 for _ in (_PROC / str(pid) / "fd").iterdir())
            resident_bytes += int((_PROC / str(pid) / "statm").read_text().split()[1]) * _PAGE_BYTES
        except OSError:
            continue  # it has just ended
        cpu_s += (int(stat[_USER_TICKS]) + int(stat[_SYSTEM_TICKS])) / _TICKS
    return (
        "# HELP process_open_fds Open files, sockets included.\n# TYPE process_open_fds gauge\n"
        f"process_open_fds {files}\n"
        "# HELP process_resident_memory_bytes Memory in use.\n# TYPE process_resident_memory_bytes gauge\n"
        f"process_resident_memory_bytes {resident_bytes}\n"
        "# HELP process_cpu_seconds_total CPU time of the workers that are alive.\n"
        "# TYPE process_cpu_seconds_total counter\n"
        f"process_cpu_seconds_total {cpu_s:.2f}\n"
    ).encode()


def _stat(pid: int) -> list[str]:
    try:
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []

"""Ten million exchanges over generator processes, kept while they are made: memory, size, and judging in one pass.

nginx has one core, the generators share the other. Memory is the peak of each generator's own pages (anonymous, not
those of row files, which the kernel may drop), read while the run goes on. Run: make bench
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _server import nginx

_MIB = 1 << 20
_MARKS = (0.1, 0.5, 0.95)
_EVERY_S = 0.2


def main() -> int:
    """Run, judge again, print figures and ratios; end with 1 where something did not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exchanges", type=int, default=10_000_000)
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="proofload-bench-") as name:
        folder, core = Path(name), max(os.sched_getaffinity(0))
        with nginx(folder, core) as server:
            return measure(folder / "kept", server.url, asked.exchanges, asked.processes, core)


def measure(kept: Path, url: str, exchanges: int, processes: int, server_core: int) -> int:
    """Drive, watch and judge; print what was seen."""
    ours = sorted(os.sched_getaffinity(0) - {server_core}) or [server_core]
    proofload = ["taskset", "-c", ",".join(map(str, ours)), sys.executable, "-m", "proofload"]
    load = ["load", url, "--users", "50", "-n", str(exchanges), "--for", "1h", "-p", str(processes), "--quiet"]
    began = time.monotonic()
    running = subprocess.Popen([*proofload, *load, "--keep", str(kept)])
    marks = watch(running, kept, exchanges)
    took_s = time.monotonic() - began
    if running.returncode:
        print(f"proofload load ended with {running.returncode}")
        return 1
    size = sum(path.stat().st_blocks * 512 for path in kept.rglob("*") if path.is_file())
    judged, told, judged_s, judged_bytes = judge([*proofload, "judge", str(kept), "--json"])
    print(f"{exchanges:,} exchanges by {processes} generators on one core: {took_s:.0f} s, {exchanges / took_s:,.0f}/s")
    for share, peak in marks.items():
        print(f"  largest generator at {share:.0%}: {peak / _MIB:.0f} MiB of its own")
    shares = list(marks.values())
    print(f"  memory at the end over that at the beginning: {shares[-1] / shares[0]:.2f} x")
    print(f"kept: {size / _MIB:,.0f} MiB, {size / exchanges:.0f} bytes an exchange")
    print(f"judged again in one pass, seals included: {judged_s:.1f} s, {judged_bytes / _MIB:.0f} MiB at the most")
    return 0 if judged in (0, 11) and f'"answered": {exchanges}' in told else 1


def judge(command: list[str]) -> tuple[int, str, float, int]:
    """Return the status, what was said, the seconds and the peak of memory of a command."""
    began = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as judging:
        assert judging.stdout is not None
        told = judging.stdout.read()
        _, status, used = os.wait4(judging.pid, 0)
        judging.returncode = os.waitstatus_to_exitcode(status)
    return judging.returncode, told, time.monotonic() - began, used.ru_maxrss * 1024


def watch(running: subprocess.Popen[bytes], kept: Path, exchanges: int) -> dict[float, int]:
    """Return the largest memory of any generator when these shares of the exchanges had been made."""
    marks: dict[float, int] = {}
    waiting = list(_MARKS)
    while running.poll() is None:
        chunks = sum(1 for _ in kept.rglob("rows-*.bin"))
        if waiting and chunks * 65_536 >= waiting[0] * exchanges:
            marks[waiting.pop(0)] = max((own_bytes(pid) for pid in children(running.pid)), default=0)
        time.sleep(_EVERY_S)
    return marks


def children(pid: int) -> list[int]:
    """Return the processes that `pid` started."""
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def own_bytes(pid: int) -> int:
    """Return how much anonymous memory a process holds."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon")), 0)


if __name__ == "__main__":
    sys.exit(main())

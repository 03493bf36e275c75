"""Puts controls that others wrote to the test, declared rightly and wrongly, and writes docs/strangers.md.

    tests/strangers/strangers.py [NAME or prefix …] [--jobs N] [--write]

A right declaration must PASS (or FAIL for a fault of the library's own that the catalogue names), a wrong one must not.
Exit status 0 where that is so.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent.parent))

from tests.strangers.catalogue import (  # noqa: E402 -- found by the line above
    BREAKERS,
    LIMIT,
    LIMITERS,
    OPEN_S,
    WINDOW_S,
    Breaker,
    Limiter,
)

OF_LIMITERS, OF_BREAKERS = ("TC-RL-001", "TC-RL-002"), ("TC-CB-001", "TC-CB-002")
_STARTS_WITHIN_S = 30
_TAKES_AT_MOST_S = 120
HOME = Path(os.environ.get("STRANGERS_HOME", HERE.parent.parent / "build" / "strangers"))
"""Where scripts/strangers.sh installed the packages: venv/ and node_modules/."""


@dataclass(frozen=True)
class Seen:
    """What one declaration of one control came to."""

    control: str
    version: str
    declared: str
    outcomes: dict[str, str]
    rules: tuple[str, ...]
    says: str

    @property
    def is_fine(self) -> bool:
        """Return whether a right declaration passed, or a wrong one was refuted by a FAIL."""
        told = set(self.outcomes.values()) - {"SKIPPED"}
        return told == {"PASS"} if self.declared == "right" else "FAIL" in told


Control = Limiter | Breaker


def command(control: Control, *numbers: int) -> list[str]:
    """Return the command that serves a control."""
    told, kind = [control.name, *map(str, numbers)], "limiters" if isinstance(control, Limiter) else "breakers"
    if control.ecosystem == "npm":
        return ["node", str(HOME / f"{kind}.mjs"), *told]
    return [str(HOME / "venv" / "bin" / "python"), str(HERE / "servers" / f"{kind}.py"), *told]


def version(control: Control) -> str:
    """Return the installed version of a control's package."""
    if control.ecosystem == "npm":
        return str(json.loads((HOME / "node_modules" / control.package / "package.json").read_text())["version"])
    code = f"from importlib.metadata import version; print(version({control.package!r}))"
    return subprocess.check_output([HOME / "venv" / "bin" / "python", "-c", code], text=True).strip()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def served(control: Control, declared: dict[str, Any], folder: Path) -> Iterator[dict[str, Any]]:
    """Serve a control on a free port of loopback, and yield the target that declares it so."""
    port, backend = _free_port(), _free_port()
    numbers = (LIMIT, WINDOW_S) if isinstance(control, Limiter) else (backend, OPEN_S)
    if isinstance(control, Breaker):
        subprocess.run([sys.executable, HERE / "servers" / "backend.py", "start", str(backend)], cwd=folder, check=True)
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(command(control, port, *numbers), stdout=log, stderr=subprocess.STDOUT, cwd=HOME)
    try:
        address = f"http://127.0.0.1:{port}"
        _wait(address, server, folder)
        yield _target(control, address, backend, declared)
    finally:
        server.terminate()
        server.wait(10)
        if isinstance(control, Breaker):
            subprocess.run([sys.executable, HERE / "servers" / "backend.py", "stop", str(backend)], cwd=folder)


def _target(control: Control, address: str, backend: int, declared: dict[str, Any]) -> dict[str, Any]:
    thing: dict[str, Any] = {"path": "/api/thing"}
    target: dict[str, Any] = {"version": 1, "name": control.name, "address": address, "operations": {"thing": thing}}
    if isinstance(control, Limiter):
        return {**target, "policies": {"rate_limit": [declared]}}
    thing |= {"service": "backend", "keep_body": True}
    control_it = [sys.executable, str(HERE / "servers" / "backend.py")]
    fault = {
        "driver": "command",
        "stop": [*control_it, "stop", str(backend)],
        "start": [*control_it, "start", str(backend)],
    }
    return {
        **target,
        "services": {"backend": {"health": f"http://127.0.0.1:{backend}/health"}},
        "faults": {"backend": fault},
        "policies": {"circuit_breaker": [declared]},
    }


def _wait(address: str, server: subprocess.Popen[bytes], folder: Path) -> None:
    until = time.monotonic() + _STARTS_WITHIN_S
    while True:
        try:
            urllib.request.urlopen(f"{address}/health", timeout=1).close()
            return
        except OSError:
            if server.poll() is not None or time.monotonic() > until:
                told = (folder / "server.log").read_text(errors="replace")[-2000:]
                raise RuntimeError(f"{address} is not there:\n{told}") from None
            time.sleep(0.05)


def put_to_the_test(control: Control, name: str, declared: dict[str, Any]) -> Seen:
    """Run the cases on a fresh server of a control under one declaration."""
    cases = OF_LIMITERS if isinstance(control, Limiter) else OF_BREAKERS
    with tempfile.TemporaryDirectory(prefix="stranger-") as place:
        folder = Path(place)
        with served(control, declared, folder) as target:
            (folder / "proofload.yaml").write_text(yaml.safe_dump(target))
            ran = subprocess.run(
                [sys.executable, "-m", "proofload", "run", *cases, "--json", "-q"],
                *(), cwd=folder, capture_output=True, text=True, timeout=_TAKES_AT_MOST_S,
            )  # fmt: skip
    verdicts = json.loads(ran.stdout)["verdicts"]
    worst = [
        (finding["rule"], finding["says"])
        for one in verdicts
        for finding in one["findings"]
        if finding["outcome"] == ("FAIL" if any(each["outcome"] == "FAIL" for each in verdicts) else "INCONCLUSIVE")
    ]
    reasons = [one["reason"] for one in verdicts if one.get("reason")]
    outcomes = {one["case"]: one["outcome"] for one in verdicts}
    says = worst[0][1] if worst else "; ".join(reasons)
    return Seen(control.name, version(control), name, outcomes, tuple(rule for rule, _ in worst), says)


def available() -> list[Control]:
    """Return the controls whose packages are installed here, and say loudly which are left out."""
    found = []
    for control in (*LIMITERS, *BREAKERS):
        there = (HOME / "venv").exists() if control.ecosystem == "PyPI" else (HOME / "node_modules").exists()
        if there and (control.ecosystem != "npm" or shutil.which("node")):
            found.append(control)
        else:
            print(f"LEFT OUT: {control.name}: {control.ecosystem} is not installed here", file=sys.stderr)
    return found


def main() -> int:
    """Run what was asked for and print a row for each declaration."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="names of controls, or how they begin")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--right", action="store_true", help="the right declarations only")
    parser.add_argument("--write", action="store_true", help="write docs/strangers.md")
    asked = parser.parse_args()
    tasks = [
        (control, declared, limit)
        for control in available()
        if not asked.names or any(control.name.startswith(name) for name in asked.names)
        for declared, limit in control.declarations()
        if declared == "right" or not asked.right
    ]
    rows: list[Seen] = []
    with ThreadPoolExecutor(asked.jobs) as pool:
        for seen in pool.map(lambda task: put_to_the_test(*task), tasks):
            rows.append(seen)
            mark = "ok" if seen.is_fine else "??"
            told = " ".join(seen.outcomes.values())
            print(f"{mark} {seen.control:28} {seen.declared:22} {told:24} {seen.says[:150]}", flush=True)
    if asked.write:
        (HERE.parent.parent / "docs" / "strangers.md").write_text(page(rows), encoding="utf-8")
    wrong = [one for one in rows if not one.is_fine]
    print(f"{len(rows) - len(wrong)} of {len(rows)} declarations were judged rightly")
    return 1 if wrong else 0


def page(rows: Sequence[Seen]) -> str:
    """Return docs/strangers.md."""
    fine = sum(one.is_fine for one in rows)
    lines = [
        "# Controls that others wrote",
        "",
        "Written by `make strangers ARGS=--write`: each control is served as its package ships it, and put to the test",
        "under a right declaration and under wrong ones. Limiters",
        f"({LIMIT} requests in {WINDOW_S} s) run TC-RL-001 and TC-RL-002; breakers TC-CB-001 and TC-CB-002, which is",
        "SKIPPED where the first did not pass. A right declaration must PASS, a wrong one must FAIL:",
        f"{fine} of {len(rows)} rows are so.",
        "",
        "| control | version | declared | first case | second case | what was said |",
        "|---|---|---|---|---|---|",
    ]
    for one in rows:
        first, second = (*one.outcomes.values(), "", "")[:2]
        said = one.says.replace("|", "/")[:160]
        lines.append(f"| {one.control} | {one.version} | {one.declared} | {first} | {second} | {said} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())

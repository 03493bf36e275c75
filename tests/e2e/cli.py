"""Runs the command line as people do: as a process of its own."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.forking import Forking

COMMAND = (sys.executable, "-m", "proofload")
_ATTEMPTS = 3


@dataclass(frozen=True)
class Result:
    """What a command left behind."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    def outcomes(self) -> dict[str, str]:
        return {one["case"]: one["outcome"] for one in self.json["verdicts"]}

    def rules(self, case: str, outcome: str = "FAIL") -> set[str]:
        (verdict,) = [one for one in self.json["verdicts"] if one["case"] == case]
        return {finding["rule"] for finding in verdict["findings"] if finding["outcome"] == outcome}


def environ() -> dict[str, str]:
    return {**os.environ, "NO_COLOR": "1", "COLUMNS": "80"}


def proofload(*arguments: str | Path, cwd: Path, timeout_s: float = 120) -> Result:
    words = [str(one) for one in arguments]
    if os.environ.get("PROOFLOAD_TESTS_FORK") == "0":
        done = subprocess.run(
            [*COMMAND, *words],
            cwd=cwd,
            env=environ(),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            stdin=subprocess.DEVNULL,
        )
        status, out, err = done.returncode, done.stdout, done.stderr
    else:
        status, out, err = _forking().run(words, cwd, environ(), timeout_s)
    assert "Traceback" not in err, err
    return Result(status, out, err)


@functools.cache
def _forking() -> Forking:
    return Forking()


def decided(*arguments: str | Path, cwd: Path, of: Collection[str] = (), timeout_s: float = 120) -> Result:
    """Run cases until none is INCONCLUSIVE, or none `of` these, three times at the most.

    On a busy machine an honest tool abstains now and then. What is looked for is what it says where it can tell.
    """
    for _ in range(_ATTEMPTS):
        ran = proofload(*arguments, cwd=cwd, timeout_s=timeout_s)
        outcomes = ran.outcomes()
        if all(outcomes.get(case) != "INCONCLUSIVE" for case in of or outcomes):
            break
    return ran


def start(*arguments: str | Path, cwd: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        cwd=cwd,
        env=environ(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    )


def wait_for_line(process: subprocess.Popen[str], part: str) -> list[str]:
    """Read the process's standard error until a line holds `part`; return the lines read."""
    assert process.stderr is not None
    lines: list[str] = []
    for line in process.stderr:
        lines.append(line)
        if part in line:
            return lines
    raise AssertionError(f"ended without saying {part!r}:\n{''.join(lines)}")


def processes_that_name(text: str) -> Sequence[str]:
    """Return the command lines of living processes that hold `text`."""
    found = []
    for place in Path("/proc").iterdir():
        if place.name.isdecimal():
            try:
                line = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
                state = (place / "stat").read_text().rsplit(")", 1)[1].split()[0]
            except (FileNotFoundError, ProcessLookupError):
                continue
            if text in line and state != "Z":
                found.append(line)
    return found

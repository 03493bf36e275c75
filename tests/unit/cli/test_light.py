"""Asking the command line for help loads no engine: a person waits for every import."""

import subprocess
import sys

HEAVY = {
    "polars",
    "numpy",
    "pydantic",
    "uvloop",
    "proofload.plan",
    "proofload.drive",
    "proofload.cases",
    "proofload.suite.runner",
}


def test_the_command_line_loads_what_is_heavy_only_for_those_who_need_it() -> None:
    code = f"import sys, proofload.cli.main; print(*sorted(set(sys.modules) & {HEAVY}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert loaded.stdout.split() == []

"""One audit defect of those that scripts/defects_in_loki.py runs: secrets in a log that can be read in Loki alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("loki")]


def test_a_password_in_a_log_that_only_loki_holds_is_seen() -> None:
    command = [sys.executable, "scripts/defects_in_loki.py", "audit.password_logged"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    lines = [line.split() for line in done.stdout.splitlines()]
    # The honest system first, then the broken one.
    assert lines == [
        ["honest", "TC-NEG-008", "PASS"],
        ["audit.password_logged", "TC-NEG-008", "FAIL", "audit.secret"],
    ], done.stdout + done.stderr
    assert done.returncode == 0

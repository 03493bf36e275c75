"""Runs of a real k6 against a real nginx, with a limit and without one, judged by its results alone."""

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib import resources
from pathlib import Path

import pytest
from tests.e2e.cli import Result, proofload
from tests.integration.gateways import servers

pytestmark = pytest.mark.xdist_group("k6")

_SCRIPT = """import http from 'k6/http';
export const options = { vus: 4, iterations: 160 };
export default function () { http.get(`${__ENV.ADDRESS}/api/read`); }
"""
Start = Callable[[Path], AbstractContextManager[str]]


def judge_run(start: Start, folder: Path, changes: dict[str, str] | None = None) -> Result:
    """Let k6 send to a server, and judge what it wrote."""
    (folder / "script.js").write_text(_SCRIPT, encoding="utf-8")
    with start(folder / "server") as address:
        text = (resources.files("proofload.plan.presets") / "nginx.yaml").read_text(encoding="utf-8")
        text = text.replace("${env:NGINX_ADDRESS}", address).replace("path: /api/", "path: /api/read")
        for old, new in (changes or {}).items():
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        (folder / "proofload.yaml").write_text(text, encoding="utf-8")
        k6 = [str(Path(sys.executable).parent / "k6"), "run", "--quiet", "--no-usage-report"]
        outputs = ["--out", "json=results.json", "--out", "csv=results.csv"]
        command = [*k6, "--env", f"ADDRESS={address}", *outputs, "script.js"]
        environ = {**os.environ, "K6_CSV_TIME_FORMAT": "unix_nano"}
        sent = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, env=environ)
        assert sent.returncode == 0, sent.stderr
    return proofload("judge", "--k6", "results.json", "--target", "proofload.yaml", "--json", cwd=folder)


def test_an_honest_limiter_is_not_accused(tmp_path: Path) -> None:
    ran = judge_run(servers.nginx, tmp_path)
    assert ran.status in (0, 11), ran.out
    assert ran.outcomes()["K6-DELIVERY"] == "PASS"
    assert "rl.over_admission" in ran.rules("K6-RATE-LIMIT", "PASS")


def test_no_limiter_fails(tmp_path: Path) -> None:
    ran = judge_run(servers.upstream, tmp_path)
    assert ran.status == 10, ran.out
    assert "rl.over_admission" in ran.rules("K6-RATE-LIMIT")


def test_the_same_run_as_csv_has_the_same_verdicts(tmp_path: Path) -> None:
    as_json = judge_run(servers.nginx, tmp_path)
    as_csv = proofload("judge", "--k6", "results.csv", "--target", "proofload.yaml", "--json", cwd=tmp_path)
    assert as_csv.status == as_json.status, as_csv.out
    assert as_csv.outcomes() == as_json.outcomes()
    assert as_csv.rules("K6-RATE-LIMIT", "PASS") == as_json.rules("K6-RATE-LIMIT", "PASS")


def test_a_limit_declared_half_as_high_fails(tmp_path: Path) -> None:
    ran = judge_run(servers.nginx, tmp_path, {"burst: 21": "burst: 10"})
    assert ran.status == 10, ran.out
    assert "rl.over_admission" in ran.rules("K6-RATE-LIMIT")


def test_options_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    assert proofload("judge", cwd=tmp_path).status == 12
    assert proofload("judge", "runs/x", "--k6", "results.json", cwd=tmp_path).status == 12

"""`proofload demo` on the real reference system: honest, broken, interrupted, killed."""

import signal
import time
from pathlib import Path

import pytest

from tests.e2e.cli import decided, processes_that_name, proofload, start, wait_for_line

WINDOW = ("--window", "3s")


def bundle_of(folder: Path) -> Path:
    (bundle,) = (folder / "runs").iterdir()
    return bundle


def test_the_honest_system_passes_and_its_bundle_judges_to_the_same_bytes(tmp_path: Path) -> None:
    ran = decided(
        "demo", "TC-RL-001", "TC-RL-002", *WINDOW, "--json", "--junit", "junit.xml", "--seed", "7", cwd=tmp_path
    )
    assert ran.status == 0, ran.out
    assert ran.outcomes() == {"TC-RL-001": "PASS", "TC-RL-002": "PASS"}
    assert ran.json["seed"] == 7
    assert 'tests="2" failures="0" errors="0" skipped="0"' in (tmp_path / "junit.xml").read_text()
    bundle = tmp_path / ran.json["bundle"]
    before = (bundle / "verdicts.json").read_bytes()
    again = proofload("judge", bundle, "--json", cwd=tmp_path)
    assert again.status == 0
    twice = proofload("judge", bundle, "--json", cwd=tmp_path)
    assert again.out == twice.out
    assert again.json["verdicts"] == twice.json["verdicts"]
    findings = {one["case"]: one["findings"] for one in ran.json["verdicts"]}
    assert findings == {one["case"]: one["findings"] for one in again.json["verdicts"]}
    assert (bundle / "verdicts.json").read_bytes() == before

    changed = bundle / "history" / "TC-RL-001.parquet"
    content = bytearray(changed.read_bytes())
    content[len(content) // 2] ^= 1
    changed.write_bytes(content)
    refused = proofload("judge", bundle, cwd=tmp_path)
    assert refused.status == 13
    assert "history/TC-RL-001.parquet: changed" in refused.err
    assert "password" not in (bundle / "plan.json").read_text().replace('"${user.password}"', "").replace(
        '"password"', ""
    )


def test_one_admitted_too_many_fails_and_is_named(tmp_path: Path) -> None:
    ran = decided("demo", "TC-RL-001", "TC-RL-002", *WINDOW, "--defect", "rl.limit_plus_one", "--json", cwd=tmp_path)
    assert ran.status == 10
    assert ran.outcomes() == {"TC-RL-001": "FAIL", "TC-RL-002": "PASS"}
    assert ran.rules("TC-RL-001") == {"rl.over_admission"}
    assert "the 101st admitted request is row" in ran.out


def test_lost_headers_fail_and_leave_enforcement_alone(tmp_path: Path) -> None:
    ran = decided(
        "demo", "TC-RL-001", "TC-RL-002", *WINDOW, "--defect", "rl.headers_lost_on_proxied", "--json", cwd=tmp_path
    )
    assert ran.status == 10
    assert ran.outcomes() == {"TC-RL-001": "PASS", "TC-RL-002": "FAIL"}
    assert ran.rules("TC-RL-002") == {"rl.header_missing"}


def test_metrics_audit_log_and_latency_of_the_honest_system_pass(tmp_path: Path) -> None:
    ran = decided("demo", "TC-MON-001", "TC-AUDIT-001", "TC-LATENCY-001", "--json", cwd=tmp_path)
    assert ran.outcomes() == {"TC-MON-001": "PASS", "TC-AUDIT-001": "PASS", "TC-LATENCY-001": "PASS"}, ran.out
    assert ran.status == 0
    told = {
        finding["figures"].get("of")
        for finding in ran.json["verdicts"][2]["findings"]
        if finding["rule"] == "lat.percentiles" and "p99_ns" in finding["figures"]
    }
    assert {"login", "deposit", "order", "service auth", "service user", "service order"} <= told


def test_ctrl_c_leaves_a_readable_bundle_and_no_process(tmp_path: Path) -> None:
    process = start("demo", "TC-RL-001", "TC-RL-002", "--window", "60s", cwd=tmp_path)
    wait_for_line(process, "retrying")
    folder = _demo_folder(process.pid)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "INCONCLUSIVE" in out
    assert "interrupted by SIGINT" in out
    assert processes_that_name(folder) == []
    assert not Path(folder).exists()
    judged = proofload("judge", bundle_of(tmp_path), cwd=tmp_path)
    assert judged.status == 11
    assert "TC-RL-001  INCONCLUSIVE" in judged.out


def test_kill_9_leaves_no_process_of_the_reference_system(tmp_path: Path) -> None:
    process = start("demo", "TC-RL-001", "TC-RL-002", "--window", "60s", cwd=tmp_path)
    wait_for_line(process, "retrying")
    folder = _demo_folder(process.pid)
    assert processes_that_name(folder), "the reference system was running"
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 15
    while left := processes_that_name(folder):
        assert time.monotonic() < deadline, left
        process.poll()


@pytest.mark.parametrize("words", [["nope"], ["TC-XX-001", "TC-RL-001"]])
def test_a_case_that_is_none_is_said_and_nothing_starts(tmp_path: Path, words: list[str]) -> None:
    ran = proofload("demo", *words, cwd=tmp_path)
    assert ran.status == 12
    assert f"case: got '{words[0]}', expected the id of a case" in ran.err
    assert not (tmp_path / "runs").exists()


def _demo_folder(pid: int) -> str:
    """Return the temporary folder of a running demo, from the command line of the supervisor that it started."""
    for line in processes_that_name("ordersystem up"):
        words = line.split()
        folder = words[words.index("--dir") + 1]
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if any(folder.encode() in Path(f"/proc/{child}/cmdline").read_bytes() for child in children):
            return folder
    raise AssertionError("the demo has no supervisor")

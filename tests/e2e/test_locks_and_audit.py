"""Locks after failures, audit logs past a kill and journeys of users, on the real reference system."""

from pathlib import Path

import pytest

from tests.e2e.cli import decided, proofload

pytestmark = pytest.mark.slow

BROKEN = {
    "lock.not_released_on_error": "TC-LOCK-002",
    "lock.idempotency_ignored": "TC-LOCK-004",
    "audit.written_before_outcome": "TC-AUDIT-002",
    "audit.lost_on_kill": "TC-AUDIT-003",
    "lat.serialized_by_lock": "TC-LATENCY-004",
}
ALL = (*BROKEN.values(), "TC-LOCK-003", "TC-LOCK-005", "TC-AUDIT-004", "TC-E2E-001", "TC-E2E-002")


def test_the_honest_system_is_never_accused(tmp_path: Path) -> None:
    ran = proofload("demo", *ALL, "--window", "5s", "--json", cwd=tmp_path, timeout_s=180)
    told = ran.outcomes()
    assert set(told) == set(ALL)
    assert "FAIL" not in told.values(), ran.out
    assert "ERROR" not in told.values(), ran.out
    assert sum(outcome == "PASS" for outcome in told.values()) >= len(told) - 3, told


def test_each_defect_fails_its_own_case(tmp_path: Path) -> None:
    defects = [word for defect in BROKEN for word in ("--defect", defect)]
    ran = proofload("demo", *BROKEN.values(), *defects, "--window", "5s", "--json", cwd=tmp_path, timeout_s=180)
    told = ran.outcomes()
    assert "PASS" not in told.values(), told
    runs = dict.fromkeys(told, ran)
    for defect, case in BROKEN.items():
        if told[case] == "INCONCLUSIVE":
            # Five defects at once on a slow machine: this one may need the system for itself.
            runs[case] = decided("demo", case, "--defect", defect, "--window", "5s", "--json", cwd=tmp_path)
    assert {case: run.outcomes()[case] for case, run in runs.items()} == dict.fromkeys(BROKEN.values(), "FAIL")
    assert runs["TC-LOCK-002"].rules("TC-LOCK-002") == {"lock.not_released"}
    assert runs["TC-LOCK-004"].rules("TC-LOCK-004") == {"lock.idempotency_ignored"}
    assert "audit.phantom" in runs["TC-AUDIT-002"].rules("TC-AUDIT-002")
    assert runs["TC-AUDIT-003"].rules("TC-AUDIT-003") == {"audit.missing"}
    assert runs["TC-LATENCY-004"].rules("TC-LATENCY-004") == {"lat.serialized_by_lock"}


def test_refusals_that_are_not_counted_fail_their_case(tmp_path: Path) -> None:
    broken = ("--defect", "lock.contention_not_counted", "--window", "3s", "--json")
    ran = decided("demo", "TC-LOCK-005", *broken, cwd=tmp_path)
    assert ran.rules("TC-LOCK-005") == {"lock.contention_miscounted"}

"""The cases of resilience on the real reference system, side by side, honest and with a defect."""

from pathlib import Path

import pytest

from tests.e2e.cli import decided

STEADY = ("TC-RES-002", "TC-RES-004", "TC-INT-008")
TIMED = ("TC-RES-001", "TC-CB-003")
"""On a machine that has other things to do as well, these may abstain; accuse they may not."""


@pytest.mark.slow
def test_the_honest_system_is_accused_of_nothing(tmp_path: Path) -> None:
    ran = decided("demo", *STEADY, *TIMED, "--window", "3s", "--json", of=STEADY, cwd=tmp_path, timeout_s=240)
    outcomes = ran.outcomes()
    assert {case: outcomes[case] for case in STEADY} == dict.fromkeys(STEADY, "PASS"), ran.out
    assert {outcomes[case] for case in TIMED} <= {"PASS", "INCONCLUSIVE"}, ran.out


def test_a_half_order_is_caught(tmp_path: Path) -> None:
    ran = decided("demo", "TC-RES-004", "--window", "3s", "--defect", "res.partial_order", "--json", cwd=tmp_path)
    assert ran.outcomes() == {"TC-RES-004": "FAIL"}, ran.out
    assert ran.rules("TC-RES-004") == {"res.partial_order"}

"""Controls beside each other on the real reference system: honest, and with a defect that only shows between two."""

from pathlib import Path

from tests.e2e.cli import decided, proofload

EVERY = [f"TC-INT-00{number}" for number in range(1, 8)]


def test_the_honest_system_passes_every_one(tmp_path: Path) -> None:
    ran = proofload("demo", *EVERY, "--window", "4s", "--json", cwd=tmp_path)
    assert set(ran.outcomes()) >= set(EVERY)
    assert "FAIL" not in ran.outcomes().values(), ran.out
    assert "ERROR" not in ran.outcomes().values(), ran.out


def test_a_limiter_that_opens_without_its_store_is_caught(tmp_path: Path) -> None:
    ran = decided("demo", "TC-INT-006", "--window", "4s", "--defect", "rl.fail_open", "--json", cwd=tmp_path)
    assert ran.status == 10, ran.out
    assert ran.rules("TC-INT-006") == {"rl.fail_open"}

"""Choosing cases, repeating them and ending at the first FAIL, on the real reference system."""

import json
from collections import Counter
from pathlib import Path

from tests.e2e.cli import proofload


def test_repeated_runs_end_at_the_first_fail_and_say_how_many_passed(tmp_path: Path) -> None:
    ran = proofload(
        *("demo", "TC-RL-001", "--window", "1s", "--repeat", "2", "--seed", "5", "--json", "--junit", "junit.xml"),
        cwd=tmp_path,
    )
    # On a busy machine a window of a second may be over before its case has seen all it must: no PASS, and no FAIL.
    outcomes = [one["outcome"] for run in ran.json["runs"] for one in run["verdicts"]]
    assert set(outcomes) <= {"PASS", "INCONCLUSIVE"}
    assert ran.status == (0 if outcomes == ["PASS"] * 2 else 11)
    assert ran.json["tally"] == {"TC-RL-001": dict(Counter(outcomes))}
    assert [run["seed"] for run in ran.json["runs"]] == [5, 6]
    assert f"run 2 of 2: 1 {outcomes[1]}" in ran.err
    assert (tmp_path / "junit.xml").read_text().count("<testsuite ") == 2
    assert all("not the true 60s" in run["notes"][0] for run in ran.json["runs"])
    bundle = Path(ran.json["runs"][0]["bundle"])
    again = proofload("judge", bundle, "--json", cwd=tmp_path)
    assert again.json["notes"] == ran.json["runs"][0]["notes"]


def test_the_first_fail_ends_the_run_in_order(tmp_path: Path) -> None:
    ran = proofload(
        *("demo", "TC-RL-001", "TC-CB-002", "--window", "20s", "--defect", "cb.never_opens"),
        *("--fail-fast", "--repeat", "3", "--json"),
        cwd=tmp_path,
    )
    assert ran.status == 10
    assert ran.outcomes() == {"TC-RL-001": "INCONCLUSIVE", "TC-CB-001": "FAIL", "TC-CB-002": "SKIPPED"}
    reasons = {one["case"]: one["reason"] for one in ran.json["verdicts"]}
    assert reasons["TC-RL-001"] == "ended by --fail-fast: TC-CB-001 was FAIL"


def test_the_catalogue_can_be_listed_narrowed_and_read_by_machines(tmp_path: Path) -> None:
    listed = json.loads(proofload("cases", "--category", "lock", "--json", cwd=tmp_path).out)
    assert {case["category"] for case in listed["cases"]} == {"lock"}
    people = proofload("cases", "--phase", "3", cwd=tmp_path)
    assert "* TC-CB-001" in people.out
    assert "TC-RL-001" not in people.out
    wrong = proofload("run", "--category", "lok", "--skip", "TC-X", cwd=tmp_path)
    assert wrong.status == 12
    assert "did you mean lock?" in wrong.err
    assert "--skip: got 'TC-X'" in wrong.err

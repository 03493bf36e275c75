"""docs/wider-plan.md names every case of the wider plan once, and no case that does not exist."""

import re
from pathlib import Path

from proofload.suite.catalogue import CATALOGUE

TABLE = Path(__file__).parents[3] / "docs" / "wider-plan.md"
ROWS = re.findall(
    r"^\| (TC-[A-Z0-9]+-\d{3}) \| ([^|]+) \| ([^|]+) \|$", TABLE.read_text(encoding="utf-8"), re.MULTILINE
)
COUNTS = {"RL": 4, "CB": 4, "MON": 4, "AUDIT": 10, "RES": 3, "LATENCY": 5, "E2E": 2}


def test_each_case_of_the_plan_is_answered_once() -> None:
    wanted = [f"TC-{name}-{number:03}" for name, count in COUNTS.items() for number in range(1, count + 1)]
    assert [one for one, _, _ in ROWS] == wanted


def test_every_answer_is_in_the_catalogue() -> None:
    named = {(wider, one) for wider, _, here in ROWS for one in re.findall(r"TC-[A-Z0-9]+-\d{3}", here)}
    assert named
    assert {pair for pair in named if pair[1] not in CATALOGUE} == set()
    assert all("none yet" in here or "TC-" in here for _, _, here in ROWS)

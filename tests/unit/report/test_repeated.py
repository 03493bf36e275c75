"""Several runs of the same cases, told together."""

import io
import json

from rich.console import Console

from proofload.judge.verdict import Outcome, Verdict
from proofload.report import repeated
from proofload.report.junit import to_junit
from proofload.report.result import CaseInfo, RunResult


def result(number: int, *outcomes: Outcome) -> RunResult:
    verdicts = tuple(Verdict(f"TC-{i}", outcome, (), f"reason {number}") for i, outcome in enumerate(outcomes))
    cases = {one.case: CaseInfo("a title", "lock", "HIGH") for one in verdicts}
    return RunResult(verdicts, cases, "shop", f"runs/{number}", "0", 0, seed=number)


RUNS = [
    result(1, Outcome.PASS, Outcome.PASS),
    result(2, Outcome.PASS, Outcome.FAIL),
    result(3, Outcome.PASS, Outcome.INCONCLUSIVE),
]


def shown() -> str:
    file = io.StringIO()
    repeated.show(RUNS, Console(file=file, width=80))
    return file.getvalue()


def test_how_many_passed_stands_first_and_the_worst_is_told() -> None:
    lines = shown().splitlines()
    assert lines[0] == "TC-0    3 of 3 passed"
    assert lines[1] == "TC-1    1 of 3 passed   1 FAIL   1 INCONCLUSIVE"
    assert lines[3] == "run 2: TC-1  a title"
    assert "reason 2" in lines[4]
    assert "run 3  runs/3  seed 3" in lines


def test_machines_get_the_tally_and_every_run() -> None:
    content = json.loads(repeated.to_json(RUNS))
    assert content["schema_version"] == 1
    assert content["repeats"] == 3
    assert content["tally"]["TC-1"] == {"PASS": 1, "FAIL": 1, "INCONCLUSIVE": 1}
    assert [run["bundle"] for run in content["runs"]] == ["runs/1", "runs/2", "runs/3"]


def test_junit_has_a_suite_for_each_run() -> None:
    text = to_junit(*RUNS)
    assert text.count("<testsuite ") == 3
    assert 'name="proofload shop run 2" tests="2" failures="1"' in text

"""Markdown for a pull request: right tables, nothing of a target's text becomes a link, a mention or markup."""

from dataclasses import replace

from tests.golden.report.results import EMPTY, RESULT

from proofload.judge.verdict import Finding, Outcome, Verdict
from proofload.report.markdown import to_markdown
from proofload.report.result import CaseInfo, RunResult


def test_every_verdict_is_a_line_of_the_table_and_every_fail_is_open() -> None:
    told = to_markdown(RESULT)
    lines = [line for line in told.splitlines() if line.startswith("| ") and "case" not in line.split("|")[2]]
    assert len(lines) == len(RESULT.verdicts)
    assert told.count("<details open>") == 1
    assert "seed 2826825936" in told


def test_what_a_target_says_is_no_markup() -> None:
    evil = "a|b ``` @all [x](http://y) <img src=x> #1\n| c |"
    finding = Finding("rl.x", Outcome.FAIL, evil, shown=("```", "````"))
    info = CaseInfo(evil, "", "")
    result = RunResult((Verdict.of("TC-A", [finding]),), {"TC-A": info}, evil, "runs/x", "0", 10, notes=(evil,))
    told = to_markdown(result)
    table = [line for line in told.splitlines() if line.startswith("| ❌")]
    assert len(table) == 1
    assert table[0].replace("\\|", "").count("|") == 6
    before, _, folded = told.partition("<details")
    assert "<img" not in before
    assert "\\@all" in before
    assert "[x]" not in before
    # The fence is longer than any inside.
    assert "`````text" in folded


def test_it_fits_a_comment() -> None:
    finding = Finding("rl.x", Outcome.FAIL, "no", shown=("x" * 1_900,) * 60)
    verdicts = tuple(Verdict.of(f"TC-{i}", [finding]) for i in range(5))
    cases = {one.case: CaseInfo("", "", "") for one in verdicts}
    told = to_markdown(replace(EMPTY, verdicts=verdicts, cases=cases))
    assert len(told) < 65_536
    assert "More than fits here" in told

"""One result, in every form: right, and safe whatever the target wrote into it."""

from __future__ import annotations

import io
import json
import re
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from proofload.judge.verdict import Finding, Outcome, Verdict, held
from proofload.report import terminal
from proofload.report.as_json import to_json
from proofload.report.junit import to_junit
from proofload.report.result import CaseInfo, RunResult

BROKEN = Finding(
    "rl.over_admission",
    Outcome.FAIL,
    "101 requests were admitted, 100 are allowed",
    105,
    101,
    (0, 100),
    ("row 0: sent at +0s", "row 100: sent at +251ms"),
    "where the count is compared",
    {"keys": 1},
)


def result(*verdicts: Verdict) -> RunResult:
    info = {one.case: CaseInfo(f"title of {one.case}", "rate limit", "HIGH", 1_500_000_000) for one in verdicts}
    return RunResult(verdicts, info, "shop", "runs/one", "0.1.0", 10, seed=7, began_wall_ns=1_790_000_000_000_000_000)


ALL = result(
    Verdict.of("TC-A-001", [held("a.rule", "fine", examined=1_000)]),
    Verdict.of("TC-B-001", [BROKEN, held("b.rule", "fine", examined=3)]),
    Verdict.of("TC-C-001", [held("c.rule", "too little", examined=1, needed=2)]),
    Verdict("TC-D-001", Outcome.SKIPPED, (), "the target declares no lock"),
    Verdict("TC-E-001", Outcome.ERROR, (), "the log could not be read"),
)


def shown(one: RunResult, *, in_terminal: bool, width: int = 80) -> str:
    console = Console(file=io.StringIO(), force_terminal=in_terminal, width=width, no_color=True, highlight=False)
    terminal.show(one, console)
    assert isinstance(console.file, io.StringIO)
    # Without colour there is still bold and dim.
    return re.sub(r"\x1b\[[0-9;]*m", "", console.file.getvalue())


def test_the_pipe_gets_one_aligned_line_for_each_case_and_every_counterexample() -> None:
    lines = shown(ALL, in_terminal=False).splitlines()
    assert lines[0] == "TC-A-001  PASS          title of TC-A-001: 1 rule held over 1,000 observations  (1.5s)"
    assert lines[3].startswith("TC-D-001  SKIPPED       title of TC-D-001: the target declares no lock")
    assert "  fail: 101 requests were admitted, 100 are allowed  [rl.over_admission]" in lines
    assert "      row 100: sent at +251ms" in lines
    assert "1 ERROR, 1 FAIL, 1 INCONCLUSIVE, 1 PASS, 1 SKIPPED" in lines
    assert lines[-1] == "again     proofload judge runs/one"


def test_the_terminal_fits_into_80_columns_without_colour() -> None:
    text = shown(ALL, in_terminal=True)
    assert max(len(line) for line in text.splitlines()) <= 80
    for part in ("TC-B-001", "FAIL", "101 requests were admitted", "look at: where the count is compared", "1 PASS"):
        assert part in text


def test_json_says_everything_and_its_version() -> None:
    content = json.loads(to_json(ALL))
    assert content["schema_version"] == 1
    assert [one["outcome"] for one in content["verdicts"]] == ["PASS", "FAIL", "INCONCLUSIVE", "SKIPPED", "ERROR"]
    (broken, _) = content["verdicts"][1]["findings"]
    assert broken["rows"] == [0, 100]
    assert broken["figures"] == {"keys": 1}


def test_junit_tells_failures_from_errors_and_skips() -> None:
    suite = ElementTree.fromstring(to_junit(ALL)).find("testsuite")
    assert suite is not None
    assert [suite.get(name) for name in ("tests", "failures", "errors", "skipped")] == ["5", "1", "2", "1"]
    kinds = [[child.tag for child in case] for case in suite.findall("testcase")]
    assert kinds == [[], ["failure"], ["error"], ["skipped"], ["error"]]
    failure = suite.find("testcase/failure")
    assert failure is not None
    assert "row 100" in str(failure.text)


def test_an_empty_run_says_that_nothing_is_proven() -> None:
    assert "nothing is proven" in shown(result(), in_terminal=False)


@given(st.text(), st.text())
def test_no_text_of_a_target_breaks_a_form(says: str, line: str) -> None:
    one = result(Verdict.of("TC-X-001", [Finding("x.y", Outcome.FAIL, says, shown=(line,), look_at=line)]))
    for text in (shown(one, in_terminal=False), shown(one, in_terminal=True)):
        assert not any(ord(sign) < 32 or 127 <= ord(sign) < 160 for sign in text.replace("\n", ""))
    assert json.loads(to_json(one))["verdicts"][0]["findings"][0]["says"] == says
    ElementTree.fromstring(to_junit(one))


def test_markup_in_a_text_stays_text() -> None:
    one = result(Verdict.of("TC-X-001", [Finding("x.y", Outcome.FAIL, "[bold red]oh[/] [link=http://x]y[/link]")]))
    assert "[bold red]oh[/] [link=http://x]y[/link]" in shown(one, in_terminal=False)

"""Whatever a server made a finding say, each form of the report stays what it is."""

import io
import json
from xml.etree import ElementTree

import jsonschema_rs
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from proofload.judge.verdict import Finding, Outcome, Verdict
from proofload.report import terminal
from proofload.report.as_json import to_json
from proofload.report.junit import to_junit
from proofload.report.result import CaseInfo, RunResult
from proofload.report.schema import result_schema

WIDTH = 80
CLOSING = ("evidence", "note", "seed", "again")
VALID = jsonschema_rs.validator_for(result_schema())

NASTY = st.sampled_from(
    [
        *(
            "\x1b[31m",
            "\x1b]0;title\x07",
            "[bold]",
            "[/]",
            "[link=http://x]",
            "\r",
            "\n",
            "\x00",
            "]]>",
            "<a>",
            "&",
            '"',
        ),
        *(
            "\u202e",
            "\ud800",
            "\ufffe",
            "\U000e0041",
            "漢字",
            "\u200b",
            "\x85",
            "x" * 300,
            "{0}",
            "%s",
            "\t",
            "\x9b31m",
        ),
        *("🙂", "e\u0301"),
    ]
)
TEXTS = st.lists(st.text(max_size=20) | NASTY, max_size=6).map("".join) | st.text(st.characters(), max_size=40)
FIGURES = st.dictionaries(TEXTS, st.integers() | st.floats() | TEXTS, max_size=3)
FINDINGS = st.builds(
    Finding,
    rule=TEXTS,
    outcome=st.sampled_from(list(Outcome)),
    says=TEXTS,
    examined=st.integers(0, 10**9),
    needed=st.integers(0, 10**9),
    rows=st.lists(st.integers(0, 10**9), max_size=3).map(tuple),
    shown=st.lists(TEXTS, max_size=3).map(tuple),
    look_at=TEXTS,
    figures=FIGURES,
)
VERDICTS = st.builds(
    Verdict,
    case=st.just("?"),
    outcome=st.sampled_from(list(Outcome)),
    findings=st.lists(FINDINGS, max_size=3).map(tuple),
    reason=TEXTS,
)
INFOS = st.builds(CaseInfo, title=TEXTS, category=TEXTS, priority=TEXTS, took_ns=st.integers(0, 10**13))


@st.composite
def results(draw: st.DrawFn) -> RunResult:
    told = draw(st.lists(st.tuples(VERDICTS, INFOS), max_size=3))
    ids = [f"TC-X-{i:03}" for i in range(len(told))]
    return RunResult(
        tuple(Verdict(case, one.outcome, one.findings, one.reason) for case, (one, _) in zip(ids, told, strict=True)),
        dict(zip(ids, (info for _, info in told), strict=True)),
        draw(TEXTS),
        draw(TEXTS),
        "0.1.0",
        draw(st.sampled_from([0, 10, 11, 13, 130])),
        draw(st.none() | st.integers(0, 2**64)),
        draw(st.none() | st.integers(1, 4 * 10**18)),
        tuple(draw(st.lists(TEXTS, max_size=2))),
    )


def printed(result: RunResult, *, is_terminal: bool) -> str:
    console = Console(
        file=io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline=""),
        force_terminal=is_terminal,
        width=WIDTH,
        color_system=None,
        legacy_windows=False,
        _environ={"TERM": "xterm"},
    )
    terminal.show(result, console)
    console.file.flush()
    return console.file.buffer.getvalue().decode()  # type: ignore[attr-defined]


@given(results())
@settings(max_examples=60)
def test_a_terminal_gets_nothing_but_text_in_its_width(result: RunResult) -> None:
    lines = printed(result, is_terminal=True).split("\n")
    assert all(line.isprintable() for line in lines)
    body = [line for line in lines if not line.startswith(CLOSING)]
    assert [line for line in body if cell_len(line) > WIDTH and not line.startswith("TC-X-")] == []


@given(results())
@settings(max_examples=60)
def test_a_pipe_gets_a_line_for_each_case(result: RunResult) -> None:
    lines = printed(result, is_terminal=False).split("\n")
    assert all(line.isprintable() for line in lines)
    for verdict, line in zip(result.verdicts, lines, strict=False):
        assert line.startswith(f"{verdict.case}  {verdict.outcome.name}")


@given(results())
@settings(max_examples=60)
def test_json_is_json_and_fits_its_schema(result: RunResult) -> None:
    text = to_json(result)
    assert text.isascii()
    content = json.loads(text, parse_constant=AssertionError)
    assert [error.message for error in VALID.iter_errors(content)] == []
    assert [one["outcome"] for one in content["verdicts"]] == [one.outcome.name for one in result.verdicts]
    assert to_json(result) == text


@given(results())
@settings(max_examples=60)
def test_junit_is_xml_and_counts_right(result: RunResult) -> None:
    text = to_junit(result)
    root = ElementTree.fromstring(text.encode())
    (suite,) = root
    outcomes = [one.outcome for one in result.verdicts]
    assert suite.get("tests") == str(len(outcomes)) == str(len(suite))
    assert suite.get("failures") == str(outcomes.count(Outcome.FAIL)) == str(len(suite.findall("*/failure")))
    bad = outcomes.count(Outcome.ERROR) + outcomes.count(Outcome.INCONCLUSIVE)
    assert suite.get("errors") == str(bad) == str(len(suite.findall("*/error")))
    assert suite.get("skipped") == str(outcomes.count(Outcome.SKIPPED)) == str(len(suite.findall("*/skipped")))
    for case, outcome in zip(suite, outcomes, strict=True):
        assert (outcome is Outcome.PASS) == (len(case) == 0)

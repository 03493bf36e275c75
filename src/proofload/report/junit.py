"""The report for CI: JUnit XML. FAIL is a failure, INCONCLUSIVE and ERROR are errors, SKIPPED is skipped."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from xml.etree import ElementTree

from proofload.judge.verdict import Outcome, Verdict
from proofload.report import view
from proofload.report.result import RunResult

_ELEMENT = {Outcome.FAIL: "failure", Outcome.INCONCLUSIVE: "error", Outcome.ERROR: "error", Outcome.SKIPPED: "skipped"}
_ILLEGAL = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def to_junit(*results: RunResult) -> str:
    """Return the results as a JUnit XML document, a test suite for each run."""
    root = ElementTree.Element("testsuites")
    for number, result in enumerate(results, 1):
        root.append(_suite(result, f" run {number}" if len(results) > 1 else ""))
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _suite(result: RunResult, which: str) -> ElementTree.Element:
    told = {block.case: block.lines for block in view.blocks(result)}
    kinds = [_ELEMENT.get(verdict.outcome, "") for verdict in result.verdicts]
    suite = ElementTree.Element(
        "testsuite",
        name=_legal(f"proofload {result.target}{which}"),
        tests=str(len(kinds)),
        failures=str(kinds.count("failure")),
        errors=str(kinds.count("error")),
        skipped=str(kinds.count("skipped")),
        time=_seconds(sum(info.took_ns for info in result.cases.values())),
    )
    if result.began_wall_ns:
        suite.set("timestamp", datetime.fromtimestamp(result.began_wall_ns / 1e9, UTC).isoformat(timespec="seconds"))
    for verdict in result.verdicts:
        _add(suite, result, verdict, told.get(verdict.case, ()))
    return suite


def _add(suite: ElementTree.Element, result: RunResult, verdict: Verdict, lines: tuple[str, ...]) -> None:
    info = result.cases[verdict.case]
    case = ElementTree.SubElement(
        suite,
        "testcase",
        classname=_legal(f"proofload.{info.category.replace(' ', '_')}"),
        name=_legal(f"{verdict.case} {info.title}"),
        time=_seconds(info.took_ns),
    )
    element = _ELEMENT.get(verdict.outcome)
    if element is None:
        return
    short = next(row.says for row in view.rows(result) if row.case == verdict.case)
    child = ElementTree.SubElement(case, element, message=_legal(short))
    if element != "skipped":
        child.set("type", verdict.outcome.name)
        child.text = _legal("\n".join((*lines, f"evidence: {view.safe(result.bundle)}")))


def _seconds(took_ns: int) -> str:
    return f"{took_ns / 1e9:.3f}"


def _legal(text: str) -> str:
    return _ILLEGAL.sub("\ufffd", text)

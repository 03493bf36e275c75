"""Which pictures belong to a case: those of the control that its rules are about, then what was sent."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from functools import partial

from proofload.judge.evidence import Evidence
from proofload.judge.verdict import Finding, Outcome, Verdict
from proofload.report.charts.circuit import circuit
from proofload.report.charts.contention import contention
from proofload.report.charts.latency import latency
from proofload.report.charts.ledgers import ledgers
from proofload.report.charts.picture import Picture
from proofload.report.charts.rate_window import rate_window
from proofload.report.charts.traffic import overload, traffic

_OF_FINDING: dict[str, Callable[[Evidence, Finding | None], list[Picture]]] = {
    "rl": rate_window,
    "cb": circuit,
    "lock": contention,
}
_MOST_FOR_FINDINGS = 6


def of_finding(finding: Finding, evidence: Evidence) -> list[Picture]:
    """Return the pictures of one counterexample; none where its kind has none."""
    draw = _OF_FINDING.get(finding.rule.partition(".")[0])
    if draw is None or not finding.rows:
        return []
    return _drawn(lambda: draw(evidence, finding), finding.rule)


def of_case(verdict: Verdict, evidence: Evidence) -> list[Picture]:
    """Return the pictures of a whole case, those that its findings did not show already."""
    kinds = {finding.rule.partition(".")[0] for finding in verdict.findings}
    shown = {one.rule.partition(".")[0] for one in worth_drawing(verdict)}
    makers: list[tuple[str, Callable[[], list[Picture]]]] = [
        (kind, partial(draw, evidence, None))
        for kind, draw in _OF_FINDING.items()
        if kind in kinds and kind not in shown
    ]
    if kinds & {"mon", "audit"}:
        makers.append(("ledgers", partial(ledgers, evidence)))
    if "res" in kinds:
        makers.append(("overload", partial(overload, evidence)))
    if kinds & {"lat", "res"}:
        makers.append(("latency", partial(latency, evidence)))
    makers.append(("traffic", partial(traffic, evidence)))
    return [one for name, make in makers for one in _drawn(make, name)]


def worth_drawing(verdict: Verdict) -> list[Finding]:
    """Return the broken rules that get a picture of their own: the first of each rule, and not too many."""
    first: dict[str, Finding] = {}
    for finding in verdict.findings:
        if finding.outcome is Outcome.FAIL and finding.rows and finding.rule.partition(".")[0] in _OF_FINDING:
            first.setdefault(finding.rule, finding)
    return list(first.values())[:_MOST_FOR_FINDINGS]


def _drawn(make: Callable[[], list[Picture]], name: str) -> list[Picture]:
    """Return what `make` draws; a picture that breaks is said, and takes no verdict with it."""
    try:
        return make()
    except Exception as error:  # noqa: BLE001 -- evidence of a hostile target may break a drawing; the verdict must stand
        place = traceback.extract_tb(error.__traceback__)[-1]
        told = f"This picture could not be drawn ({type(error).__name__} in {place.name}, line {place.lineno})."
        return [Picture(f"No picture of {name}", "", told)]

"""Puts a story into the template. Whatever a target said is escaped by the template engine, and by the drawing."""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from proofload.core.text import visible
from proofload.core.units import format_duration
from proofload.judge.baseline import Change
from proofload.judge.verdict import Finding, Outcome, Verdict
from proofload.report import view
from proofload.report.charts import choose
from proofload.report.charts.latency import curves_beside
from proofload.report.charts.picture import Picture
from proofload.report.charts.schedule import schedule
from proofload.report.comparison import compare_runs
from proofload.report.comparison_forms import word
from proofload.report.report_data import CaseText, Link, Story
from proofload.report.result import CaseInfo

_SIGNS = {
    Outcome.PASS: "✓",
    Outcome.FAIL: "✕",
    Outcome.INCONCLUSIVE: "?",
    Outcome.ERROR: "!",
    Outcome.SKIPPED: "–",
}
_MEANING = {
    Outcome.PASS: "every rule held, and the evidence was enough",
    Outcome.FAIL: "a rule is broken for certain",
    Outcome.INCONCLUSIVE: "the evidence can't tell",
    Outcome.ERROR: "the tool or its surroundings broke",
    Outcome.SKIPPED: "not declared, or a case before it did not pass",
}
_CODE = re.compile("`([^`]+)`")
_MOST_ROWS = 40
_MOST_FIGURES = 12
_MOST_SHOWN = 4_000


@dataclass(frozen=True, slots=True)
class _FindingView:
    is_first: bool
    """Of its rule in this case: what repeats it is folded."""
    outcome: str
    sign: str
    rule: str
    says: str
    shown: tuple[str, ...]
    look_at: str
    rows: str
    examined: str
    figures: tuple[tuple[str, str], ...]
    pictures: list[Picture]


@dataclass(frozen=True, slots=True)
class _CaseView:
    case: str
    anchor: str
    outcome: str
    sign: str
    info: CaseInfo
    took: str
    reason: tuple[str, ...]
    says: str
    open_ones: tuple[_FindingView, ...]
    held: tuple[_FindingView, ...]
    pictures: tuple[Picture, ...]
    links: tuple[Link, ...]
    told: CaseText


def page(story: Story) -> str:
    """Return the whole report as one HTML document."""
    result = story.result
    said = {row.case: row.says for row in view.rows(result)}
    order = (Outcome.FAIL, Outcome.ERROR, Outcome.INCONCLUSIVE, Outcome.PASS, Outcome.SKIPPED)
    cases = [
        _case(story, verdict, said[view.safe(verdict.case)])
        for outcome in order
        for verdict in result.verdicts
        if verdict.outcome is outcome
    ]
    text: str = _template("report.html.j2").render(
        style=_style(),
        policy=f"default-src 'none'; style-src 'sha256-{_sha256(_style())}'; base-uri 'none'; form-action 'none'",
        result=result,
        headline=_headline(story),
        tally=[
            (outcome.name, _SIGNS[outcome], count, _MEANING[outcome])
            for outcome, count in sorted(Counter(one.outcome for one in result.verdicts).items(), reverse=True)
        ],
        cases=cases,
        by_case={case.case: case for case in cases},
        listed=[view.safe(verdict.case) for verdict in result.verdicts],
        compared=_compared(story),
        curves=_curves(story),
        before=story.before,
        schedule=schedule(story.turns),
        began=_instant(result.began_wall_ns),
        again=story.again,
        environment=_flat(story.environment),
        plan=yaml.safe_dump(dict(story.plan), sort_keys=False, allow_unicode=True, width=100) if story.plan else "",
        links=story.links.get("", ()),
    )
    return text


def _compared(story: Story) -> list[tuple[str, str, str, str, str, str]]:
    if story.before is None or story.now is None:
        return []
    looks = {Change.WORSE: "fail", Change.BETTER: "pass", Change.CANNOT_TELL: "inconclusive", Change.SAME: "skipped"}
    return [
        (looks[one.change], word(one.change), one.what, one.before, one.after, one.why)
        for one in compare_runs(story.before, story.now)
    ]


def _curves(story: Story) -> list[Picture]:
    if story.before is None or story.now is None:
        return []
    both = [name for name in story.before.samples if name in story.now.samples]
    if not both:
        return []
    before, now = story.before.samples, story.now.samples
    return [curves_beside([(name, before[name]) for name in both], [(name, now[name]) for name in both])]


def standalone(picture: Picture) -> str:
    """Return a picture as an SVG file of its own, in its colours."""
    style = f"<style>{_style()}</style>"
    head, tag, rest = picture.svg.partition(">")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{head}{tag}{style}{rest}\n'


def _case(story: Story, verdict: Verdict, says: str) -> _CaseView:
    info = story.result.cases[verdict.case]
    evidence = story.evidence.get(verdict.case)
    drawn = {id(one): choose.of_finding(one, evidence) for one in choose.worth_drawing(verdict)} if evidence else {}
    open_ones = sorted(
        (one for one in verdict.findings if one.outcome >= Outcome.INCONCLUSIVE), key=lambda one: -one.outcome
    )
    return _CaseView(
        view.safe(verdict.case),
        "case-" + "".join(sign if sign.isalnum() else "-" for sign in verdict.case),
        verdict.outcome.name,
        _SIGNS[verdict.outcome],
        info,
        format_duration(info.took_ns) if info.took_ns else "",
        tuple(view.safe(line) for line in verdict.reason.splitlines()),
        says,
        tuple(
            _finding(one, drawn.get(id(one), []), is_first=one.rule not in {other.rule for other in open_ones[:i]})
            for i, one in enumerate(open_ones)
        ),
        tuple(_finding(one, []) for one in verdict.findings if one.outcome < Outcome.INCONCLUSIVE),
        tuple(choose.of_case(verdict, evidence)) if evidence and verdict.outcome is not Outcome.SKIPPED else (),
        story.links.get(verdict.case, ()),
        story.told.get(verdict.case, CaseText()),
    )


def _finding(finding: Finding, pictures: list[Picture], *, is_first: bool = True) -> _FindingView:
    rows = ", ".join(str(row) for row in finding.rows[:_MOST_ROWS])
    if len(finding.rows) > _MOST_ROWS:
        rows += f" and {len(finding.rows) - _MOST_ROWS} more"
    figures = [(name.replace("_", " "), view.safe(str(value))) for name, value in finding.figures.items()]
    return _FindingView(
        is_first,
        finding.outcome.name,
        _SIGNS[finding.outcome],
        view.safe(finding.rule),
        view.safe(finding.says),
        tuple(view.safe(line) for line in finding.shown),
        view.safe(finding.look_at),
        rows,
        f"{finding.examined:,} examined, {finding.needed:,} needed",
        tuple(figures[:_MOST_FIGURES]),
        pictures,
    )


def _headline(story: Story) -> str:
    counted = Counter(verdict.outcome for verdict in story.result.verdicts)
    if not counted:
        return "No case was judged, so nothing is proven"
    if counted[Outcome.FAIL]:
        return f"{_cases(counted[Outcome.FAIL])} proven broken"
    if counted[Outcome.ERROR]:
        return f"{_cases(counted[Outcome.ERROR])} could not be judged: something around the run broke"
    if counted[Outcome.INCONCLUSIVE]:
        return f"Nothing proven broken, but {_cases(counted[Outcome.INCONCLUSIVE])} could not be told"
    if counted[Outcome.PASS]:
        some = "that was tested " if counted[Outcome.SKIPPED] else ""
        return f"Every control {some}held: {_cases(counted[Outcome.PASS])} passed"
    return "Every case was skipped, so nothing is proven"


def _cases(count: int) -> str:
    return f"{count} case{'' if count == 1 else 's'}"


def _instant(wall_ns: int | None) -> str:
    return datetime.fromtimestamp(wall_ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if wall_ns else ""


def _flat(content: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name, value in content.items():
        if isinstance(value, Mapping):
            found += _flat(value, f"{prefix}{name} ")
        else:
            found.append((visible(f"{prefix}{name}"), view.safe(str(value))))
    return found


@cache
def _style() -> str:
    return (resources.files("proofload.report.html") / "templates" / "style.css").read_text(encoding="utf-8")


def _coded(text: str) -> Markup:
    """Return escaped text in which what stands between backticks is code."""
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text))))  # noqa: S704 -- it was escaped just before


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@cache
def _template(name: str) -> Any:
    environment = Environment(
        loader=PackageLoader("proofload.report.html"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # Escaping is not enough: a sign that turns the reading direction is no markup.
        finalize=lambda value: visible(value, _MOST_SHOWN) if type(value) is str else value,
    )
    # The style and the drawings are made by us alone; everything else is escaped.
    environment.filters["drawn"] = Markup
    environment.filters["coded"] = _coded
    environment.filters["in_lines"] = lambda text: Markup("\n").join(visible(line) for line in text.splitlines())
    return environment.get_template(name)

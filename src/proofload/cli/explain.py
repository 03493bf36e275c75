"""`proofload explain FINDING`: what a finding means, what in the code usually causes it, and what to do."""

from __future__ import annotations

import difflib
import textwrap
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from proofload.core.errors import PlanError, Problem
from proofload.report.findings import Meaning, meanings

_WIDTH = 78


def explain(
    finding: Annotated[
        str | None, typer.Argument(help="The id of a finding, such as rl.over_admission, or the begin of one.")
    ] = None,
) -> None:
    """Tell what a finding means, its likely causes in code, and how to fix it; without an id, list them all."""
    console = Console(highlight=False)
    chosen = _chosen(finding)
    if finding is None or len(chosen) > 1:
        for one in chosen:
            console.print(Text(f"{one.rule:<32} {one.means}"), soft_wrap=True)
        return
    _show(chosen[0], console)


def _chosen(finding: str | None) -> list[Meaning]:
    known = meanings()
    if finding is None:
        return list(known.values())
    if finding in known:
        return [known[finding]]
    begun = [one for rule, one in known.items() if rule.startswith(finding)]
    if begun:
        return begun
    near = difflib.get_close_matches(finding, known, n=1, cutoff=0.4)
    remedy = f"did you mean {near[0]}?" if near else "proofload explain lists them"
    raise PlanError([Problem("finding", repr(finding), "the id of a finding", remedy)])


def _show(one: Meaning, console: Console) -> None:
    console.print(Text(one.rule, style="bold"))
    _paragraph("means", one.means, console)
    if one.never_fails:
        _paragraph("never FAIL", f"INCONCLUSIVE where: {one.never_fails}", console)
    for place, cause in enumerate(one.causes):
        _paragraph("likely causes" if place == 0 else "", f"- {cause}", console)
    _paragraph("what to do", one.fix, console)


def _paragraph(name: str, text: str, console: Console) -> None:
    head = f"  {name:<14} "
    for line in textwrap.wrap(text, _WIDTH - len(head), subsequent_indent="  " if text.startswith("- ") else ""):
        console.print(Text(head + line), soft_wrap=True)
        head = " " * len(head)

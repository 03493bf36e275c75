"""The commands that tell of cases: the catalogue, one case, and what a target file can be put to."""

from __future__ import annotations

import textwrap
from itertools import groupby
from pathlib import Path
from typing import Any

import uvloop
from rich.console import Console
from rich.text import Text

from proofload.cases.case import AnyCase, Category, PlannedCase
from proofload.cli.exit_status import ExitStatus
from proofload.core.units import format_duration
from proofload.drive.connectivity import reach
from proofload.drive.ownership_challenge import prove_ownership
from proofload.plan.reader import read_target
from proofload.plan.target import Target
from proofload.record.bundle import dump_json
from proofload.report.as_json import SCHEMA_VERSION
from proofload.suite.catalogue import CATALOGUE, CORE
from proofload.suite.requested_cases import CaseFilter
from proofload.suite.selection import choose


def list_catalogue(choice: CaseFilter, *, as_json: bool) -> ExitStatus:
    """List the chosen cases by category; those that run when none is named carry a star."""
    console = Console(highlight=False)
    chosen = choose(CATALOGUE, choice)
    if as_json:
        content = {"schema_version": SCHEMA_VERSION, "cases": [_content(case) for case in chosen]}
        console.file.write(dump_json(content).decode())
        return ExitStatus.ALL_PASS
    width = max(len(case.id) for case in chosen)
    order = list(Category)
    chosen.sort(key=lambda case: (order.index(case.category), case.id))
    for i, (category, cases) in enumerate(groupby(chosen, key=lambda case: case.category)):
        console.print(Text(f"{chr(10) if i else ''}{category}", style="bold"))
        for case in cases:
            mark = "*" if case.id in CORE else " "
            line = f"{mark} {case.id:<{width}}  {case.priority:<9} {case.phase}  {case.title}"
            console.print(Text(line), soft_wrap=True)
    console.print(Text("\n* runs when none is named; the number is the phase; proofload cases ID explains one"))
    return ExitStatus.ALL_PASS


def explain_case(case_id: str) -> ExitStatus:
    """Explain one case: what it sends, what it needs, what PASS means, how to read FAIL."""
    (first, *_) = choose(CATALOGUE, CaseFilter([case_id]))
    _explain(CATALOGUE.get(case_id.upper(), first), Console(highlight=False))
    return ExitStatus.ALL_PASS


def check_target_file(path: Path) -> ExitStatus:
    """Validate a target file, prove that the target may be loaded, and ask it one request."""
    target = read_target(path)
    console = Console(highlight=False)
    console.print(Text(f"{path}: {len(target.operations)} operations, {_controls(target)}"), soft_wrap=True)
    vet = prove_ownership(target)
    told = uvloop.run(reach(target, vet))
    console.print(Text(f"{target.address}: {told}"), soft_wrap=True)
    for case in CATALOGUE.values():
        planned = PlannedCase.of(case, target)
        can_run = f"can run, about {format_duration(planned.takes_ns)}"
        state = f"would be SKIPPED: {planned.missing}" if planned.missing else can_run
        console.print(Text(f"  {case.id:<12} {state}"), soft_wrap=True)
    return ExitStatus.ALL_PASS


def _controls(target: Target) -> str:
    declared = [name for name, value in target.policies if value]
    return f"controls declared: {', '.join(declared) if declared else 'none'}"


def _explain(case: AnyCase, console: Console) -> None:
    console.print(Text(f"{case.id}  {case.title}", style="bold"))
    rows = (
        ("category", f"{case.category}, {case.priority}, phase {case.phase}"),
        ("purpose", case.text.purpose),
        ("sends", case.text.sends),
        ("needs", case.requires.declare or "nothing"),
        ("after", ", ".join(case.after) or "no other case"),
        ("least evidence", case.text.least_evidence),
        ("PASS means", case.text.passes_when),
        ("reading FAIL", case.text.read_fail),
    )
    for name, text in rows:
        head = f"  {name:<16}"
        for line in textwrap.wrap(text, 78 - len(head)) or [""]:
            console.print(Text(head + line), soft_wrap=True)
            head = " " * len(head)


def _content(case: AnyCase) -> dict[str, Any]:
    return {
        "id": case.id,
        "title": case.title,
        "category": str(case.category),
        "priority": str(case.priority),
        "phase": case.phase,
        "core": case.id in CORE,
        "purpose": case.text.purpose,
        "needs": case.requires.declare.split(", ") if case.requires.declare else [],
        "prerequisites": list(case.after),
        "least_evidence": case.text.least_evidence,
        "passes_when": case.text.passes_when,
        "read_fail": case.text.read_fail,
    }

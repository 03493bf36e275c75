"""What a report is made of: verdicts, and what a reader wants to know beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from proofload.judge.verdict import Verdict


@dataclass(frozen=True, slots=True)
class CaseInfo:
    """What the catalogue says of a case, as far as a report shows it."""

    title: str
    category: str
    priority: str
    took_ns: int = 0


@dataclass(frozen=True, slots=True)
class RunResult:
    """One run, as reports show it. `cases` has an entry for every verdict."""

    verdicts: tuple[Verdict, ...]
    cases: Mapping[str, CaseInfo]
    target: str
    bundle: str
    tool_version: str
    exit_status: int
    seed: int | None = None
    began_wall_ns: int | None = None
    notes: tuple[str, ...] = field(default_factory=tuple)
    diagnoses: tuple[str, ...] = field(default_factory=tuple)
    """What several cases say together, a sentence each; never a verdict."""
    report: str = ""
    """Where the whole report lies, where one was written."""
    again: str = ""
    """The command that judges the evidence again, where that is not `proofload judge BUNDLE`."""

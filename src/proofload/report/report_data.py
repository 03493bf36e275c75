"""Everything that a full report tells of a run, beside its verdicts: evidence, schedule, plan, surroundings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from proofload.judge.evidence import Evidence
from proofload.report.charts.schedule import Turn
from proofload.report.comparison import Remembered
from proofload.report.result import RunResult


@dataclass(frozen=True, slots=True)
class Link:
    """A way into the evidence: a file of the bundle, by a path relative to the report."""

    text: str
    href: str


@dataclass(frozen=True, slots=True)
class CaseText:
    """What the catalogue says of a case, for who reads its verdict."""

    purpose: str = ""
    sends: str = ""
    passes_when: str = ""
    read_fail: str = ""
    least_evidence: str = ""


@dataclass(frozen=True, slots=True)
class Story:
    """One run, ready to be told. Mappings are by case; a case may be missing from any of them."""

    result: RunResult
    evidence: Mapping[str, Evidence] = field(default_factory=dict)
    turns: tuple[Turn, ...] = ()
    environment: Mapping[str, Any] = field(default_factory=dict)
    plan: Mapping[str, Any] = field(default_factory=dict)
    """The resolved plan, secrets masked."""
    again: tuple[str, ...] = ()
    """Commands that repeat the run, or its judging."""
    links: Mapping[str, tuple[Link, ...]] = field(default_factory=dict)
    told: Mapping[str, CaseText] = field(default_factory=dict)
    before: Remembered | None = None
    """The run that this one is compared with, where there is one; and this one as `now`."""
    now: Remembered | None = None

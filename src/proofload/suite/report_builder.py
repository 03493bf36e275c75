"""Reads a sealed bundle as a report tells it: verdicts with their evidence, the schedule, plan and surroundings."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from proofload import __version__
from proofload.judge.evidence import Evidence
from proofload.judge.verdict import Verdict
from proofload.record.bundle import Bundle
from proofload.report.charts.schedule import Phase, Turn
from proofload.report.report_data import CaseText, Link, Story
from proofload.report.result import CaseInfo, RunResult
from proofload.suite import case_record as files
from proofload.suite.case_record import CaseRecord
from proofload.suite.catalogue import CATALOGUE
from proofload.suite.diagnosis import diagnoses
from proofload.suite.runner import VERDICTS
from proofload.suite.verdicts import evidence_in

RUN = "run.json"
"""How the run was asked for; only written by the command line."""
_SILENT_OPTIONS = ("-q", "--quiet", "--json", "--ui", "-v", "--verbose")
_OPTIONS_OF_OUTPUT = ("--out", "--junit", "--html", "--markdown")


def result_of(path: Path, verdicts: Sequence[Verdict], exit_status: int) -> RunResult:
    """Return a bundle's verdicts with what stands in it about the run."""
    bundle = Bundle(path)
    target, _ = files.load_plan(bundle)
    plan = bundle.read_json(files.PLAN)
    evidence, records = evidence_in(bundle)
    began_ns = [one.anchor.to_wall_ns(one.anchor.monotonic_ns) for one in records.values() if one.took_ns]
    return RunResult(
        tuple(verdicts),
        {case: info_of(case, record.took_ns) for case, record in records.items()},
        target.name,
        str(path),
        __version__,
        exit_status,
        plan["seed"],
        min(began_ns, default=None),
        files.load_notes(bundle),
        diagnoses(evidence),
    )


def info_of(case: str, took_ns: int) -> CaseInfo:
    """Return what the catalogue says of a case, as far as a report's tables show it."""
    known = CATALOGUE[case]
    return CaseInfo(known.title, str(known.category), str(known.priority), took_ns)


def story_of(result: RunResult, *, report_at: Path, arguments: Sequence[str] | None = None) -> Story:
    """Return everything that a report written to the file `report_at` tells of a run.

    `arguments` are those of the command that asked for the run, where the bundle does not hold them yet.
    """
    path = Path(result.bundle)
    bundle = Bundle(path)
    evidence, records = evidence_in(bundle)
    return Story(
        result,
        evidence,
        turns_of(result.verdicts, records),
        bundle.read_json(files.ENVIRONMENT),
        bundle.read_json(files.PLAN),
        _again(bundle, result, arguments),
        _links(bundle, evidence, report_at),
        {case: _told(case) for case in evidence if case in CATALOGUE},
    )


def turns_of(verdicts: Sequence[Verdict], records: Mapping[str, CaseRecord]) -> tuple[Turn, ...]:
    """Return each case's place in the run, from the run's beginning."""
    zero = min((one.anchor.monotonic_ns for one in records.values() if one.took_ns), default=0)
    turns = []
    for verdict in verdicts:
        record = records[verdict.case]
        began = record.anchor.monotonic_ns - zero if record.took_ns else 0
        ended = began + record.took_ns
        marks = [(at_ns - zero, what) for at_ns, what in record.phases]
        phases = tuple(
            Phase(what, at, marks[i + 1][0] if i + 1 < len(marks) else max(at, ended))
            for i, (at, what) in enumerate(marks)
        )
        silences = tuple((from_ns - zero, to_ns - zero) for from_ns, to_ns in record.silences)
        turns.append(Turn(verdict.case, verdict.outcome, began, ended, phases, silences))
    return tuple(turns)


def command_line(arguments: Sequence[str]) -> list[str]:
    """Return a command's arguments without those that only say where its output goes.

    >>> command_line(["demo", "TC-RL-001", "--json", "--out", "x", "--seed=4"])
    ['demo', 'TC-RL-001', '--seed=4']
    """
    kept: list[str] = []
    skip = False
    for argument in arguments:
        if skip:
            skip = False
        elif argument in _OPTIONS_OF_OUTPUT:
            skip = True
        elif argument not in _SILENT_OPTIONS and not argument.startswith(
            tuple(f"{one}=" for one in _OPTIONS_OF_OUTPUT)
        ):
            kept.append(argument)
    return kept


def _again(bundle: Bundle, result: RunResult, given: Sequence[str] | None) -> tuple[str, ...]:
    commands = []
    if given is None and RUN in bundle.names():
        given = [str(one) for one in bundle.read_json(RUN)["arguments"]]
    if given is not None:
        arguments = list(given)
        if result.seed is not None and not any(one == "--seed" or one.startswith("--seed=") for one in arguments):
            arguments += ["--seed", str(result.seed)]
        commands.append(shlex.join(["proofload", *arguments]))
    return (*commands, shlex.join(["proofload", "judge", result.bundle]))


def _links(bundle: Bundle, evidence: Mapping[str, Evidence], report_at: Path) -> dict[str, tuple[Link, ...]]:
    base = Path(os.path.relpath(bundle.path, report_at.parent))
    present = set(bundle.names())

    def link(name: str, text: str) -> list[Link]:
        return [Link(text, (base / name).as_posix())] if name in present else []

    found = {
        case: (
            *link(f"cases/{case}.json", "what was read and noted"),
            *link(f"history/{case}.parquet", "every request"),
        )
        for case in evidence
    }
    whole = (
        *link(VERDICTS, "verdicts.json"),
        *link(files.PLAN, "plan.json"),
        *link(files.ENVIRONMENT, "environment.json"),
    )
    return {**found, "": whole}


def _told(case: str) -> CaseText:
    known = CATALOGUE[case]
    return known.text

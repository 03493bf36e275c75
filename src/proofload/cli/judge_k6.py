"""`proofload judge --k6 results.json --target proofload.yaml`: judge a run that k6 has already made."""

from __future__ import annotations

import shlex
from pathlib import Path

from rich.console import Console

from proofload import __version__
from proofload.cli.exit_status import ExitStatus, of_outcomes
from proofload.core.errors import PlanError, Problem, ToolError
from proofload.core.text import visible
from proofload.drive.k6 import K6Results, read_results
from proofload.judge.k6_run import DELIVERY, LATENCY, RATE_LIMIT, judge_imported
from proofload.judge.verdict import Outcome, Verdict
from proofload.plan.reader import read_target
from proofload.report import terminal
from proofload.report.as_json import to_json
from proofload.report.junit import to_junit
from proofload.report.result import CaseInfo, RunResult

_TITLES = {
    DELIVERY: ("Was the load delivered", "delivery"),
    RATE_LIMIT: ("Rate limit, as far as k6's results tell", "rate limit"),
    LATENCY: ("Latency, as far as k6's results tell", "latency"),
}


def judge_k6(results: Path, target: Path, *, as_json: bool, junit: Path | None) -> ExitStatus:
    """Print the verdicts that a k6 run's results carry, and return the status that they stand for."""
    declared = read_target(target)
    read = read_results(results, declared)
    verdicts = judge_imported(declared, read.history, read.paths, read.anchor, read.doubts)
    status = of_outcomes(verdict.outcome for verdict in verdicts)
    result = RunResult(
        tuple(verdicts),
        {one.case: _info(one) for one in verdicts},
        declared.name,
        str(results),
        __version__,
        int(status),
        began_wall_ns=read.anchor.wall_ns,
        notes=_notes(read),
        again=shlex.join(["proofload", "judge", "--k6", str(results), "--target", str(target)]),
    )
    if junit is not None:
        try:
            junit.write_text(to_junit(result), encoding="utf-8")
        except OSError as error:
            raise ToolError(f"{junit}: could not be written ({error.strerror}); see --junit") from error
    console = Console(highlight=False)
    if as_json:
        console.file.write(to_json(result))
    else:
        terminal.show(result, console)
    return status


def refuse(what: str, expected: str) -> PlanError:
    """Return the error for options of `judge` that do not go together."""
    return PlanError([Problem("options", what, expected)])


def _notes(read: K6Results) -> tuple[str, ...]:
    notes = [f"{len(read.history)} rows were read from k6's results; rows are numbered in the order of their beginning"]
    notes.append("k6 does not tell when a request was due, so its waiting inside k6 is not in the latencies")
    if read.elsewhere:
        notes.append(f"{read.elsewhere} requests went to other addresses than the target and were left out")
    return tuple(visible(note, 500) for note in notes)


def _info(verdict: Verdict) -> CaseInfo:
    title, category = _TITLES.get(verdict.case, (verdict.case.removeprefix("K6-").replace("-", " ").lower(), "other"))
    return CaseInfo(title, category, "HIGH" if verdict.outcome is not Outcome.SKIPPED else "MEDIUM")

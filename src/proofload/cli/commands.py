"""What each command does, once its arguments are known."""

from __future__ import annotations

import signal
import tempfile
import textwrap
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import uvloop
from rich.console import Console
from rich.text import Text

from proofload import __version__
from proofload.cases.case import Case
from proofload.cli.exit_status import ExitStatus, of_outcomes
from proofload.core.errors import PlanError, Problem, ToolError
from proofload.core.units import NS_PER_SECOND, format_duration, parse_duration_ns
from proofload.demo import ReferenceSystem
from proofload.drive.reach import reach
from proofload.judge.linearizable.jepsen import check_jepsen
from proofload.judge.verdict import Verdict
from proofload.plan.ownership import prove_ownership
from proofload.plan.reader import parse_target, read_target
from proofload.plan.target import Target
from proofload.record.bundle import dump_json
from proofload.report import terminal
from proofload.report.as_json import SCHEMA_VERSION, finding_json, to_json
from proofload.report.junit import to_junit
from proofload.report.live import LiveView
from proofload.report.result import CaseInfo, RunResult
from proofload.report.view import safe
from proofload.run import Ended, judge_bundle, run
from proofload.suite.catalogue import CATALOGUE
from proofload.suite.choose import choose

_OF_SIGNAL = {signal.SIGINT: ExitStatus.INTERRUPTED, signal.SIGTERM: ExitStatus.TERMINATED}


@dataclass(frozen=True, slots=True)
class Output:
    """Where the result goes, and in which forms."""

    as_json: bool = False
    junit: Path | None = None
    quiet: bool = False


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What to run, and where the evidence goes."""

    cases: tuple[str, ...]
    target: Path
    out: Path
    seed: int | None


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What to run on the reference system."""

    cases: tuple[str, ...]
    defects: tuple[str, ...]
    window: str | None
    out: Path
    seed: int | None


def run_target(options: RunOptions, output: Output) -> ExitStatus:
    """Run cases on the target of a file."""
    chosen = choose(CATALOGUE, options.cases)
    target = read_target(options.target)
    return _run(target, chosen, options.out, options.seed, output, ())


def run_demo(options: DemoOptions, output: Output) -> ExitStatus:
    """Start the reference system, run cases on it, stop it."""
    chosen = choose(CATALOGUE, options.cases)
    window = _window_s(options.window)
    console = Console(stderr=True, quiet=output.quiet)
    notes = [f"the reference system ran with the defect {defect}" for defect in options.defects]
    if options.window:
        notes.append(f"the rate-limit window and the open time of breakers were {options.window}, not the true 60s")
    with tempfile.TemporaryDirectory(prefix="proofload-demo-") as folder:
        console.print(Text("starting the reference system ..."))
        settings = {"GATEWAY_RATE_WINDOW": window, "BREAKER_OPEN": window, "LOCK_HOLD": "0.1"}
        with _terminable(), ReferenceSystem.start(Path(folder), defects=options.defects, settings=settings) as system:
            environ = {
                "ORDERSYSTEM_GATEWAY": system.ready.gateway,
                "ORDERSYSTEM_RATE_WINDOW": f"{window}s",
                "ORDERSYSTEM_BREAKER_OPEN": f"{window}s",
                "ORDERSYSTEM_CONTROL": system.ready.control,
                "ORDERSYSTEM_AUDIT": str(Path(system.ready.audit[0]).parent),
                **{f"ORDERSYSTEM_{name.upper()}": url for name, url in system.ready.services.items()},
            }
            target = parse_target(_preset("ordersystem"), "the preset ordersystem", environ)
            return _run(target, chosen, options.out, options.seed, output, notes)


def judge_bundle_again(path: Path, output: Output) -> ExitStatus:
    """Judge an earlier run's evidence."""
    verdicts = judge_bundle(path)
    status = of_outcomes(verdict.outcome for verdict in verdicts)
    _report(_result(verdicts, path, status), output)
    return status


def judge_history(path: Path, model: str, *, as_json: bool) -> ExitStatus:
    """Judge a history in Jepsen's text form by a model, and print the counterexample where there is one."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        problem = Problem(str(path), str(error), "a history in Jepsen's text form", "see docs/findings-ledgers.md")
        raise PlanError([problem]) from error
    finding = check_jepsen(text, model, name=str(path))
    console = Console(highlight=False)
    if as_json:
        console.file.write(dump_json({"schema_version": SCHEMA_VERSION, "finding": finding_json(finding)}).decode())
    else:
        console.print(Text(f"{finding.outcome.name}  {safe(finding.says)}  [{finding.rule}]"), soft_wrap=True)
        for line in finding.shown:
            console.print(Text(f"  {safe(line)}"), soft_wrap=True)
    return of_outcomes([finding.outcome])


def show_cases(case_id: str | None) -> ExitStatus:
    """List the catalogue by category, or explain one case."""
    console = Console(highlight=False)
    if case_id is not None:
        (case, *_) = choose(CATALOGUE, [case_id])
        _explain(CATALOGUE.get(case_id.upper(), case), console)
        return ExitStatus.ALL_PASS
    category = ""
    for case in CATALOGUE.values():
        if case.category != category:
            console.print(Text(f"{'' if not category else chr(10)}{case.category}", style="bold"))
            category = case.category
        console.print(Text(f"  {case.id:<14} {case.priority:<9} {case.title}"), soft_wrap=True)
    console.print(Text("\nproofload cases ID explains one of them"))
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
        why = case.missing(target)
        state = f"would be SKIPPED: {why}" if why else f"can run, about {format_duration(case.expected_ns(target))}"
        console.print(Text(f"  {case.id:<12} {state}"), soft_wrap=True)
    return ExitStatus.ALL_PASS


def _run(
    target: Target, cases: Sequence[Case], out: Path, seed: int | None, output: Output, notes: Iterable[str]
) -> ExitStatus:
    console = Console(stderr=True, quiet=output.quiet, highlight=False)
    longest_ns = max((case.expected_ns(target) for case in cases), default=0)
    console.print(
        Text(f"{len(cases)} cases on {target.address}, at least {format_duration(longest_ns)}"), soft_wrap=True
    )
    with LiveView([case.id for case in cases], console, time.perf_counter_ns) as audience:
        ended = uvloop.run(run(target, cases, out=out, seed=seed, audience=audience))
    status = _status(ended)
    said = [*notes, *([f"ended early by {signal.Signals(ended.signal).name}"] if ended.signal else [])]
    _report(_result(ended.verdicts, ended.bundle, status, target.name, ended, said), output)
    return status


def _status(ended: Ended) -> ExitStatus:
    if ended.signal:
        return _OF_SIGNAL[signal.Signals(ended.signal)]
    return of_outcomes(verdict.outcome for verdict in ended.verdicts)


def _result(
    verdicts: tuple[Verdict, ...],
    bundle: Path,
    status: ExitStatus,
    target: str = "",
    ended: Ended | None = None,
    notes: Iterable[str] = (),
) -> RunResult:
    took: Mapping[str, int] = ended.took_ns if ended else {}
    return RunResult(
        verdicts,
        {one.case: _info(CATALOGUE[one.case], took.get(one.case, 0)) for one in verdicts},
        target,
        str(bundle),
        __version__,
        int(status),
        ended.seed if ended else None,
        ended.began_wall_ns if ended else None,
        tuple(notes),
    )


def _info(case: Case, took_ns: int) -> CaseInfo:
    return CaseInfo(case.title, str(case.category), str(case.priority), took_ns)


def _report(result: RunResult, output: Output) -> None:
    if output.junit is not None:
        try:
            output.junit.write_text(to_junit(result), encoding="utf-8")
        except OSError as error:
            raise ToolError(f"{output.junit}: could not be written ({error.strerror}); see --junit") from error
    console = Console(highlight=False)
    if output.as_json:
        console.file.write(to_json(result))
    else:
        terminal.show(result, console)


def _window_s(text: str | None) -> str:
    try:
        seconds = parse_duration_ns(text or "60s") / NS_PER_SECOND
    except ValueError as error:
        raise PlanError([Problem("--window", repr(text), str(error))]) from None
    if not 0.1 <= seconds <= 3_600:
        raise PlanError([Problem("--window", repr(text), "between 100ms and 1h")])
    return f"{seconds:g}"


def _preset(name: str) -> str:
    return (resources.files("proofload.plan.presets") / f"{name}.yaml").read_text(encoding="utf-8")


def _controls(target: Target) -> str:
    declared = [name for name, value in target.policies if value]
    return f"controls declared: {', '.join(declared) if declared else 'none'}"


def _explain(case: Case, console: Console) -> None:
    console.print(Text(f"{case.id}  {case.title}", style="bold"))
    rows = (
        ("category", f"{case.category}, {case.priority}, phase {case.phase}"),
        ("purpose", case.purpose),
        ("sends", case.sends),
        ("needs", ", ".join(case.needs) or "nothing"),
        ("after", ", ".join(case.prerequisites) or "no other case"),
        ("least evidence", case.least_evidence),
        ("PASS means", case.passes_when),
        ("reading FAIL", case.read_fail),
    )
    for name, text in rows:
        head = f"  {name:<16}"
        for line in textwrap.wrap(text, 78 - len(head)) or [""]:
            console.print(Text(head + line), soft_wrap=True)
            head = " " * len(head)


@contextmanager
def _terminable() -> Iterator[None]:
    """Turn SIGTERM into an orderly end while no event loop listens for it."""

    def end(number: int, _: object) -> None:
        raise SystemExit(int(_OF_SIGNAL[signal.Signals(number)]))

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)

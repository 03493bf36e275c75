"""What each command does, once its arguments are known."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

import uvloop
from rich.console import Console
from rich.text import Text

from proofload.cases.case import AnyCase, PlannedCase
from proofload.cli.demo_monitoring import monitored
from proofload.cli.exit_status import ExitStatus, of_outcomes, worst_of
from proofload.cli.pace import Pace, notes_of, window_of
from proofload.cli.reports import REPORT, keep_report, write_asked_for
from proofload.cli.served import live_page
from proofload.core.clock import SystemClock
from proofload.core.errors import PlanError, Problem, ToolError
from proofload.core.units import format_duration
from proofload.demo.reference_system import ReferenceSystem
from proofload.judge.linearizable.jepsen import check_jepsen
from proofload.plan.reader import parse_target, read_target
from proofload.plan.target import Target
from proofload.record.bundle import dump_json
from proofload.report import repeated, terminal, view
from proofload.report.as_json import SCHEMA_VERSION, finding_json, to_json
from proofload.report.junit import to_junit
from proofload.report.live import LiveView
from proofload.report.result import RunResult
from proofload.report.served.server import LivePage
from proofload.report.view import safe
from proofload.suite.catalogue import CATALOGUE, CORE
from proofload.suite.engines import K6, OWN
from proofload.suite.report_builder import result_of
from proofload.suite.requested_cases import CaseFilter
from proofload.suite.runner import Ended, run
from proofload.suite.selection import choose
from proofload.suite.verdicts import judge_bundle

_SMALL_LOGS = {"AUDIT_ROTATE_BYTES": "6144"}
"""Some twenty events: every case that reads the audit log has seen it rotate, as it will in a year of real use."""
_LITTLE_ROOM = {"GATEWAY_MAX_CONCURRENCY_USER": "8", "GATEWAY_QUEUE_PATIENCE_USER": "0.25"}
"""Two workers, eight calls at a time each, a tenth of a second for each deposit: some 150 deposits a second."""
_BY_K6 = "k6 sent the load: it tells no intended times, and cases that it can't drive were SKIPPED"
_BY_CLUSTER = "the generators of a cluster sent the load; cases whose scripts can't go to another machine were SKIPPED"
_OF_SIGNAL = {signal.SIGINT: ExitStatus.INTERRUPTED, signal.SIGTERM: ExitStatus.TERMINATED}


@dataclass(frozen=True, slots=True)
class Output:
    """Where the result goes, and in which forms."""

    as_json: bool = False
    junit: Path | None = None
    quiet: bool = False
    html: Path | None = None
    markdown: Path | None = None
    ui: bool = False
    verbose: bool = False


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What to run, how often, and where the evidence goes."""

    choice: CaseFilter
    out: Path
    seed: int | None = None
    repeat: int = 1
    fail_fast: bool = False
    engine: str = OWN
    cluster: str | None = None


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What to run on the reference system, and how that is set up."""

    run: RunOptions
    defects: tuple[str, ...] = ()
    pace: Pace = Pace.TRUE
    window: str | None = None
    monitoring: bool = False
    """With a real Prometheus and Pushgateway."""


def run_target(target: Path, options: RunOptions, output: Output) -> ExitStatus:
    """Run cases on the target of a file."""
    chosen = choose(CATALOGUE, options.choice, CORE)
    declared = read_target(target)
    with live_page(output.ui) as page:
        return _run(declared, chosen, options, output, (), page)


def run_demo(options: DemoOptions, output: Output) -> ExitStatus:
    """Start the reference system, run cases on it, stop it."""
    chosen = choose(CATALOGUE, options.run.choice, CORE)
    window = window_of(options.pace, options.window)
    console = Console(stderr=True, quiet=output.quiet)
    notes = [*(f"the reference system ran with the defect {one}" for one in options.defects), *notes_of(window)]
    with live_page(output.ui) as page, tempfile.TemporaryDirectory(prefix="proofload-demo-") as folder:
        console.print(Text("starting the reference system ..."))
        settings = {
            "GATEWAY_RATE_WINDOW": window,
            "GATEWAY_RATE_LIMIT_USER": "90",
            "BREAKER_OPEN": window,
            "LOCK_HOLD": "0.1",
            **_LITTLE_ROOM,
            **_SMALL_LOGS,
        }
        with _terminable(), ReferenceSystem.start(Path(folder), defects=options.defects, settings=settings) as system:
            target = parse_target(_preset("ordersystem"), "the preset ordersystem", system.environ(window))
            with monitored(target, system, Path(folder), wanted=options.monitoring) as (watched, said):
                return _run(watched, chosen, options.run, output, [*notes, *said], page)


def judge_bundle_again(path: Path, output: Output) -> ExitStatus:
    """Judge an earlier run's evidence."""
    verdicts = judge_bundle(path)
    status = of_outcomes(verdict.outcome for verdict in verdicts)
    _report([result_of(path, verdicts, int(status))], output)
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


def _run(
    target: Target,
    cases: Sequence[AnyCase],
    options: RunOptions,
    output: Output,
    notes: Iterable[str],
    page: LivePage | None,
) -> ExitStatus:
    console = Console(stderr=True, quiet=output.quiet, highlight=False)
    longest_ns = max((PlannedCase.of(case, target).takes_ns for case in cases), default=0)
    console.print(
        Text(f"{len(cases)} cases on {target.address}, at least {format_duration(longest_ns)}"), soft_wrap=True
    )
    results: list[RunResult] = []
    for number in range(1, options.repeat + 1):
        view_of_run = LiveView(
            [case.id for case in cases], console, SystemClock.now_ns, target=target.name, verbose=output.verbose
        )
        if page is not None:
            page.show(view_of_run.watch)
        result, ended = _run_once(target, cases, options, tuple(notes), number, view_of_run)
        results.append(result)
        if options.repeat > 1:
            console.print(Text(f"run {number} of {options.repeat}: {view.summary(result)}"), soft_wrap=True)
        if ended.signal or (options.fail_fast and result.exit_status == ExitStatus.FAIL):
            break
    _report(results, output)
    if page is not None:
        page.stays = not ended.signal
        page.end(Path(results[-1].bundle), REPORT)
    return ExitStatus(results[-1].exit_status) if ended.signal else worst_of(one.exit_status for one in results)


def _run_once(
    target: Target,
    cases: Sequence[AnyCase],
    options: RunOptions,
    notes: tuple[str, ...],
    number: int,
    live: LiveView,
) -> tuple[RunResult, Ended]:
    # A seed chooses the client addresses, too: two runs with one seed would spend one allowance.
    seed = options.seed if options.seed is None else options.seed + number - 1
    with live as audience:
        ended = uvloop.run(
            run(
                target,
                cases,
                out=options.out,
                seed=seed,
                audience=audience,
                fail_fast=options.fail_fast,
                notes=(*notes, *_by_whom(options)),
                engine=options.engine,
                cluster=options.cluster,
            )
        )
    return keep_report(_result(ended)), ended


def _by_whom(options: RunOptions) -> tuple[str, ...]:
    """Return what a reader has to know of who sent the load. Raises PlanError where two are asked for at once."""
    by_k6 = options.engine == K6
    if by_k6 and options.cluster is not None:
        raise PlanError(
            [Problem("options", "--engine k6 and --cluster", "one of them", "a cluster runs our own engine")]
        )
    return (_BY_K6,) if by_k6 else (_BY_CLUSTER,) if options.cluster is not None else ()


def _status(ended: Ended) -> ExitStatus:
    if ended.signal:
        return _OF_SIGNAL[signal.Signals(ended.signal)]
    return of_outcomes(verdict.outcome for verdict in ended.verdicts)


def _result(ended: Ended) -> RunResult:
    result = result_of(ended.bundle, ended.verdicts, int(_status(ended)))
    early = [f"ended early by {signal.Signals(ended.signal).name}"] if ended.signal else []
    return replace(result, began_wall_ns=ended.began_wall_ns, notes=(*result.notes, *early))


def _report(results: Sequence[RunResult], output: Output) -> None:
    if output.junit is not None:
        try:
            output.junit.write_text(to_junit(*results), encoding="utf-8")
        except OSError as error:
            raise ToolError(f"{output.junit}: could not be written ({error.strerror}); see --junit") from error
    write_asked_for(results, output.html, output.markdown)
    console = Console(highlight=False)
    if output.as_json:
        console.file.write(to_json(results[0]) if len(results) == 1 else repeated.to_json(results))
    elif len(results) == 1:
        terminal.show(results[0], console, verbose=output.verbose)
    else:
        repeated.show(results, console)


def _preset(name: str) -> str:
    return (resources.files("proofload.plan.presets") / f"{name}.yaml").read_text(encoding="utf-8")


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

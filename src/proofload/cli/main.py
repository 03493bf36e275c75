"""The command line: `proofload demo`, `run`, `judge`, `cases`, `check-target`, `load`."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from proofload import __version__
from proofload.cli.baseline import baseline
from proofload.cli.discover import discover_limit
from proofload.cli.doctor import doctor
from proofload.cli.exit_status import ExitStatus, of_error
from proofload.cli.explain import explain
from proofload.cli.export_k6 import k6 as k6_app
from proofload.cli.grafana import grafana
from proofload.cli.import_files import imports
from proofload.cli.init import init
from proofload.cli.load import load
from proofload.cli.options import (
    All,
    AsJson,
    Cases,
    EngineName,
    FailFast,
    Html,
    JUnit,
    Markdown,
    OfCategory,
    OfCluster,
    OfEngine,
    OfPhase,
    OfPriority,
    Out,
    OwnCases,
    Quiet,
    Repeat,
    Seed,
    Skip,
    Ui,
    Verbose,
)
from proofload.cli.pace import Pace
from proofload.cli.recover import recover
from proofload.cli.reports import report
from proofload.cli.schemas import schema
from proofload.core.errors import ProofloadError
from proofload.suite.requested_cases import CaseFilter

app = typer.Typer(
    name="proofload",
    help="Prove, or disprove, that a gateway's controls hold under load.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and end.")] = False,
) -> None:
    if version:
        typer.echo(f"proofload {__version__}")
        raise typer.Exit
    if context.invoked_subcommand in ("demo", "load", "run"):
        _allow_descriptors()
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)


def _allow_descriptors() -> None:
    """Raise the soft limit on open files to the hard one: every connection of every user is one."""
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


@app.command(
    epilog="Examples: `proofload demo TC-RL-001 --defect rl.limit_plus_one`, `proofload demo --all --pace fast`"
)
def demo(
    cases: Cases = None,
    own: OwnCases = None,
    defect: Annotated[
        list[str] | None, typer.Option("--defect", help="Start the system with this defect (repeatable).", metavar="ID")
    ] = None,
    pace: Annotated[
        Pace, typer.Option("--pace", help="fast: windows and open times of 5s for the true 60s; said in the verdicts.")
    ] = Pace.TRUE,
    window: Annotated[
        str | None, typer.Option("--window", help="Windows and open times of this length.", metavar="DURATION")
    ] = None,
    monitoring: Annotated[
        bool, typer.Option("--monitoring", help="Beside a real Prometheus and Pushgateway, where installed.")
    ] = False,
    every: All = False,
    category: OfCategory = None,
    priority: OfPriority = None,
    phase: OfPhase = None,
    skip: Skip = None,
    repeat: Repeat = 1,
    fail_fast: FailFast = False,
    engine: OfEngine = EngineName.PROOFLOAD,
    cluster: OfCluster = None,
    out: Out = Path("runs"),
    seed: Seed = None,
    json: AsJson = False,
    junit: JUnit = None,
    html: Html = None,
    markdown: Markdown = None,
    ui: Ui = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Start the reference system, prove its controls, stop it."""
    from proofload.cli.commands import DemoOptions, Output, RunOptions, run_demo

    choice = _choice(cases or _unless(every, own), category, priority, phase, skip, every)
    options = DemoOptions(
        RunOptions(choice, out, seed, repeat, fail_fast, engine.value, cluster),
        tuple(defect or ()),
        pace,
        window,
        monitoring,
    )
    output = Output(json, junit, quiet, html, markdown, ui, verbose)
    _end(lambda: run_demo(options, output))


@app.command(
    epilog="Examples: `proofload run TC-RL --target proofload.yaml --junit results.xml`, `proofload run --engine k6`"
)
def run(
    cases: Cases = None,
    own: OwnCases = None,
    target: Annotated[Path, typer.Option("--target", "-t", help="The target file.", metavar="FILE")] = Path(
        "proofload.yaml"
    ),
    every: All = False,
    category: OfCategory = None,
    priority: OfPriority = None,
    phase: OfPhase = None,
    skip: Skip = None,
    repeat: Repeat = 1,
    fail_fast: FailFast = False,
    engine: OfEngine = EngineName.PROOFLOAD,
    cluster: OfCluster = None,
    out: Out = Path("runs"),
    seed: Seed = None,
    json: AsJson = False,
    junit: JUnit = None,
    html: Html = None,
    markdown: Markdown = None,
    ui: Ui = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Run cases against the target that a file declares."""
    from proofload.cli.commands import Output, RunOptions, run_target

    choice = _choice(cases or _unless(every, own), category, priority, phase, skip, every)
    options = RunOptions(choice, out, seed, repeat, fail_fast, engine.value, cluster)
    output = Output(json, junit, quiet, html, markdown, ui, verbose)
    _end(lambda: run_target(target, options, output))


@app.command(
    epilog="Examples: `proofload judge runs/20261123T113000Z-4f1c2a`, `proofload judge --model register history.txt`, "
    "`proofload judge --k6 results.json --target proofload.yaml`"
)
def judge(
    evidence: Annotated[
        Path | None,
        typer.Argument(
            help="The bundle of a run, the folder of `load --keep`, or with --model a history.", metavar="BUNDLE|FILE"
        ),
    ] = None,
    k6: Annotated[
        Path | None,
        typer.Option("--k6", help="Judge FILE, of `k6 run --out json=FILE` (or csv=), instead.", metavar="FILE"),
    ] = None,
    target: Annotated[
        Path, typer.Option("--target", "-t", help="With --k6: the target file that k6's run is held against.")
    ] = Path("proofload.yaml"),
    model: Annotated[
        str | None,
        typer.Option("--model", help="Is FILE, in Jepsen's text form, linearizable by this model?", metavar="NAME"),
    ] = None,
    own: OwnCases = None,
    json: AsJson = False,
    junit: JUnit = None,
    html: Html = None,
    markdown: Markdown = None,
) -> None:
    """Judge the evidence of an earlier run again, without sending a byte; or a history by a model."""
    from proofload.cli.commands import Output, judge_bundle_again, judge_history
    from proofload.cli.judge_k6 import judge_k6, refuse
    from proofload.cli.judge_load import judge_kept
    from proofload.drive.durable_run import is_kept

    if k6 is not None:
        if evidence is not None or model is not None or html is not None or markdown is not None:
            raise refuse("--k6 with a bundle, --model, --html or --markdown", "--k6 and --target, --json or --junit")
        _end(lambda: judge_k6(k6, target, as_json=json, junit=junit))
    if evidence is None:
        raise refuse("nothing to judge", "a bundle, FILE with --model, or --k6 FILE")
    if is_kept(evidence):
        _end(lambda: judge_kept(evidence, as_json=json))
    if model is not None:
        _end(lambda: judge_history(evidence, model, as_json=json))
    _end(
        lambda: judge_bundle_again(
            evidence, Output(as_json=json, junit=junit, quiet=True, html=html, markdown=markdown)
        )
    )


@app.command("cases", epilog="Examples: `proofload cases TC-RL-001`, `proofload cases --category lock --json`")
def list_cases(
    case: Annotated[str | None, typer.Argument(help="Explain this case.", metavar="CASE")] = None,
    own: OwnCases = None,
    category: OfCategory = None,
    priority: OfPriority = None,
    phase: OfPhase = None,
    json: AsJson = False,
) -> None:
    """List the catalogue, or explain one case."""
    from proofload.cli.catalogue import explain_case, list_catalogue

    if case is not None:
        _end(lambda: explain_case(case))
    _end(lambda: list_catalogue(_choice(None, category, priority, phase, None, every=True), as_json=json))


@app.command("check-target", epilog="Example: `proofload check-target proofload.yaml`")
def check_target(
    target: Annotated[Path, typer.Argument(help="The target file.", metavar="FILE")] = Path("proofload.yaml"),
) -> None:
    """Validate a target file and reach the target, without load."""
    from proofload.cli.catalogue import check_target_file

    _end(lambda: check_target_file(target))


def _unless(every: bool, own: list[str] | None) -> list[str] | None:
    """Return the ids of the own cases to run where no case is named, unless all are wanted."""
    return None if every else own


def _choice(
    cases: list[str] | None,
    category: list[str] | None,
    priority: list[str] | None,
    phase: list[int] | None,
    skip: list[str] | None,
    every: bool,
) -> CaseFilter:
    return CaseFilter(cases or (), category or (), priority or (), phase or (), skip or (), every)


def _end(command: Callable[[], ExitStatus]) -> NoReturn:
    """Run a command and end the process with its status."""
    raise typer.Exit(int(command()))


def _say_error(error: ProofloadError) -> None:
    kind = {"PlanError": "the plan is wrong, nothing was sent", "SafetyError": "refused, nothing was sent"}
    head = kind.get(type(error).__name__)
    text = str(error)
    typer.echo(f"proofload: {head}\n{text}" if head else f"proofload: {text}", err=True)


def main() -> None:
    """Start the command line; the entry point of the package. Our own errors become messages without a traceback."""
    for stream in (sys.stdout, sys.stderr):
        # A sign that the terminal's encoding does not know is shown as an escape; it must not end the report.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except ProofloadError as error:
        _say_error(error)
        sys.exit(int(of_error(error)))
    except KeyboardInterrupt:
        sys.exit(int(ExitStatus.INTERRUPTED))
    except BrokenPipeError:
        # Whoever read our output has seen enough; Python would complain once more when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(int(ExitStatus.ALL_PASS))


app.command(epilog="Example: `proofload load http://127.0.0.1:8080/ --rate 500/s --for 30s --fail-if 'p99 > 200ms'`")(
    load
)
app.command(epilog="Example: `proofload recover`")(recover)
app.command("discover", epilog="Example: `proofload discover http://127.0.0.1:8080/api/`")(discover_limit)
app.command(epilog="Example: `proofload init http://127.0.0.1:8080 --openapi openapi.json --yes`")(init)
app.command(epilog="Example: `proofload report runs/20261123T113000Z-4f1c2a -o report.html`")(report)
app.command(epilog="Example: `proofload doctor --target proofload.yaml`")(doctor)
app.command(epilog="Example: `proofload explain rl.over_admission`")(explain)
app.add_typer(baseline, name="baseline")
app.command(epilog="Example: `proofload schema result`")(schema)
app.add_typer(grafana, name="grafana")
app.add_typer(imports, name="import")
app.add_typer(k6_app, name="k6")

"""Writes reports of a run: into its bundle, and where a person asked for them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from proofload.cli.exit_status import ExitStatus, badness, of_outcomes
from proofload.cli.options import OwnCases
from proofload.core.errors import ToolError
from proofload.report.result import RunResult

REPORT, SCHEDULE = "report.html", "schedule.svg"


def report(
    bundle: Annotated[Path, typer.Argument(help="The bundle of a run.", metavar="BUNDLE")],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="The file to write: .html or .md.", metavar="FILE")
    ] = Path(REPORT),
    baseline: Annotated[
        Path | None, typer.Option("--baseline", help="A saved baseline or a bundle to compare with.", metavar="FILE")
    ] = None,
    own: OwnCases = None,
) -> None:
    """Judge a bundle again and tell it as one HTML file that needs no network, or as Markdown."""
    from proofload.report.html.page import page
    from proofload.report.markdown import to_markdown
    from proofload.suite.report_builder import result_of, story_of
    from proofload.suite.verdicts import judge_bundle

    verdicts = judge_bundle(bundle)
    status = of_outcomes(verdict.outcome for verdict in verdicts)
    result = result_of(bundle, verdicts, int(status))
    if output.suffix == ".md":
        write(output, to_markdown(result), "--output")
    else:
        story = story_of(result, report_at=output)
        if baseline is not None:
            from proofload.suite import baseline_file as baselines

            story = replace(story, before=baselines.load(baseline), now=baselines.remember(bundle))
        write(output, page(story), "--output")
    typer.echo(f"{output}: {output.stat().st_size / 1000:,.0f} kB, {len(verdicts)} verdicts")
    raise typer.Exit(int(ExitStatus.ALL_PASS))


def keep_report(result: RunResult) -> RunResult:
    """Add the report and the picture of the schedule to a run's bundle, seal it anew, and say where the report is."""
    from proofload.record.bundle import BundleWriter
    from proofload.report.charts.schedule import schedule
    from proofload.report.html.page import page, standalone
    from proofload.suite.report_builder import RUN, command_line, story_of

    path = Path(result.bundle)
    arguments = command_line(sys.argv[1:])
    story = story_of(result, report_at=path / REPORT, arguments=arguments)
    picture, told = schedule(story.turns), page(story).encode()
    # Everything is made before anything is written: a bundle that is killed between a file and its seal is refused.
    writer = BundleWriter.reopen(path)
    writer.write_json(RUN, {"arguments": arguments})
    if picture is not None:
        writer.write_bytes(SCHEDULE, standalone(picture).encode())
    writer.write_bytes(REPORT, told)
    writer.seal()
    return replace(result, report=str(path / REPORT))


def write_asked_for(results: Sequence[RunResult], html: Path | None, markdown: Path | None) -> None:
    """Write the reports that a person asked for; of repeated runs the HTML tells the worst."""
    from proofload.report.html.page import page
    from proofload.report.markdown import to_markdown
    from proofload.suite.report_builder import story_of

    worst = max(results, key=lambda result: badness(result.exit_status))
    if html is not None:
        write(html, page(story_of(worst, report_at=html)), "--html")
    if markdown is not None:
        write(markdown, to_markdown(worst), "--markdown")


def write(place: Path, text: str, option: str) -> None:
    """Write a file that a person asked for. Raises ToolError, naming the option, where that fails."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ToolError(f"{place}: could not be written ({error.strerror}); see {option}") from error

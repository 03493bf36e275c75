"""`proofload baseline`: keep what a run measured, and say whether a later one is better, worse or the same."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from proofload.cli.exit_status import ExitStatus

SAVED = Path("proofload-baseline.json")

baseline = typer.Typer(no_args_is_help=True, help="Compare a run with an earlier one.")


@baseline.command(epilog="Example: `proofload baseline save runs/20261123T113000Z-4f1c2a`")
def save(
    bundle: Annotated[Path, typer.Argument(help="The bundle of a run.", metavar="BUNDLE")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The file to write.", metavar="FILE")] = SAVED,
) -> None:
    """Keep a run's verdicts, latencies and capacity in one file, to be compared with later."""
    from proofload.suite import baseline_file as baselines

    remembered = baselines.remember(bundle)
    baselines.save(remembered, output)
    counts = f"{len(remembered.verdicts)} verdicts, latency of {len(remembered.samples)} operations"
    typer.echo(f"{output}: {counts}, capacity of {len(remembered.capacity)} cases")


@baseline.command(epilog="Example: `proofload baseline compare proofload-baseline.json runs/20261123T113000Z-4f1c2a`")
def compare(
    first: Annotated[Path, typer.Argument(help="A saved baseline or a bundle.", metavar="BASELINE|BUNDLE")],
    second: Annotated[
        Path | None,
        typer.Argument(
            help=f"The bundle to compare with it; alone, BUNDLE is compared with {SAVED}.", metavar="BUNDLE"
        ),
    ] = None,
    least_effect: Annotated[
        float, typer.Option("--least-effect", min=0.01, max=10, help="From which change on it matters; 0.1 is 10 %.")
    ] = 0.10,
    json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON to standard output.")] = False,
) -> None:
    """Say what became better or worse, stayed the same within noise, or can't be told.

    Exits 10 where anything is worse, 11 where nothing is worse but something can't be told.
    """
    from rich.console import Console

    from proofload.judge.baseline import Change
    from proofload.report.comparison import compare_runs, overall
    from proofload.report.comparison_forms import show, to_json
    from proofload.suite import baseline_file as baselines

    before = baselines.load(first if second is not None else SAVED)
    after = baselines.load(second if second is not None else first)
    compared = compare_runs(before, after, least_effect=least_effect)
    console = Console(highlight=False)
    if json:
        console.file.write(to_json(before, after, compared))
    else:
        show(before, after, compared, console)
    status = {Change.WORSE: ExitStatus.FAIL, Change.CANNOT_TELL: ExitStatus.INCONCLUSIVE}
    raise typer.Exit(int(status.get(overall(compared), ExitStatus.ALL_PASS)))

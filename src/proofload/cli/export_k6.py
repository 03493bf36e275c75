"""`proofload k6 export`: a case as a script for teams that stay on k6."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from proofload.cli.files import write_new

k6 = typer.Typer(help="For teams that stay on k6.", no_args_is_help=True)


@k6.callback()
def _root() -> None:
    """Keep `export` a command of its own, though it is the only one."""


@k6.command(epilog="Example: `proofload k6 export TC-RL-001 --target proofload.yaml --out rate-limit.js`")
def export(
    case: Annotated[
        str,
        typer.Argument(
            help="A case that k6 can express, such as TC-RL-001; any other is answered with those.", metavar="CASE"
        ),
    ],
    target: Annotated[Path, typer.Option("--target", "-t", help="The target file.", metavar="FILE")] = Path(
        "proofload.yaml"
    ),
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write there and not to the terminal.", metavar="FILE")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
) -> None:
    """Write a k6 script with thresholds that fail where the control is broken; it says what k6 can't prove."""
    from proofload.cases.k6.scripts import k6_script
    from proofload.plan.reader import read_target

    script = k6_script(case.upper(), read_target(target))
    if out is None:
        typer.echo(script, nl=False)
        return
    write_new(out, script, force=force)

"""`proofload doctor`: looks at everything that a run rests on, and says what to do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from proofload.cli.exit_status import ExitStatus

if TYPE_CHECKING:
    from proofload.discover.checkup import Check

_STYLES = {"ok": "green", "warn": "yellow", "bad": "bold red"}


def doctor(
    target: Annotated[
        Path | None,
        typer.Option("--target", "-t", help="Look at this target as well; proofload.yaml, if there.", metavar="FILE"),
    ] = None,
    redis: Annotated[
        str | None, typer.Option("--redis", help="Look at this Redis as well.", metavar="HOST:PORT")
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder that is to get the bundles.", metavar="DIR")] = Path(
        "runs"
    ),
    json: Annotated[bool, typer.Option("--json", help="Print the checks as JSON.")] = False,
) -> None:
    """Check this machine and the target: clock, files, ports, Redis, Prometheus, Loki, permissions.

    Ends with 0 where nothing keeps a run from being made, with 13 where something does.
    """
    from proofload.discover import checkup
    from proofload.plan.reader import read_target
    from proofload.record.bundle import dump_json

    path = target or (Path("proofload.yaml") if Path("proofload.yaml").exists() else None)
    checks: list[Check] = [*checkup.machine(out)]
    if redis is not None:
        checks.append(checkup.redis(redis))
    if path is not None:
        checks += checkup.of_target(read_target(path))
    console = Console(highlight=False)
    if json:
        content = [{"name": one.name, "state": one.state, "says": one.says, "remedy": one.remedy} for one in checks]
        console.file.write(dump_json({"schema_version": 1, "checks": content}).decode())
    else:
        _show(checks, console)
        if path is None:
            console.print(Text("no target file: proofload init writes one"), soft_wrap=True)
    bad = any(one.state is checkup.CheckState.BAD for one in checks)
    raise typer.Exit(int(ExitStatus.BROKEN if bad else ExitStatus.ALL_PASS))


def _show(checks: list[Check], console: Console) -> None:
    width = max(len(one.name) for one in checks)
    for one in checks:
        line = Text.assemble((f"{one.state:<5}", _STYLES[one.state]), f"{one.name:<{width}}  {one.says}")
        console.print(line, soft_wrap=True)
        if one.remedy:
            console.print(Text(f"{'':<{width + 7}}do: {one.remedy}"), soft_wrap=True)

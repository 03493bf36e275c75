"""`proofload init`: asks little, looks politely, and writes a commented target file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from proofload.cli.discover import For, Most, Rate
from proofload.cli.exit_status import ExitStatus
from proofload.cli.files import refuse_existing
from proofload.core.errors import PlanError, Problem


def init(
    url: Annotated[
        str | None, typer.Argument(help="The gateway; with a path, that is the request to send many times.")
    ] = None,
    openapi: Annotated[
        list[str] | None,
        typer.Option("--openapi", help="An OpenAPI document: a file or a URL (repeatable).", metavar="FILE|URL"),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Where to write.", metavar="FILE")] = Path("proofload.yaml"),
    name: Annotated[str, typer.Option("--name", help="What reports call the target.")] = "target",
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing.")] = False,
    no_limit: Annotated[bool, typer.Option("--no-limit", help="Do not look for a rate limit.")] = False,
    rate: Rate = "200/s",
    most: Most = 3_000,
    longest: For = "5m",
) -> None:
    """Look at a target from outside, politely, and write a commented target file to begin with."""
    asking = not yes and sys.stdin.isatty()
    refuse_existing(out, force=force)
    if url is None:
        if not asking:
            raise PlanError([Problem("init", "no address", "a URL such as http://127.0.0.1:8080", "see init -h")])
        url = typer.prompt("Address of the gateway, with the path of a cheap GET if you know one")
    documents = list(openapi or ())
    if asking and not documents:
        told = typer.prompt("OpenAPI document, file or URL (empty: look at the usual places)", default="")
        documents += [told] if told else []

    from proofload.cli.identify_limiter import manners
    from proofload.cli.new_target import look_and_write

    polite = manners(rate, most, longest)
    look_and_write(url, name, documents, polite, out, look_for_limit=not no_limit, force=force)
    raise typer.Exit(int(ExitStatus.ALL_PASS))

"""`proofload discover`: what limits requests at an address, and the policy to declare for it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Rate = Annotated[str, typer.Option("--rate", help="Never ask quicker than this.", metavar="RATE")]
Most = Annotated[int, typer.Option("--most", help="Never send more requests than this.", min=10, max=1_000_000)]
For = Annotated[str, typer.Option("--for", help="Never take longer than this.", metavar="DURATION")]


def discover_limit(
    url: Annotated[
        str | None, typer.Argument(help="A cheap GET behind the limit, such as http://127.0.0.1:8080/api/.")
    ] = None,
    target: Annotated[
        Path | None, typer.Option("--target", "-t", help="Take address and operation from this file.", metavar="FILE")
    ] = None,
    operation: Annotated[
        str | None, typer.Option("--operation", help="The operation of --target to ask for.", metavar="NAME")
    ] = None,
    rate: Rate = "200/s",
    most: Most = 3_000,
    longest: For = "5m",
    json: Annotated[bool, typer.Option("--json", help="Print what was found as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Find out what limits requests, from outside, and print the policy to paste into a target file.

    Ends with 0 where exactly one model fits, with 11 where nothing could be told or several fit.
    """
    from proofload.cli.identify_limiter import discover_and_tell, manners

    status = discover_and_tell(url, target, operation, manners(rate, most, longest), as_json=json, quiet=quiet)
    raise typer.Exit(int(status))

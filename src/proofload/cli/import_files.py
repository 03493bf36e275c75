"""`proofload import har` and `import openapi`: operations for a target file, taken over from what there is already."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

imports = typer.Typer(help="Take operations over from another file. No load is sent.", no_args_is_help=True)
Out = Annotated[Path | None, typer.Option("--out", "-o", help="Write there and not to the terminal.", metavar="FILE")]
Force = Annotated[bool, typer.Option("--force", help="Write over a file that is there.")]


@imports.command(epilog="Example: `proofload import har shop.har --out proofload.yaml`")
def har(
    file: Annotated[Path, typer.Argument(help="What the browser's network panel saved.", metavar="FILE")],
    origin: Annotated[
        str, typer.Option("--origin", help="Take requests to this server; the commonest otherwise.", metavar="URL")
    ] = "",
    every: Annotated[bool, typer.Option("--all", help="Take images, styles and scripts, too.")] = False,
    out: Out = None,
    force: Force = False,
) -> None:
    """Write a target file from a HAR file; secrets stay behind, as names of environment variables."""
    from proofload.cli.import_commands import from_har

    from_har(file, origin, out, statics=every, force=force)


@imports.command(epilog="Example: `proofload import openapi openapi.json --address http://127.0.0.1:8080`")
def openapi(
    document: Annotated[
        str, typer.Argument(help="An OpenAPI document, JSON or YAML: a file, or a URL to fetch.", metavar="FILE|URL")
    ],
    address: Annotated[
        str, typer.Option("--address", help="The server, where the document names none.", metavar="URL")
    ] = "",
    out: Out = None,
    force: Force = False,
) -> None:
    """Write a target file from an OpenAPI document; what nobody can guess becomes environment variables."""
    from proofload.cli.import_commands import from_openapi

    from_openapi(document, address, out, force=force)

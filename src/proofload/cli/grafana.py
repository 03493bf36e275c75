"""`proofload grafana export` and `push`: the dashboards, into a folder or into a Grafana server."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Annotated

import typer

from proofload.core.errors import PlanError, Problem, ToolError

_TOKEN = "GRAFANA_TOKEN"  # noqa: S105 -- the name of a variable, not a token

grafana = typer.Typer(help="Dashboards for Grafana.", no_args_is_help=True)


@grafana.command(epilog="Example: `proofload grafana export dashboards/`")
def export(
    folder: Annotated[Path, typer.Argument(help="Where to write the JSON files.", metavar="DIR")] = Path("dashboards"),
) -> None:
    """Write the dashboards as JSON, for Grafana's import page or its provisioning."""
    from proofload.report.grafana import shipped

    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in shipped().items():
            place = folder / f"proofload-{name}.json"
            place.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
            typer.echo(str(place))
    except OSError as error:
        raise ToolError(f"{folder}: could not be written ({error.strerror})") from error


@grafana.command(epilog="Example: `proofload grafana push http://127.0.0.1:3000`, with the token in GRAFANA_TOKEN")
def push(
    url: Annotated[str, typer.Argument(help="Address of Grafana.", metavar="URL")],
    folder: Annotated[str, typer.Option("--folder", help="Uid of the folder to put them in.", metavar="UID")] = "",
) -> None:
    """Put the dashboards into a Grafana server; its token is taken from the environment (GRAFANA_TOKEN)."""
    from proofload.report.grafana import shipped
    from proofload.telemetry.grafana import Grafana

    if not url.startswith(("http://", "https://")):
        raise PlanError([Problem("URL", repr(url), "an address such as http://127.0.0.1:3000")])
    server = Grafana(url, os.environ.get(_TOKEN))

    async def put() -> list[str]:
        return [await server.push_dashboard(content, folder) for content in shipped().values()]

    for address in asyncio.run(put()):
        typer.echo(address)

"""`proofload init`: asks little, looks politely, and writes a commented target file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer
import uvloop
from rich.console import Console
from rich.text import Text

from proofload.cli.discover import For, Most, Rate, manners, target_of
from proofload.cli.exit_status import ExitStatus
from proofload.core.errors import PlanError, Problem, TargetError
from proofload.discover.draft import draft
from proofload.discover.limiter import Discovery, discover
from proofload.discover.manners import Manners
from proofload.discover.openapi import Api, merged, read_openapi
from proofload.discover.survey import Found, Visitor, survey
from proofload.plan.ownership import prove_ownership
from proofload.plan.reader import parse_target
from proofload.plan.target import Target


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
    console = Console(stderr=True, highlight=False)
    if out.exists() and not force:
        raise PlanError([Problem(str(out), "a file that is there", "a new one", "see --out and --force")])
    if url is None:
        if not asking:
            raise PlanError([Problem("init", "no address", "a URL such as http://127.0.0.1:8080", "see init -h")])
        url = typer.prompt("Address of the gateway, with the path of a cheap GET if you know one")
    documents = list(openapi or ())
    if asking and not documents:
        told = typer.prompt("OpenAPI document, file or URL (empty: look at the usual places)", default="")
        documents += [told] if told else []
    target = target_of(url, name)
    path = target.operations["read"].path if urlsplit(url).path not in ("", "/") else ""
    polite = manners(rate, most, longest)
    found, limit = uvloop.run(_look(target, path, documents, polite, look_for_limit=not no_limit, console=console))
    text = draft(found, limit)
    # What we write must be what we read.
    checked = parse_target(text, str(out), {})
    out.write_text(text, encoding="utf-8")
    _tell(found, limit, checked, out, console)
    raise typer.Exit(int(ExitStatus.ALL_PASS))


async def _look(
    target: Target, path: str, documents: list[str], polite: Manners, *, look_for_limit: bool, console: Console
) -> tuple[Found, Discovery | None]:
    def say(text: str) -> None:
        console.print(Text(f"{text} ..."), soft_wrap=True)

    vet = prove_ownership(target)
    apis = [read_openapi(await _text(one, polite), one) for one in documents]
    say(f"looking at {target.address}")
    found = await survey(target, merged(apis) if apis else Api(), path, vet, polite)
    if not found.probe:
        raise TargetError(
            f"{target.address}: no GET succeeded ({'; '.join(found.left_out[:3])}), expected one that a "
            "test may send many times; name it in the URL, or give the OpenAPI document with --openapi"
        )
    limit = None
    if look_for_limit:
        say(f"looking for a rate limit with GET {found.target.operations[found.probe].path}")
        limit = await discover(found.target, found.probe, vet, manners=polite, say=say)
    return found, limit


async def _text(document: str, polite: Manners) -> str:
    """Return an OpenAPI document, from a file or from a server that may be asked."""
    if "://" in document:
        place = target_of(document)
        (answer,) = await Visitor(place, prove_ownership(place), polite).get(place.operations["read"].path)
        if not answer.ok:
            raise PlanError([Problem(document, f"status {answer.status}", "an OpenAPI document", "see --openapi")])
        return answer.text
    return _file(document)


def _file(document: str) -> str:
    try:
        return Path(document).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PlanError([Problem(document, str(error), "an OpenAPI document", "see --openapi")]) from error


def _tell(found: Found, limit: Discovery | None, target: Target, out: Path, console: Console) -> None:
    said = [f"{len(target.operations)} operations"]
    said.append("a log-in that works" if target.users else "no log-in")
    if limit is not None:
        said.append(f"a rate limit ({limit.fits[0]})" if limit.policy else "no rate limit that could be told")
    said.append("a counter of requests" if found.counter else "no counter of requests")
    console.print(Text(f"{out}: {', '.join(said)}"), soft_wrap=True)
    for note in [*found.notes, *(limit.notes if limit else ()), *([limit.why_not] if limit and limit.why_not else ())]:
        console.print(Text(f"  note: {note}"), soft_wrap=True)
    console.print(Text(f"next: proofload check-target {out}, then proofload run TC-RL --target {out}"), soft_wrap=True)

"""What `proofload init` does, once it has been told what to look at."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import uvloop
from rich.console import Console
from rich.text import Text

from proofload.cli.files import read_text, write_new
from proofload.cli.identify_limiter import target_of
from proofload.core.errors import PlanError, Problem, TargetError
from proofload.discover.budget import Manners
from proofload.discover.draft import draft
from proofload.discover.limiter import Discovery, discover
from proofload.discover.openapi import Api, merged, read_openapi
from proofload.discover.survey import Found, Visitor, survey
from proofload.drive.ownership_challenge import prove_ownership
from proofload.plan.reader import parse_target
from proofload.plan.target import Target


def look_and_write(
    url: str, name: str, documents: list[str], polite: Manners, out: Path, *, look_for_limit: bool, force: bool
) -> None:
    """Look at a target from outside and write a target file to begin with; it is read again before it is written."""
    console = Console(stderr=True, highlight=False)
    target = target_of(url, name)
    path = target.operations["read"].path if urlsplit(url).path not in ("", "/") else ""
    found, limit = uvloop.run(_look(target, path, documents, polite, look_for_limit=look_for_limit, console=console))
    text = draft(found, limit)
    # What we write must be what we read.
    checked = parse_target(text, str(out), {})
    write_new(out, text, force=force)
    _tell(found, limit, checked, out, console)


async def _look(
    target: Target, path: str, documents: list[str], polite: Manners, *, look_for_limit: bool, console: Console
) -> tuple[Found, Discovery | None]:
    def say(text: str) -> None:
        console.print(Text(f"{text} ..."), soft_wrap=True)

    vet = prove_ownership(target)
    apis = [read_openapi(await document_text(one, polite, "see --openapi"), one) for one in documents]
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


async def document_text(document: str, polite: Manners, remedy: str) -> str:
    """Return an OpenAPI document, from a file or from a server that may be asked. Raises PlanError, SafetyError."""
    if "://" in document:
        place = target_of(document)
        (answer,) = await Visitor(place, prove_ownership(place), polite).get(place.operations["read"].path)
        if not answer.ok:
            raise PlanError([Problem(document, f"status {answer.status}", "an OpenAPI document", remedy)])
        return answer.text
    return read_text(Path(document), "an OpenAPI document", remedy)


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

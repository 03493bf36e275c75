"""What `proofload import` does, once its arguments are known."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

import typer

from proofload.cli.files import read_text, write_new
from proofload.cli.new_target import document_text
from proofload.core.errors import PlanError, Problem
from proofload.discover.budget import Manners
from proofload.discover.har import read_har
from proofload.discover.imported_operations import Imported
from proofload.discover.openapi import Api, Offer, read_openapi
from proofload.plan.reader import parse_target

_HELP = "see proofload import openapi -h"


def from_har(file: Path, origin: str, out: Path | None, *, statics: bool, force: bool) -> None:
    """Write a target file from a HAR file. Raises PlanError."""
    _write(
        read_har(read_text(file, "a file of text"), str(file), origin=origin, statics=statics),
        str(file),
        out,
        force=force,
    )


def from_openapi(document: str, address: str, out: Path | None, *, force: bool) -> None:
    """Write a target file from an OpenAPI document, a file or at a URL that may be asked. Raises PlanError."""
    api = read_openapi(asyncio.run(document_text(document, Manners(), _HELP)), document)
    server, base = _server(api.server, address, document)
    found = Imported(server)
    for offer in api.offers:
        _take(found, offer, base)
    _log_in(found, api)
    if not found.operations:
        raise PlanError([Problem(document, "no operation that can be sent", "paths with methods", "docs/target.md")])
    _write(found, document, out, force=force)


def _take(found: Imported, offer: Offer, base: str) -> None:
    path, body, what = base + offer.path, dict(offer.body or {}), f"{offer.method} {offer.path}"
    query: list[str] = []
    headers: dict[str, str] = {}
    for need in offer.needs:
        if f"{{{need}}}" in path:
            path = path.replace(f"{{{need}}}", found.variable(need))
        elif need in offer.in_query:
            query.append(f"{quote(need, safe='')}={found.variable(need)}")
        elif need in offer.in_headers:
            headers[need] = found.variable(need)
        elif need in offer.fields:
            body[need] = found.variable(need)
        else:
            found.left_out.append(f"{what}: it needs {need}, a cookie or part of a body that is no JSON object")
            return
    told: dict[str, Any] = {"method": offer.method, "path": f"{path}?{'&'.join(query)}" if query else path}
    if headers:
        told["headers"] = headers
    if body:
        told["json"] = body
    if path != base + offer.path:
        told["route"] = base + offer.path
    if offer.method not in ("GET", "HEAD", "OPTIONS"):
        told["effect"] = "lasting"
    found.add(offer.name, told, what)


def _log_in(found: Imported, api: Api) -> None:
    if api.login is None or api.login.name not in found.operations:
        return
    register = api.register.name if api.register and api.register.name in found.operations else None
    found.users = {"login": api.login.name, "token": api.token, **({"register": register} if register else {})}


def _server(told: str, address: str, where: str) -> tuple[str, str]:
    """Return the address of the server and the path that all its operations begin with."""
    try:
        # A server that is told without its host is that of the document, as the specification has it.
        told = urljoin(where, told or "/") if "://" in where else told
        named, given = urlsplit(told), urlsplit(address or told)
    except ValueError:
        named = given = urlsplit("")
    if given.scheme not in ("http", "https") or not given.netloc:
        raise PlanError([Problem(where, f"the server {told!r}", "http://HOST:PORT", "name it with --address")])
    base = named.path.rstrip("/")
    return f"{given.scheme}://{given.netloc.rpartition('@')[2]}", "" if "{" in base else base


def _write(found: Imported, came_from: str, out: Path | None, *, force: bool) -> None:
    # A URL's query may hold a secret.
    text = found.text(Path(urlsplit(came_from).path if "://" in came_from else came_from).name)
    # What we write must be what we read.
    parse_target(text, str(out or came_from), dict.fromkeys(found.variables, "x"))
    if out is None:
        typer.echo(text, nl=False)
        return
    write_new(out, text, force=force)
    typer.echo(f"{out}: {len(found.operations)} operations, {len(found.left_out)} left out", err=True)
    typer.echo(f"next: proofload check-target {out}", err=True)

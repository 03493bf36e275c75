"""`--ui`: the live page beside a run. It ends with the run; only who sits at a terminal is given the time to read."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import typer

from proofload.report.served.server import LivePage

_GRACE_S = 3.0
"""For a page that is open to fetch the report, where nobody sits at a terminal."""


@contextmanager
def live_page(wanted: bool) -> Iterator[LivePage | None]:
    """Serve the live page while the run goes on, where it is wanted; say where it is.

    Afterwards it stays until Ctrl-C at a terminal, and ends at once in a pipe or a CI job.
    """
    if not wanted:
        yield None
        return
    with LivePage.start() as page:
        typer.echo(f"live page  {page.url}", err=True)
        yield page
        if page.stays and _somebody_is_there():
            typer.echo(f"\nthe report stays at {page.url} until Ctrl-C", err=True)
            _wait_for_ctrl_c()
        else:
            page.wait_for_followers(_GRACE_S)


def _wait_for_ctrl_c() -> None:
    with suppress(KeyboardInterrupt):
        threading.Event().wait()


def _somebody_is_there() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty() and not os.environ.get("CI")

"""The options that several commands share, each written down once."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


def _join(paths: list[str] | None) -> list[str]:
    """Let own cases join the catalogue; what the option stands for from then on is their ids."""
    from proofload.suite.custom_cases import join

    return join([Path(path) for path in paths or ()])


Cases = Annotated[
    list[str] | None,
    typer.Argument(help="Ids of cases, or prefixes such as TC-RL. The nine core cases, where none is named."),
]
All = Annotated[bool, typer.Option("--all", help="Every case of the catalogue, not the nine core ones alone.")]
OfCategory = Annotated[
    list[str] | None,
    typer.Option("--category", "-c", help="Only cases of this category, such as lock (repeatable).", metavar="NAME"),
]
OfPriority = Annotated[
    list[str] | None,
    typer.Option(
        "--priority", "-p", help="Only cases of this priority: critical, high … (repeatable).", metavar="NAME"
    ),
]
OfPhase = Annotated[
    list[int] | None, typer.Option("--phase", help="Only cases of this phase, 1 to 8 (repeatable).", metavar="N")
]
Skip = Annotated[
    list[str] | None,
    typer.Option("--skip", help="Leave out these cases; an id or a prefix (repeatable).", metavar="ID"),
]
Repeat = Annotated[
    int, typer.Option("--repeat", "-n", min=1, max=1000, help="Run N times; says how many of N passed.", metavar="N")
]


class EngineName(StrEnum):
    """Who sends what the cases ask for."""

    PROOFLOAD = "proofload"
    K6 = "k6"


OfEngine = Annotated[
    EngineName, typer.Option("--engine", help="Who sends: k6 drives what it can, and the other cases are SKIPPED.")
]
OfCluster = Annotated[
    str | None,
    typer.Option("--cluster", help="A Ray cluster whose nodes send: its address, or 'local'.", metavar="ADDRESS"),
]
FailFast = Annotated[bool, typer.Option("--fail-fast", "-x", help="End the run in order at the first FAIL.")]
OwnCases = Annotated[
    list[str] | None,
    typer.Option("--cases", help="A Python file with cases of your own (repeatable).", metavar="FILE", callback=_join),
]
Out = Annotated[Path, typer.Option("--out", help="Folder that gets a bundle for each run.", metavar="DIR")]
Seed = Annotated[int | None, typer.Option("--seed", help="Seed of all that is random; printed with each run.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON (schema_version 1) to standard output.")]
JUnit = Annotated[
    Path | None, typer.Option("--junit", help="Write the result as JUnit XML to this file.", metavar="FILE")
]
Ui = Annotated[bool, typer.Option("--ui", help="Serve a live page of the run on loopback; it ends as the report.")]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Tell every rule that was examined, and the load while it goes on.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, verdicts only.")]
Html = Annotated[
    Path | None, typer.Option("--html", help="Write the report as one HTML file, as well.", metavar="FILE")
]
Markdown = Annotated[
    Path | None, typer.Option("--markdown", help="Write the result as Markdown, as for a job summary.", metavar="FILE")
]

"""`proofload schema`: the JSON Schemas of what it reads and of what it prints."""

from __future__ import annotations

import enum
from importlib import resources
from typing import Annotated

import typer


class Which(enum.StrEnum):
    """What a schema is of."""

    RESULT = "result"
    TARGET = "target"


def schema(
    which: Annotated[Which, typer.Argument(help="result: what --json prints; target: the target file.")],
) -> None:
    """Print the JSON Schema of the result (--json) or of the target file, for editors and for programs that read it."""
    text = (resources.files("proofload.schemas") / f"{which}.schema.json").read_text(encoding="utf-8")
    typer.echo(text, nl=False)

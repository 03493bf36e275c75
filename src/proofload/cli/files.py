"""Reads a file that a command is given, and writes one that it makes, never over one that is there."""

from __future__ import annotations

from pathlib import Path

from proofload.core.errors import PlanError, Problem, ToolError

_MOST_BYTES = 256 << 20


def read_text(path: Path, expected: str, remedy: str = "") -> str:
    """Return the text of a file. Raises PlanError, with what was expected, where it can't be read or is too large."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise PlanError([Problem(str(path), f"{path.stat().st_size} bytes", f"{_MOST_BYTES} at the most")])
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise PlanError([Problem(str(path), str(error), expected, remedy)]) from error


def refuse_existing(path: Path, *, force: bool) -> None:
    """Raise PlanError where something is there already, unless it may be written over."""
    if path.exists() and not force:
        raise PlanError([Problem(str(path), "a file that is there", "a new one", "see --out and --force")])


def write_new(path: Path, text: str, *, force: bool) -> None:
    """Write a text into a file. Raises PlanError where one is there, ToolError where it can't be written."""
    refuse_existing(path, force=force)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ToolError(f"{path}: could not be written ({error.strerror}); see --out") from error

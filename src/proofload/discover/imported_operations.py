"""Operations taken over from another tool's file, as the text of a target file; what was left out is told in it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml
from pydantic import ValidationError

from proofload.core.text import visible
from proofload.plan.operation import Operation

_MOST_NOTES = 20
_LONGEST_NOTE = 160
_LONGEST_NAME = 48


@dataclass(slots=True)
class Imported:
    """What a target file is made of."""

    address: str
    operations: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Operations as they stand in a target file, by name."""
    users: Mapping[str, str] | None = None
    left_out: list[str] = field(default_factory=list)
    """What could not be taken over, and why."""
    variables: set[str] = field(default_factory=set)
    """Environment variables from which the file takes what nobody can guess, or what is secret."""

    def variable(self, name: str) -> str:
        """Return the `${env:…}` that stands for a value of this name."""
        variable = "IMPORTED_" + re.sub(r"\W+", "_", name, flags=re.ASCII).upper().strip("_")
        self.variables.add(variable)
        return f"${{env:{variable}}}"

    def add(self, name: str, told: Mapping[str, Any], what: str) -> None:
        """Take an operation in; a name that is taken gets a number, and what can't be declared is told instead."""
        try:
            Operation.model_validate(dict(told))
        except ValidationError as error:
            self.left_out.append(f"{what}: {error.errors()[0]['msg']}")
            return
        plain = re.sub(r"[^A-Za-z0-9_]+", "_", name).strip("_")[:_LONGEST_NAME] or "request"
        unique, number = plain, 2
        while unique in self.operations:
            unique, number = f"{plain}_{number}", number + 1
        self.operations[unique] = dict(told)

    def text(self, came_from: str) -> str:
        """Return the target file."""
        users = {"users": dict(self.users)} if self.users else {}
        content = {"version": 1, "address": self.address, **users, "operations": self.operations}
        lines = [f"# Imported from {came_from}. Every key is explained in docs/target.md; next: proofload check-target"]
        if self.variables:
            lines.append("# What is secret, or what nobody can guess, comes from the environment: export these first.")
            lines += [f"#   {name}" for name in sorted(self.variables)]
        lines += [f"# not here: {visible(note, _LONGEST_NOTE)}" for note in self.left_out[:_MOST_NOTES]]
        if len(self.left_out) > _MOST_NOTES:
            lines.append(f"# not here: {len(self.left_out) - _MOST_NOTES} more")
        lines.append("# No policy can be seen in such a file: declare what your controls promise under `policies`.")
        return "\n".join(lines) + "\n" + yaml.safe_dump(content, sort_keys=False, width=110)


def holds_field(texts: Iterable[str]) -> bool:
    """Return whether a text would be taken for a `${field}` of ours, or can't be written down at all."""
    return any("${" in text or (not text.isascii() and not _is_writable(text)) for text in texts)


def _is_writable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True

"""Scripts from files: `file.py:shopper`, found again by every process of a fleet."""

from __future__ import annotations

import inspect
import runpy
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proofload.core.errors import PlanError, Problem

_LOADED: dict[Path, dict[str, Any]] = {}


@dataclass(frozen=True, slots=True)
class FileScript:
    """A coroutine function in a Python file. It can be pickled; the file is run once in each process."""

    path: Path
    name: str

    @classmethod
    def of(cls, text: str) -> FileScript:
        """Return the script that `file.py:name` means. Raises PlanError where there is none."""
        file, _, name = text.rpartition(":")
        script = cls(Path(file or text).resolve(), name)
        found = script.members().get(name) if file else None
        if not inspect.iscoroutinefunction(found):
            expected = "a file and a coroutine function in it, such as shop.py:shopper"
            raise PlanError([Problem("script", repr(text), expected, "see docs/workloads.md")])
        return script

    def members(self) -> dict[str, Any]:
        """Return what the file defines. Raises PlanError where it can't be run."""
        if self.path not in _LOADED:
            try:
                _LOADED[self.path] = runpy.run_path(str(self.path), run_name="proofload_script")
            except (OSError, SyntaxError, ImportError) as error:
                raise PlanError([Problem(str(self.path), str(error), "a Python file that can be run")]) from error
        return _LOADED[self.path]

    def __call__(self, user: Any) -> Coroutine[Any, Any, Any]:
        """Begin an iteration of the script."""
        begun: Coroutine[Any, Any, Any] = self.members()[self.name](user)
        return begun

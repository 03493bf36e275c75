"""Cases that are not ours: from files named by `--cases`, and from entry points of installed packages."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from types import ModuleType

from proofload.cases.case import AnyCase, Case
from proofload.core.errors import PlanError, Problem
from proofload.suite.catalogue import CATALOGUE, include

GROUP = "proofload.cases"
"""The entry points' group; each names a module, or a case in one (`shop.load:same_cart`)."""


def join(paths: Sequence[Path]) -> list[str]:
    """Let the cases of installed packages and of these files join the catalogue; return the ids of the files' own.

    Raises PlanError where a file can't be run, holds no case, or takes the id of another.
    """
    include(_new(case for point in metadata.entry_points(group=GROUP) for case in _found(point.load(), point.value)))
    joined: list[str] = []
    for path in paths:
        cases = list(_new(_found(_run(path), str(path))))
        include(cases)
        joined += [case.id for case in cases]
    return joined


def _new(cases: Iterable[AnyCase]) -> Iterator[AnyCase]:
    for case in cases:
        present = CATALOGUE.get(case.id)
        if present is not None and _home(present) != _home(case):
            raise PlanError([Problem(case.id, "an id that another case has", "one of its own", "see proofload cases")])
        yield case


def _home(case: AnyCase) -> str:
    # The same file may be named twice, and an installed module by two entry points.
    return f"{getattr(case.drive, '__module__', '')} {case.title}"


def _found(what: object, where: str) -> list[AnyCase]:
    """Return the cases that a module holds, or the one that `what` is."""
    values = list(vars(what).values()) if isinstance(what, ModuleType) else [what]
    own = list({id(value): value for value in values if isinstance(value, Case)}.values())
    remedy = "see docs/own-cases.md"
    if not own:
        raise PlanError([Problem(where, "no case", "a function under @case(...)", remedy)])
    unjudged = [one.id for one in own if not one.is_judged]
    if unjudged:
        expected = "a function under @NAME.judge"
        raise PlanError([Problem(one, "no judge", expected, remedy) for one in unjudged])
    return own


def _run(path: Path) -> ModuleType:
    name = f"proofload_own_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise PlanError([Problem(str(path), "no Python file", "a file with cases", "see docs/own-cases.md")])
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except PlanError:
        raise
    except Exception as error:
        frames = [
            one for one in traceback.extract_tb(error.__traceback__) if Path(one.filename).resolve() == path.resolve()
        ]
        at = f"{path}:{frames[-1].lineno}" if frames else str(path)
        raise PlanError([Problem(at, f"{type(error).__name__}: {error}", "a file that can be run")]) from error
    return module

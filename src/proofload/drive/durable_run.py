"""A load run kept in a folder while it goes on: the plan before the first request, rows as they are made, a seal last.

Rows lie in files that every generator writes through shared memory, so those of a generator that was killed (or of all
of them, with whoever started them) are there up to the last request. What was planned and has no end is UNKNOWN.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from proofload.core.errors import PlanError, Problem, ToolError
from proofload.drive.measure import DeliveryParts, RunnerReport, generator_of
from proofload.drive.rows import DTYPE, close_open_rows
from proofload.drive.stats import Standing, Stats
from proofload.record.delivery import Delivery

PLAN, SEAL, ROWS = "load.json", "sealed.json", "rows"
SCHEMA_VERSION = 1
_BLOCK_ROWS = 1 << 16
_UNFINISHED = "the run ended before it could tell: what stands here was read from the rows alone"


@dataclass(frozen=True, slots=True)
class KeptLoad:
    """A kept run, read in one pass."""

    plan: Mapping[str, Any]
    standing: Standing
    delivery: Delivery
    finished: bool


def begin(folder: Path, plan: Mapping[str, Any]) -> Path:
    """Write the plan into a folder that is new or empty, and return where the rows go.

    Raises PlanError where something is there already, ToolError where it can't be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise PlanError([Problem("--keep", str(folder), "a folder that is new or empty", "name another one")])
    try:
        (folder / ROWS).mkdir(parents=True)
        _write(folder / PLAN, {"schema_version": SCHEMA_VERSION, **plan})
    except OSError as error:
        raise ToolError(f"{folder}: could not be written ({error.strerror}); see --keep") from error
    return folder / ROWS


def seal(folder: Path, delivery: Delivery, checks: Mapping[str, tuple[int, int]], elapsed_ns: int) -> None:
    """Say that the run came to its end, what the engine thinks of it, and what each file of rows must hold."""
    files = {str(path.relative_to(folder)): _digest(path) for path in sorted((folder / ROWS).rglob("*.bin"))}
    content = {"delivery": json.loads(delivery.to_json()), "checks": dict(checks), "elapsed_ns": elapsed_ns}
    _write(folder / SEAL, {"schema_version": SCHEMA_VERSION, **content, "files": files})


def is_kept(folder: Path) -> bool:
    """Return whether the folder holds a kept run."""
    return (folder / PLAN).is_file()


def read(folder: Path) -> KeptLoad:
    """Read a kept run, finished or not, in one pass over its rows and in flat memory.

    Raises ToolError for a file that is not what the seal says, or that can't be read.
    """
    plan = _json(folder / PLAN)
    sealed = _json(folder / SEAL) if (folder / SEAL).exists() else None
    if sealed is not None:
        _check(folder, sealed["files"])
    whole, accounts = Stats(), []
    made = 0
    spans: list[tuple[int, int]] = []
    for number, place in enumerate(sorted((folder / ROWS).glob("generator-*"))):
        stats, rows = Stats(), 0
        for block in _blocks(place):
            stats.add_rows(block)
            rows += len(block)
            spans.append(_span(block))
        whole.merge(stats)
        made += rows
        accounts.append(_account(number, stats, rows, plan))
    elapsed_ns = max(high for _, high in spans) - min(low for low, _ in spans) if spans else 0
    if sealed is not None:
        checks = {name: (held, broken) for name, (held, broken) in sealed["checks"].items()}
        standing = Standing(whole, made, 0, sealed["elapsed_ns"], checks, 0)
        return KeptLoad(plan, standing, Delivery.from_json(json.dumps(sealed["delivery"])), finished=True)
    delivery = DeliveryParts.merged(accounts, (_UNFINISHED,), stopped=True).delivery()
    return KeptLoad(plan, Standing(whole, made, 0, elapsed_ns, {}, 0), delivery, finished=False)


def _blocks(place: Path) -> Iterator[np.ndarray[Any, np.dtype[Any]]]:
    """Yield the rows of one generator, some tens of thousands at a time; rows never made are left out."""
    for path in sorted(place.glob("rows-*.bin")):
        try:
            block = np.fromfile(path, dtype=DTYPE, count=_BLOCK_ROWS)
        except OSError as error:
            raise ToolError(f"{path}: could not be read ({error.strerror})") from error
        block = block[block["ending"] != 0]
        close_open_rows(block)
        if len(block):
            yield block


def _span(block: np.ndarray[Any, np.dtype[Any]]) -> tuple[int, int]:
    return int(block["intended_ns"].min()), int(max(block["done_ns"].max(), block["intended_ns"].max()))


def _account(number: int, stats: Stats, rows: int, plan: Mapping[str, Any]) -> DeliveryParts:
    reports = tuple(
        RunnerReport(one["name"], one["kind"], place, one["asked_per_second"], 0, None, None)
        for place, one in enumerate(plan["workloads"])
    )
    generators = (generator_of(number, rows, 0, 0, 0, stats),)
    return DeliveryParts(stats, reports, generators, 0, (), stopped=True, errors={}, checks={})


def _check(folder: Path, files: Mapping[str, str]) -> None:
    there = {str(path.relative_to(folder)) for path in (folder / ROWS).rglob("*.bin")}
    for name in sorted(there ^ set(files)):
        raise ToolError(f"{folder / name}: got a file {'too many' if name in there else 'too few'}; see the seal")
    for name, digest in files.items():
        if _digest(folder / name) != digest:
            raise ToolError(f"{folder / name}: got other content than was sealed, expected the rows as they were made")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _json(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ToolError(f"{path}: could not be read ({error}), expected what proofload load --keep wrote") from error
    if content.get("schema_version") != SCHEMA_VERSION:
        got = content.get("schema_version")
        raise ToolError(
            f"{path}: got schema_version {got!r}, expected {SCHEMA_VERSION}; use the proofload that made it"
        )
    return content


def _write(path: Path, content: Mapping[str, Any]) -> None:
    # Whole or not at all: who reads after a power cut must not find half of it.
    scratch = path.with_suffix(".part")
    scratch.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    scratch.replace(path)

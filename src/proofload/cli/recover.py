"""`proofload recover`: mends what earlier runs broke and left, and says what it mended."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from proofload.cli.exit_status import ExitStatus

if TYPE_CHECKING:
    from proofload.faults.journal import Entry, Journal


def recover(
    force: Annotated[
        bool, typer.Option("--force", help="Mend also what a run that still lives has broken on purpose.")
    ] = False,
    forget: Annotated[
        bool, typer.Option("--forget", help="Give up what still can't be mended, once you have mended it by hand.")
    ] = False,
    journal: Annotated[
        Path | None,
        typer.Option("--journal", help="Folder of the remedies, where it is not the usual one.", metavar="DIR"),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print what was done as JSON.")] = False,
) -> None:
    """Mend whatever an earlier run broke and could not mend; a second time nothing is left."""
    from proofload.faults.journal import Journal

    found = recover_all(Journal(journal), force)
    for one in found:
        if forget and one.state == "failed":
            one.path.unlink(missing_ok=True)
    if json:
        import json as as_json

        typer.echo(as_json.dumps({"schema_version": 1, "faults": [one.to_json() for one in found]}, indent=2))
    else:
        for one in found:
            typer.echo(one.line(), err=one.state == "failed")
        if not found:
            typer.echo("Nothing is left to mend.")
    failed = not forget and any(one.state == "failed" for one in found)
    raise typer.Exit(int(ExitStatus.BROKEN if failed else ExitStatus.ALL_PASS))


@dataclass(frozen=True, slots=True)
class Recovered:
    """What became of one entry: `mended` (by us), `was_mended` (before), `alive` (left to its run) or `failed`."""

    state: str
    path: Path
    said: str
    entry: Entry | None = None
    earlier: dict[str, Any] = field(default_factory=dict)

    def line(self) -> str:
        """Return it as a sentence for a person."""
        if self.entry is None:
            return f"could not be mended: {self.said}"
        what = f"{self.entry.service}: {self.entry.kind} ({self.entry.driver})"
        run = f"the run with process {self.entry.runner.pid} of {_when(self.entry.written_wall_ns)}"
        if self.state == "mended":
            return f"mended {what}, left by {run}: {self.said}"
        if self.state == "was_mended":
            at, by = _when(int(self.earlier.get("at_wall_ns", 0))), self.earlier.get("by")
            return f"mended {what}, left by {run}, at {at} by its {by} ({self.earlier.get('why')}): {self.said}"
        if self.state == "alive":
            return f"left alone {what}: {run} still lives and mends it itself; --force mends it now"
        return f"could not be mended: {what}, left by {run}: {self.said}\n  remedy: {self.path}; --forget gives it up"

    def to_json(self) -> dict[str, Any]:
        """Return it for programs."""
        told: dict[str, Any] = {"state": self.state, "entry": str(self.path), "said": self.said}
        if self.entry is not None:
            told |= {name: getattr(self.entry, name) for name in ("fault", "service", "driver", "kind")}
            told |= {"runner_pid": self.entry.runner.pid, "written_wall_ns": self.entry.written_wall_ns}
        return told


def recover_all(journal: Journal, force: bool) -> list[Recovered]:
    """Mend all that is in a journal, oldest first, and return what became of each entry."""
    return [one for path in journal.entries() if (one := _recover(path, force)) is not None]


def _recover(path: Path, force: bool) -> Recovered | None:
    from proofload.faults.journal import mend, read, remove
    from proofload.faults.recipe import FaultError

    entry = None
    try:
        entry = read(path)
        if entry.runner.is_alive() and entry.mended is None and not force:
            return Recovered("alive", path, "its run still lives", entry)
        said = mend(path, "recover", "asked to")
        if said is None:
            # Somebody else was quicker: its runner, who took the entry away, or its watchdog, who left a note.
            entry = read(path)
            earlier = entry.mended or {}
            remove(path)
            return Recovered("was_mended", path, str(earlier.get("said", "")), entry, earlier)
        remove(path)
        return Recovered("mended", path, said, entry)
    except FileNotFoundError:
        return None
    except FaultError as error:
        return Recovered("failed", path, str(error), entry)


def _when(wall_ns: int) -> str:
    return datetime.datetime.fromtimestamp(wall_ns // 1_000_000_000, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")

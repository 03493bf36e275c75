"""Remedies on disk, written before anything is broken. One file a fault, one JSON object a line.

The first line is the entry with its recipe; further lines say what became of it. Lines are only ever appended, so a
crash in mid-write never costs the recipe. Whoever mends holds the file's lock; a file that is gone is mended.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from proofload.core.clock import SystemClock
from proofload.faults.process_identity import ProcessIdentity
from proofload.faults.recipe import FaultError, Recipe, carry_out

_ENDING = ".jsonl"


def default_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Return where remedies are kept: under XDG_STATE_HOME, else ~/.local/state."""
    home = environ.get("XDG_STATE_HOME", "")
    base = Path(home) if home.startswith("/") else Path.home() / ".local" / "state"
    return base / "proofload" / "faults"


@dataclass(frozen=True, slots=True)
class Entry:
    """One fault that may be in force, and what was noted of it since."""

    path: Path
    fault: str
    service: str
    driver: str
    kind: str
    runner: ProcessIdentity
    written_wall_ns: int
    recipe: Recipe
    notes: tuple[dict[str, Any], ...] = field(default=())

    @property
    def mended(self) -> dict[str, Any] | None:
        """Return the note of its mending, where somebody else than its runner mended it."""
        return next((note for note in self.notes if note.get("note") == "mended"), None)


class Journal:
    """A folder of entries that only its owner may write to."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = (folder or default_folder()).absolute()

    def write(self, *, fault: str, service: str, driver: str, kind: str, recipe: Recipe) -> Path:
        """Put an entry on disk, surely, and return its file."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            _refuse_if_not_ours(self.folder)
            wall_ns = SystemClock().wall_ns()
            path = self.folder / f"{wall_ns}-{secrets.token_hex(4)}{_ENDING}"
            first = {
                "version": 1,
                "fault": fault,
                "service": service,
                "driver": driver,
                "kind": kind,
                "runner": ProcessIdentity.own().to_json(),
                "written_wall_ns": wall_ns,
                "recipe": recipe,
            }
            partial = path.with_suffix(".partial")
            _append(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), first)
            partial.replace(path)
            _sync_folder(self.folder)
        except OSError as error:
            raise FaultError(
                f"journal {self.folder}: {error}; nothing was broken, for it could not be mended"
            ) from error
        return path

    def entries(self) -> list[Path]:
        """Return the files of all entries, oldest first. Raises FaultError where others may write to the folder."""
        if not self.folder.is_dir():
            return []
        _refuse_if_not_ours(self.folder)
        return sorted(self.folder.glob(f"*{_ENDING}"))


def read(path: Path) -> Entry:
    """Return the entry in a file. Raises FaultError where it can't be read, FileNotFoundError where it is gone."""
    _refuse_if_not_ours(path)
    lines = path.read_text(errors="replace").splitlines()
    try:
        first = json.loads(lines[0])
        return Entry(
            path,
            str(first["fault"]),
            str(first["service"]),
            str(first["driver"]),
            str(first["kind"]),
            ProcessIdentity.of_json(first["runner"]),
            int(first["written_wall_ns"]),
            dict(first["recipe"]),
            tuple(_notes(lines[1:])),
        )
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise FaultError(
            f"{path}: got no readable entry ({type(error).__name__}: {error}), expected JSON lines"
        ) from error


def note(path: Path, **said: Any) -> None:
    """Add a line to an entry."""
    _append(os.open(path, os.O_WRONLY | os.O_APPEND), {**said, "at_wall_ns": SystemClock().wall_ns()})


def remove(path: Path) -> None:
    """Take an entry away, for what it held is mended; wait for whoever mends it at this moment."""
    with alone_with(path):
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def alone_with(path: Path) -> Iterator[bool]:
    """Hold an entry's lock, waiting for whoever mends it now; yields False where it is gone."""
    try:
        held = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        yield False
        return
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield os.fstat(held).st_nlink > 0
    finally:
        os.close(held)


def mend(path: Path, by: str, why: str) -> str | None:
    """Carry out an entry's recipe and note it; return what came of it, or None where somebody else was quicker.

    Raises FaultError, which is noted too, where it fails: the entry stays for the next who tries.
    """
    with alone_with(path) as there:
        if not there:
            return None
        entry = read(path)
        if entry.mended is not None:
            return None
        try:
            said = carry_out(entry.recipe)
        except FaultError as error:
            _try_to_note(path, note="failed", by=by, why=why, said=str(error))
            raise
        _try_to_note(path, note="mended", by=by, why=why, said=said)
        return said


def _try_to_note(path: Path, **said: Any) -> None:
    # On a full disk mending comes first; the worst that follows is that it is done again.
    with contextlib.suppress(OSError):
        note(path, **said)


def _notes(lines: list[str]) -> Iterator[dict[str, Any]]:
    for line in lines:
        with contextlib.suppress(ValueError):  # the last may be torn
            found = json.loads(line)
            if isinstance(found, dict):
                yield found


def _append(descriptor: int, line: Mapping[str, Any]) -> None:
    with os.fdopen(descriptor, "ab") as file:
        file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _refuse_if_not_ours(path: Path) -> None:
    # What lies here will be carried out: a stranger who could write to it could have us run anything.
    found = path.lstat()
    if found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise FaultError(f"{path}: got a file that others may write to, expected one of our own; chmod go-w {path}")

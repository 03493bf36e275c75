"""The folder that holds everything a verdict rests on, sealed by a manifest of SHA-256 sums.

Layout: `manifest.json` names every other file with its sum and size. The files are JSON (sorted keys, so that equal
content is equal bytes) and Parquet. A bundle without a manifest was never finished.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from proofload.core.errors import ToolError
from proofload.record.history import History

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"
_CHUNK_BYTES = 1 << 20


def dump_json(content: Any) -> bytes:
    r"""Return `content` as JSON bytes in one canonical form: sorted keys, two spaces, one newline at the end.

    >>> dump_json({"b": 1, "a": "é"}).decode()
    '{\n  "a": "é",\n  "b": 1\n}\n'
    """
    return (json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()


def new_bundle_path(parent: Path, wall_ns: int, run_id: str) -> Path:
    """Return where a run that began at `wall_ns` keeps its bundle: `<parent>/<UTC time>-<run id>`."""
    began = datetime.fromtimestamp(wall_ns / 1e9, UTC)
    return parent / f"{began:%Y%m%dT%H%M%SZ}-{run_id}"


class BundleWriter:
    """Writes the files of a bundle, each whole or not at all, and seals them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=False)
        except OSError as error:
            raise ToolError(f"{path}: got {error.strerror}, expected a new folder for the bundle; see --out") from error

    @classmethod
    def reopen(cls, path: Path) -> BundleWriter:
        """Return a writer that adds files to a bundle which stands there already; seal it anew afterwards."""
        Bundle(path)
        writer = cls.__new__(cls)
        writer.path = path
        return writer

    def write_json(self, name: str, content: Any) -> None:
        """Write `content` in canonical form as the file `name`."""
        self.write_bytes(name, dump_json(content))

    def write_bytes(self, name: str, content: bytes) -> None:
        """Write a file; a reader sees the old content or the new, never a part."""
        place = self.path / PurePosixPath(name)
        place.parent.mkdir(parents=True, exist_ok=True)
        beside = place.with_name(place.name + ".part")
        try:
            with beside.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(place)
        except OSError as error:
            raise ToolError(f"{place}: could not be written ({error.strerror}); is the disk full?") from error

    def write_history(self, name: str, history: History) -> None:
        """Write a history as the Parquet file `name`."""
        place = self.path / PurePosixPath(name)
        place.parent.mkdir(parents=True, exist_ok=True)
        beside = place.with_name(place.name + ".part")
        history.write(beside)
        beside.replace(place)

    def seal(self) -> None:
        """Write the manifest over everything that stands in the folder now; done again after a change, it replaces."""
        files = {
            name: {"sha256": _sha256(self.path / name), "bytes": (self.path / name).stat().st_size}
            for name in _names(self.path)
        }
        self.write_json(MANIFEST, {"schema_version": SCHEMA_VERSION, "files": files})


class Bundle:
    """A sealed bundle, opened for reading; opening proves that every file is as it was when it was sealed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_dir():
            raise ToolError(f"{path}: got {'a file' if path.exists() else 'nothing'}, expected the folder of a bundle")
        self._files = self._manifest()
        self._verify()

    def names(self, under: str = "") -> list[str]:
        """Return the names of the files whose names begin with `under`, sorted."""
        return sorted(name for name in self._files if name.startswith(under))

    def read_json(self, name: str) -> Any:
        """Return the content of a JSON file."""
        return json.loads(self.read_bytes(name))

    def read_bytes(self, name: str) -> bytes:
        """Return the bytes of a file that the manifest names."""
        if name not in self._files:
            raise ToolError(f"{self.path}: got no file {name} in the manifest; was it written by an older proofload?")
        return (self.path / name).read_bytes()

    def read_history(self, name: str) -> History:
        """Return the history in a Parquet file."""
        return History.read(self.path / name)

    def _manifest(self) -> dict[str, dict[str, Any]]:
        place = self.path / MANIFEST
        try:
            content = json.loads(place.read_bytes())
            version, files = content["schema_version"], content["files"]
            sums = {name: dict(entry) for name, entry in files.items()}
        except FileNotFoundError:
            raise ToolError(f"{self.path}: got no {MANIFEST}, expected a sealed bundle; was the run killed?") from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ToolError(f"{place}: got no readable manifest ({error}); the bundle was changed") from error
        if version != SCHEMA_VERSION:
            raise ToolError(f"{place}: got schema version {version}, expected {SCHEMA_VERSION}; use that proofload")
        return sums

    def _verify(self) -> None:
        present = set(_names(self.path))
        wrong = [f"{name}: missing" for name in sorted(set(self._files) - present)]
        wrong += [f"{name}: not in the manifest" for name in sorted(present - set(self._files))]
        for name in sorted(present & set(self._files)):
            if _sha256(self.path / name) != self._files[name].get("sha256"):
                wrong.append(f"{name}: changed, its SHA-256 is not the one in {MANIFEST}")
        if wrong:
            listed = "\n".join(f"  {line}" for line in wrong)
            raise ToolError(
                f"{self.path}: this is not the bundle that was sealed, so nothing is judged on it:\n{listed}"
            )


def _names(folder: Path) -> Iterator[str]:
    for place in sorted(folder.rglob("*")):
        name = place.relative_to(folder).as_posix()
        if place.is_file() and name != MANIFEST and not name.endswith(".part"):
            yield name


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()

"""Run every defect of the audit log with Loki as the only place where the log can be read, and print what was seen.

    scripts/defects_in_loki.py [ID or prefix …] [--write]

A collector follows the log's files, as Promtail or Alloy would, and pushes each line to a stand-in that obeys recorded
exchanges with a real Loki; the target declares no file. Each defect must FAIL in the case named for it, unless BEYOND
says why Loki can't show it. The honest system must PASS every one of these cases. --write puts the table into
docs/detection-loki.md. Exit status 0 when all of that held.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from proofload.demo.reference_system import ReferenceSystem

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from tests.integration.loki.stand_in import LokiStandIn  # noqa: E402 -- found by the line above

WINDOW_S = "5"
TIMEOUT_S = 240
QUERY = '{job="ordersystem"}'
BEYOND: dict[str, str] = {}
"""Defects that Loki can't show, each with the reason."""
_EVERY_S = 0.1


@dataclass(frozen=True)
class Row:
    """What became of one defect, or of the honest system."""

    defect: str
    case: str
    outcome: str
    rules: tuple[str, ...]

    @property
    def fine(self) -> bool:
        """Return whether it was as it had to be."""
        if not self.defect:
            return self.outcome == "PASS"
        return self.outcome == "FAIL" or self.defect in BEYOND


def main() -> int:
    """Run, print, and write where that is asked for."""
    parser = argparse.ArgumentParser(description="Run every defect of the audit log with Loki as the only source.")
    parser.add_argument("defects", nargs="*", help="ids or prefixes; all of the audit log where none is named")
    parser.add_argument("--write", action="store_true", help="write docs/detection-loki.md")
    asked = parser.parse_args()
    listed = json.loads(_output([sys.executable, "-m", "proofload.demo.ordersystem", "defects", "--json"]))
    wanted = tuple(asked.defects) or ("audit.",)
    chosen = [(one["id"], one["failing_case"]) for one in listed if one["id"].startswith(wanted)]
    rows: list[Row] = []
    for case in sorted({case for _, case in chosen}):
        rows.append(_run("", case))
        print(_line(rows[-1]), flush=True)
    for defect, case in chosen:
        rows.append(_run(defect, case))
        print(_line(rows[-1]), flush=True)
    if asked.write:
        (ROOT / "docs" / "detection-loki.md").write_text(_page(rows), encoding="utf-8")
    return 0 if all(row.fine for row in rows) else 1


class Collector:
    """Follows the files of a folder, rotated ones included, and pushes every whole line once."""

    def __init__(self, folder: Path, url: str) -> None:
        self._folder = folder
        self._url = f"{url}/loki/api/v1/push"
        self._read: dict[int, int] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop following."""
        self._over.set()
        self._thread.join()

    def _follow(self) -> None:
        while not self._over.wait(_EVERY_S):
            for path in sorted(self._folder.iterdir()):
                with contextlib.suppress(FileNotFoundError):
                    self._ship(path)

    def _ship(self, path: Path) -> None:
        with path.open("rb") as file:
            inode = os.fstat(file.fileno()).st_ino
            file.seek(self._read.get(inode, 0))
            content = file.read()
        whole = content[: content.rfind(b"\n") + 1]
        self._read[inode] = self._read.get(inode, 0) + len(whole)
        lines = whole.decode(errors="replace").split("\n")[:-1]
        if not lines:
            return
        # Stamped as they are read, a nanosecond apart: so that lines alike do not melt into one.
        now_ns = time.time_ns()
        values = [[str(now_ns + i), line] for i, line in enumerate(lines)]
        stream = {"stream": {"job": "ordersystem", "file": path.name}, "values": values}
        request = urllib.request.Request(self._url, json.dumps({"streams": [stream]}).encode())
        with urllib.request.urlopen(request, timeout=10):
            pass


def _run(defect: str, case: str) -> Row:
    loki = LokiStandIn()
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            settings = {"GATEWAY_RATE_WINDOW": WINDOW_S, "GATEWAY_RATE_LIMIT_USER": "90", "BREAKER_OPEN": WINDOW_S}
            settings |= {"LOCK_HOLD": "0.1", "AUDIT_ROTATE_BYTES": "6144"}
            defects = (defect,) if defect else ()
            with ReferenceSystem.start(folder / "system", defects=defects, settings=settings) as system:
                (folder / "proofload.yaml").write_text(_target(loki.url), encoding="utf-8")
                command = [sys.executable, "-m", "proofload", "run", case, "--target", "proofload.yaml", "--json"]
                environ = {**os.environ, **system.environ(WINDOW_S)}
                collector = Collector(Path(system.ready.audit[0]).parent, loki.url)
                try:
                    done = subprocess.run(
                        [*command, "--quiet"], cwd=folder, env=environ, capture_output=True, text=True,
                        timeout=TIMEOUT_S, check=False,
                    )  # fmt: skip
                finally:
                    collector.close()
        return _row(defect, case, done.stdout)
    except subprocess.TimeoutExpired:
        return Row(defect, case, "timed out", ())
    finally:
        loki.close()


def _row(defect: str, case: str, told: str) -> Row:
    try:
        verdicts = {one["case"]: one for one in json.loads(told)["verdicts"]}
    except ValueError:
        return Row(defect, case, "no result", ())
    findings = verdicts[case]["findings"]
    rules = tuple(sorted({one["rule"] for one in findings if one["outcome"] == verdicts[case]["outcome"] != "PASS"}))
    return Row(defect, case, verdicts[case]["outcome"], rules)


def _target(url: str) -> str:
    text = (resources.files("proofload.plan.presets") / "ordersystem.yaml").read_text(encoding="utf-8")
    content: dict[str, Any] = yaml.safe_load(text)
    audit = content["policies"]["audit"]
    del audit["files"]
    audit |= {"loki": url, "loki_query": QUERY}
    return yaml.safe_dump(content, sort_keys=False)


def _line(row: Row) -> str:
    mark = "" if row.fine else "  <-- not as it has to be"
    return f"{row.defect or 'honest':<34} {row.case:<13} {row.outcome:<13} {', '.join(row.rules)}{mark}"


def _page(rows: Sequence[Row]) -> str:
    broken = [row for row in rows if row.defect]
    caught = sum(row.outcome == "FAIL" for row in broken)
    lines = [
        "# What the audit cases catch in Loki alone",
        "",
        f"Written by `scripts/defects_in_loki.py --write`: {len(broken)} defects of the audit log, no file declared,",
        f"and Loki (a stand-in held to recorded exchanges with a real one) as the only source. {caught} are caught.",
        "",
        "| defect | case | outcome | findings | why not |",
        "|---|---|---|---|---|",
        *(
            f"| {row.defect or 'none: the honest system'} | {row.case} | {row.outcome} | {', '.join(row.rules)} "
            f"| {BEYOND.get(row.defect, '')} |"
            for row in rows
        ),
        "",
    ]
    return "\n".join(lines)


def _output(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    sys.exit(main())

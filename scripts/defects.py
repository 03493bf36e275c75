"""Run the case named for each defect of the reference system against it, and print who caught what.

`scripts/defects.py [ID or prefix …]`: all defects whose case is in the catalogue, or those named. Exit status 0 when
every one was caught. Windows are shortened to 5 s. With --write the table goes to docs/detection.md.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from proofload.suite.catalogue import CATALOGUE

ROOT = Path(__file__).parent.parent
TIMEOUT_S = 150
WINDOW = "5s"


@dataclass(frozen=True)
class Row:
    """What became of one defect."""

    defect: str
    case: str
    outcome: str
    rules: tuple[str, ...]


def main(arguments: list[str]) -> int:
    write = "--write" in arguments
    wanted = tuple(one for one in arguments if not one.startswith("--"))
    listed = json.loads(_output([sys.executable, "-m", "ordersystem", "defects", "--json"]))
    chosen = [one for one in listed if not wanted or one["id"].startswith(wanted)]
    rows = []
    for one in chosen:
        case = one["failing_case"]
        row = _run(one["id"], case) if case in CATALOGUE else Row(one["id"], case, "no such case yet", ())
        rows.append(row)
        print(f"{row.defect:<34} {row.case:<15} {row.outcome:<17} {', '.join(row.rules)}", flush=True)
    caught = sum(row.outcome == "FAIL" for row in rows)
    tried = sum(row.outcome != "no such case yet" for row in rows)
    print(f"{caught} of {tried} defects caught by the case named for them; {len(rows) - tried} have no case yet")
    if write:
        _write(rows, caught, tried)
    return 0 if caught == tried else 1


def _run(defect: str, case: str) -> Row:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "proofload", "demo", case, "--defect", defect, "--window", WINDOW]
        try:
            done = subprocess.run(
                [*command, "--json", "--quiet", "--out", folder],
                capture_output=True,
                text=True,
                timeout=TIMEOUT_S,
                check=False,
            )
            verdicts = {one["case"]: one for one in json.loads(done.stdout)["verdicts"]}
        except subprocess.TimeoutExpired:
            return Row(defect, case, "timed out", ())
        except (ValueError, KeyError):
            return Row(defect, case, "no result", ())
    verdict = verdicts[case]
    rules = {finding["rule"] for finding in verdict["findings"] if finding["outcome"] == "FAIL"}
    return Row(defect, case, verdict["outcome"], tuple(sorted(rules)))


def _write(rows: list[Row], caught: int, tried: int) -> None:
    lines = [
        "# What the cases catch",
        "",
        "Written by `make defects ARGS=--write`: each defect of the reference system, run against the case named",
        f"for it, with {WINDOW} windows.",
        f"{caught} of {tried} are caught; {len(rows) - tried} belong to cases that do not exist yet.",
        "",
        "| defect | case | outcome | findings |",
        "|---|---|---|---|",
        *(f"| {row.defect} | {row.case} | {row.outcome} | {', '.join(row.rules)} |" for row in rows),
        "",
    ]
    (ROOT / "docs" / "detection.md").write_text("\n".join(lines), encoding="utf-8")


def _output(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Run every defect of the reference system against the cases, and print who caught what and who cried wolf.

    scripts/defects.py [ID or prefix …] [--monitoring] [--honest N] [--write] [--jobs N] [--alone] [--again]

Each defect runs with the case named for it and one witness of every other control, at a fast pace. The named case must
FAIL, no witness of another control may, unless `CONSEQUENCES` says why it must. Rows are kept in runs/defects.jsonl as
they come, so an interrupted run goes on where it stopped (--again starts over). --alone leaves the witnesses out.
--monitoring starts a Prometheus beside the system, and counts as caught only what is seen in that server.
--honest runs the nine cases N times on the honest system as well, where no verdict may be FAIL or ERROR.
--write puts the tables into docs/detection.md. Exit status 0 when all were caught and nobody cried wolf.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from proofload.cases.metrics_and_audit import AT_SERVER
from proofload.suite.catalogue import CATALOGUE

ROOT = Path(__file__).parent.parent
KEPT = ROOT / "runs" / "defects.jsonl"
HONEST = ROOT / "runs" / "honest.jsonl"
TIMEOUT_S = 240
WINDOW = "5s"
WITNESSES = {
    "rate limit": ("TC-RL-001", "TC-RL-002"),
    "circuit breaker": ("TC-CB-001",),
    "monitoring": ("TC-MON-001",),
    "audit": ("TC-AUDIT-001",),
    "lock": ("TC-LOCK-001",),
}
CONTROLS = {
    "rl": "rate limit",
    "cb": "circuit breaker",
    "mon": "monitoring",
    "audit": "audit",
    "lock": "lock",
    "res": "resilience",
    "lat": "latency",
    "int": "interaction",
}
CONSEQUENCES: dict[tuple[str, str], str] = {
    (
        "cb.ok_when_open",
        "TC-LOCK-001",
    ): "an open circuit answers 200 to an order that was never made, so money is short",
    (
        "res.crash_on_overload",
        "TC-LOCK-001",
    ): "the gateway is dead after the overload, so nobody can be registered for it",
    ("int.limit_before_auth_leaks", "TC-RL-001"): "the limit is kept by the claimed user, and promised by address",
    ("int.limit_before_auth_leaks", "TC-RL-002"): "the headers tell of a user's allowance, and promise an address's",
}
"""Which witness truly fails by which defect of another control, and why."""


@dataclass(frozen=True)
class Row:
    """What became of one defect."""

    defect: str
    case: str
    outcome: str
    rules: tuple[str, ...] = ()
    witnesses: dict[str, str] = field(default_factory=dict)
    """Outcome of each witness, with its broken rules where it is FAIL."""
    took_s: float = 0.0
    commit: str = ""
    beside: str = ""
    """What the named case was beside the witnesses, where it had to be run again alone."""

    @property
    def wolf(self) -> list[str]:
        """Return the witnesses that FAIL without a reason."""
        return [
            f"{case} {what}"
            for case, what in self.witnesses.items()
            if what.startswith(("FAIL", "ERROR")) and (self.defect, case) not in CONSEQUENCES
        ]


@dataclass(frozen=True)
class Honest:
    """One run of the nine cases on the honest system."""

    outcomes: dict[str, str]
    accused: tuple[str, ...] = ()
    """What was said where a case was FAIL or ERROR."""
    took_s: float = 0.0
    commit: str = ""


def main() -> int:
    options = _options()
    listed = json.loads(_output([sys.executable, "-m", "proofload.demo.ordersystem", "defects", "--json"]))
    chosen = [one for one in listed if not options.defects or one["id"].startswith(tuple(options.defects))]
    if options.again:
        KEPT.unlink(missing_ok=True)
        HONEST.unlink(missing_ok=True)
    known = {row.defect: row for row in _kept() if not options.defects}
    todo = [one for one in chosen if one["id"] not in known]
    rows = [row for row in known.values() if row.defect in {one["id"] for one in chosen}]
    began = time.monotonic()
    with ThreadPoolExecutor(options.jobs) as pool:
        for done, row in enumerate(pool.map(lambda one: _run(one, options), todo), 1):
            rows.append(row)
            _keep(row, KEPT)
            left_s = (time.monotonic() - began) / done * (len(todo) - done)
            print(f"{_line(row)}   [{done} of {len(todo)}, {left_s / 60:.0f} min left]", flush=True)
    rows.sort(key=lambda row: row.defect)
    caught = [row for row in rows if row.outcome == "FAIL"]
    wolves = [f"{row.defect}: {one}" for row in rows for one in row.wolf]
    print(f"\n{len(caught)} of {len(rows)} defects caught by the case named for them")
    for row in rows:
        if row.outcome != "FAIL":
            print(f"  not caught: {row.defect} ({row.case} was {row.outcome})")
    print(f"{len(wolves)} witnesses of other controls cried wolf" + "".join(f"\n  {one}" for one in wolves))
    honest = _honest_runs(options.honest, options.jobs)
    if options.write:
        (ROOT / "docs" / "detection.md").write_text(_page(rows, wolves, honest), encoding="utf-8")
    accused = [one for run in honest for one in run.accused]
    return 0 if len(caught) == len(rows) and not wolves and not accused else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Run every defect of the reference system against the cases.")
    parser.add_argument("defects", nargs="*", help="ids or prefixes, such as rl. or lock.none; all where none is named")
    parser.add_argument("--monitoring", action="store_true", help="count what a Prometheus server shows, alone")
    parser.add_argument("--honest", type=int, default=0, metavar="N", help="run the honest system N times as well")
    parser.add_argument("--write", action="store_true", help="write docs/detection.md")
    parser.add_argument("--jobs", type=int, default=2, help="how many systems run side by side")
    parser.add_argument("--alone", action="store_true", help="run the named case without witnesses")
    parser.add_argument("--again", action="store_true", help="forget what an earlier run found")
    return parser.parse_args()


def _run(defect: dict[str, Any], options: argparse.Namespace, *, again: bool = False) -> Row:
    case = defect["failing_case"]
    if case not in CATALOGUE:
        return Row(defect["id"], case, "no such case")
    began = time.monotonic()
    witnesses = [] if again or options.alone or options.monitoring else _witnesses(defect["id"])
    more = ["--monitoring"] if options.monitoring else []
    try:
        verdicts = _demo(case, *witnesses, "--defect", defect["id"], *more)
    except subprocess.TimeoutExpired:
        if witnesses:
            # The defect slows the witnesses down as well; alone, its case has the time to itself.
            row = _run(defect, options, again=True)
            return replace(row, beside="timed out", took_s=time.monotonic() - began)
        return Row(defect["id"], case, "timed out", took_s=time.monotonic() - began, commit=_commit())
    except (ValueError, KeyError):
        return Row(defect["id"], case, "no result", took_s=time.monotonic() - began, commit=_commit())
    said = {one: _said(verdicts[one]) for one in witnesses if one in verdicts and one != case}
    if verdicts[case]["outcome"] != "FAIL" and witnesses:
        # What is broken for one is broken for all: a witness may have met the defect first, and left nothing to see.
        beside = verdicts[case]["outcome"]
        row = _run(defect, options, again=True)
        return replace(row, witnesses=said, beside=beside, took_s=time.monotonic() - began)
    took_s = time.monotonic() - began
    if options.monitoring:
        there = [one for one in verdicts[case]["findings"] if one["says"].startswith(AT_SERVER)]
        verdicts[case] = {**verdicts[case], "findings": there, "outcome": _worst(there)}
    return Row(defect["id"], case, verdicts[case]["outcome"], _broken(verdicts[case]), said, took_s, _commit())


def _worst(findings: Sequence[dict[str, Any]]) -> str:
    """Return FAIL where one of the findings is; else nothing was seen."""
    return "FAIL" if any(one["outcome"] == "FAIL" for one in findings) else "not seen"


def _demo(*arguments: str) -> dict[str, Any]:
    """Return the verdicts of a demo at a fast pace by case. Raises TimeoutExpired, or ValueError for no result."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "proofload", "demo", *arguments]
        command += ["--window", WINDOW, "--json", "--quiet", "--out", folder]
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
        return {one["case"]: one for one in json.loads(done.stdout)["verdicts"]}


def _honest_runs(wanted: int, jobs: int) -> list[Honest]:
    lines = HONEST.read_text(encoding="utf-8").splitlines() if HONEST.exists() else []
    runs = [Honest(**json.loads(line)) for line in lines]
    with ThreadPoolExecutor(jobs) as pool:
        for run in pool.map(lambda _: _honest(), range(wanted - len(runs))):
            runs.append(run)
            _keep(run, HONEST)
            told = ", ".join(f"{count} {outcome}" for outcome, count in Counter(run.outcomes.values()).most_common())
            print(
                f"honest system, run {len(runs)} of {wanted}: {told}  {run.took_s:.0f}s {' '.join(run.accused)}",
                flush=True,
            )
    return runs


def _honest() -> Honest:
    began = time.monotonic()
    try:
        verdicts = _demo()
    except (subprocess.TimeoutExpired, ValueError, KeyError) as error:
        return Honest({}, (f"no result: {type(error).__name__}",), time.monotonic() - began, _commit())
    outcomes = {case: verdict["outcome"] for case, verdict in verdicts.items()}
    accused = tuple(
        f"{case} {outcome} {' '.join(_broken(verdicts[case]))}"
        for case, outcome in outcomes.items()
        if outcome in ("FAIL", "ERROR")
    )
    return Honest(outcomes, accused, time.monotonic() - began, _commit())


@cache
def _commit() -> str:
    return _output(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]).strip()


def _witnesses(defect: str) -> list[str]:
    own = CONTROLS[defect.split(".", maxsplit=1)[0]]
    return [case for control, cases in WITNESSES.items() if control != own for case in cases]


def _said(verdict: dict[str, Any]) -> str:
    if verdict["outcome"] == "FAIL":
        return "FAIL " + " ".join(_broken(verdict))
    if verdict["outcome"] == "PASS":
        return "PASS"
    worst = [one["says"] for one in verdict["findings"] if one["outcome"] == verdict["outcome"]]
    return f"{verdict['outcome']}: {verdict['reason'] or (worst or ['no reason given'])[0]}"


def _broken(verdict: dict[str, Any]) -> tuple[str, ...]:
    return tuple(sorted({one["rule"] for one in verdict["findings"] if one["outcome"] == "FAIL"}))


def _line(row: Row) -> str:
    wolf = f"  WOLF {'; '.join(row.wolf)}" if row.wolf else ""
    return f"{row.defect:<34} {row.case:<15} {row.outcome:<13} {row.took_s:4.0f}s {', '.join(row.rules)}{wolf}"


def _keep(row: Row | Honest, place: Path) -> None:
    place.parent.mkdir(exist_ok=True)
    with place.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(row)) + "\n")


def _kept() -> Iterable[Row]:
    if KEPT.exists():
        for line in KEPT.read_text(encoding="utf-8").splitlines():
            yield Row(**json.loads(line))


def _page(rows: Sequence[Row], wolves: Sequence[str], honest: Sequence[Honest]) -> str:
    caught = sum(row.outcome == "FAIL" for row in rows)
    commits = sorted({*(row.commit for row in rows), *(run.commit for run in honest)})
    lines = [
        "# What the cases catch",
        "",
        f"Written by `make defects ARGS=--write`: {len(rows)} defects of the reference system, each run with the case",
        f"named for it and a witness of every other control, with windows of {WINDOW}, at commit {', '.join(commits)}.",
        f"{caught} of {len(rows)} are caught; {len(wolves)} witnesses of other controls cried wolf.",
        "",
        *_about_honest(honest),
        "| defect | case | outcome | findings | witnesses of other controls |",
        "|---|---|---|---|---|",
        *(
            f"| {row.defect} | {row.case} | {row.outcome}{_alone(row)} | {', '.join(row.rules)} | {_told(row)} |"
            for row in sorted(rows, key=lambda row: (row.outcome == "FAIL", row.defect))
        ),
        "",
    ]
    told = {key: why for key, why in CONSEQUENCES.items() if key[0] in {row.defect for row in rows}}
    if told:
        lines += ["## True consequences", "", "A witness of another control that fails for a reason of its own:", ""]
        lines += [f"- {defect} makes {case} FAIL: {why}" for (defect, case), why in sorted(told.items())]
        lines.append("")
    return "\n".join(lines)


def _alone(row: Row) -> str:
    return f" alone, {row.beside} beside the witnesses" if row.beside else ""


def _about_honest(honest: Sequence[Honest]) -> list[str]:
    if not honest:
        return []
    tally = Counter(outcome for run in honest for outcome in run.outcomes.values())
    told = ", ".join(f"{count} {outcome}" for outcome, count in tally.most_common())
    accused = [one for run in honest for one in run.accused]
    said = f"Accused: {'; '.join(accused)}." if accused else "None was FAIL or ERROR."
    return [f"The nine cases on the honest system, {len(honest)} times: {told}. {said}", ""]


def _told(row: Row) -> str:
    passed = sum(what == "PASS" for what in row.witnesses.values())
    others = [f"{case} {what}" for case, what in row.witnesses.items() if what != "PASS"]
    return "; ".join([f"{passed} PASS", *others]).replace("|", "/") if row.witnesses else "not run"


def _output(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    sys.exit(main())

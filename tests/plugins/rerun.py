"""Runs each test that failed once more, by itself: one that then passes is FLAKY, one that fails again is broken.

Used by `make test` (`pytest -p tests.plugins.rerun`), see tests/README.md. What it changes:

- A flaky test no longer makes the run red. It is shown with its first failure, counted in pytest's closing line and
  written to the file of `--flaky`, one line each. More than MOST_FLAKY lines in that file are red again.
- A run that was interrupted, stopped by `-x`, or could not collect every file repeats nothing.
- The slowest files are listed at the end.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from _pytest.terminal import TerminalReporter

MOST_FLAKY = 3
MOST_RERUN = 10
"""With more failures than this something is broken, and every one of them repeated would only take time."""
SLOWEST_FILES = 15


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("rerun", "tests that fail are run once more, alone")
    group.addoption("--flaky", type=Path, metavar="FILE", help="append a line for each flaky test")
    group.addoption("--part", choices=("beside", "alone"), help="leave out the tests (not) marked alone")
    group.addoption("--results-into", type=Path, metavar="FILE", help="for the second run: where its reports go")


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        return
    results: Path | None = config.getoption("results_into")
    config.pluginmanager.register(Rerun(config) if results is None else Results(config, results))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    part = config.getoption("part")
    if part is None:
        return
    chosen = [one for one in items if (one.get_closest_marker("alone") is not None) == (part == "alone")]
    left_out = [one for one in items if one not in set(chosen)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = chosen


class Results:
    """The second run: writes its reports where the first one reads them."""

    def __init__(self, config: pytest.Config, path: Path) -> None:
        self._config = config
        self._path = path

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        data = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        with self._path.open("a") as file:
            file.write(json.dumps(data) + "\n")


class Rerun:
    """The first run: remembers what failed, has it repeated, and tells what came of it."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._failed: defaultdict[str, list[pytest.TestReport]] = defaultdict(list)
        self._took_s: defaultdict[str, float] = defaultdict(float)
        self._could_not_collect = False
        self._flaky: dict[str, pytest.TestReport] = {}
        self._lines: list[str] = []

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._could_not_collect |= report.failed

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._took_s[report.nodeid.split("::")[0]] += report.duration
        if report.failed:
            self._failed[report.nodeid].append(report)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, object, object]:
        # An interrupt, an exit and -x leave the loop by an exception: nothing below runs then.
        result = yield
        if self._failed and not self._could_not_collect:
            if len(self._failed) > MOST_RERUN:
                self._lines.append(f"{len(self._failed)} tests failed: too many to run each once more")
            else:
                self._repeat(session)
        return result

    def _repeat(self, session: pytest.Session) -> None:
        terminal = self._terminal()
        terminal.ensure_newline()
        terminal.write_line(f"run once more, alone: {_count(len(self._failed), 'failed test')}")
        again = self._second_run(list(self._failed))
        passed = {test: reports[-1] for test, reports in again.items() if _passed(reports)}
        for test in self._failed:
            if test not in passed:
                self._lines.append(f"FAILED TWICE {test} - {_why(again.get(test, []))}")
        self._flaky = {test: self._failed[test][0] for test in self._failed if test in passed}
        self._lines += [f"FLAKY {test} - {_why([first])}" for test, first in self._flaky.items()]
        if self._note() > MOST_FLAKY:
            self._lines.append(f"more than {MOST_FLAKY} flaky tests: they count as failed")
            return
        for test, report in passed.items():
            session.testsfailed -= len(self._failed[test])
            self._forgive(self._failed[test])
            terminal.stats.setdefault("passed", []).append(report)
            terminal.stats.setdefault("flaky", []).append(self._flaky[test])

    def _second_run(self, tests: list[str]) -> dict[str, list[pytest.TestReport]]:
        """Run the tests in a process of their own, one after the other; return their reports."""
        config = self._config
        command = [sys.executable, "-m", "pytest", "-p", __name__, "-p", "no:cacheprovider"]
        command += ["--rootdir", str(config.rootpath), *(["-c", str(config.inipath)] if config.inipath else [])]
        with tempfile.TemporaryDirectory(prefix="rerun-") as folder:
            path = Path(folder) / "results"
            done = subprocess.run(
                [*command, "--results-into", str(path), *tests],
                cwd=config.rootpath,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            told = path.read_text().splitlines() if path.exists() else []
        if not told:
            self._lines.append(f"the second run gave no result, exit status {done.returncode}: {done.stdout[-2_000:]}")
        reports: defaultdict[str, list[pytest.TestReport]] = defaultdict(list)
        for line in told:
            report: Any = config.hook.pytest_report_from_serializable(config=config, data=json.loads(line))
            reports[report.nodeid].append(report)
        return dict(reports)

    def _note(self) -> int:
        """Write the flaky tests to the file; return how many it holds, of other runs as well."""
        path: Path | None = self._config.getoption("flaky")
        lines = [f"{test} - {_why([first])}" for test, first in self._flaky.items()]
        if path is None:
            return len(lines)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+") as file:
            file.writelines(f"{line}\n" for line in lines)
            file.seek(0)
            return sum(1 for _ in file)

    def _forgive(self, reports: list[pytest.TestReport]) -> None:
        stats = self._terminal().stats
        for kind in ("failed", "error"):
            kept = [one for one in stats.pop(kind, []) if not any(one is report for report in reports)]
            if kept:
                stats[kind] = kept

    def _terminal(self) -> TerminalReporter:
        found = self._config.pluginmanager.get_plugin("terminalreporter")
        assert isinstance(found, TerminalReporter)
        return found

    def pytest_terminal_summary(self, terminalreporter: TerminalReporter) -> None:
        slowest = sorted(self._took_s.items(), key=lambda one: -one[1])[:SLOWEST_FILES]
        if slowest:
            terminalreporter.section("slowest files (setup, call and teardown of all their tests)")
            for file, took_s in slowest:
                terminalreporter.write_line(f"{took_s:8.1f} s  {file}")
        if self._lines:
            terminalreporter.section("run once more")
            for test, report in self._flaky.items():
                terminalreporter.write_line(f"first failure of {test}:")
                report.toterminal(terminalreporter._tw)
            for line in self._lines:
                terminalreporter.write_line(line)


def _passed(reports: list[pytest.TestReport]) -> bool:
    return any(one.when == "call" and one.passed for one in reports) and not any(one.failed for one in reports)


def _why(reports: list[pytest.TestReport]) -> str:
    """Return where and how a test failed, in one line."""
    for report in reports:
        if report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            if crash is None:
                return report.longreprtext.strip().splitlines()[-1] if report.longreprtext.strip() else "no message"
            return f"{Path(crash.path).name}:{crash.lineno}: {crash.message.splitlines()[0]}"
    return "skipped" if any(one.skipped for one in reports) else "no result"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"

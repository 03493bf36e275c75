"""The report for people: a table in a terminal, aligned lines in a pipe. Right in 80 columns and without colour."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from proofload.judge.verdict import Outcome
from proofload.report import view
from proofload.report.result import RunResult

STYLES = {
    Outcome.PASS: "green",
    Outcome.FAIL: "bold red",
    Outcome.ERROR: "bold magenta",
    Outcome.INCONCLUSIVE: "yellow",
    Outcome.SKIPPED: "dim",
}
_PLAIN_WIDTH = 120
_NARROWEST = 30
_VERDICT_WIDTH = max(len(outcome.name) for outcome in Outcome)


def show(result: RunResult, console: Console, *, verbose: bool = False) -> None:
    """Print the result: verdicts first, then what is behind those that are no PASS, then where the evidence lies.

    With `verbose` every rule that held is told, too.
    """
    if console.is_terminal:
        _show_table(result, console, verbose)
    else:
        _show_lines(result, console, verbose)


def _show_table(result: RunResult, console: Console, verbose: bool) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, expand=True, show_edge=False)
    table.add_column("case", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    table.add_column("what was seen", ratio=1)
    table.add_column("took", justify="right", no_wrap=True)
    for row in view.rows(result):
        seen = Text(row.title)
        seen.append("\n" + row.says, style="dim")
        table.add_row(Text(row.case), Text(row.outcome.name, style=STYLES[row.outcome]), seen, Text(row.took))
    console.print(table)
    for block in view.blocks(result, verbose=verbose):
        console.print()
        console.print(Text(block.head, style="bold"))
        for line in block.lines:
            _print_indented(console, line, console.width)
    console.print()
    console.print(Text(view.summary(result), style="bold"))
    for line in view.closing(result):
        console.print(Text(line), soft_wrap=True)


def _show_lines(result: RunResult, console: Console, verbose: bool) -> None:
    width = max((len(row.case) for row in view.rows(result)), default=0)
    for row in view.rows(result):
        line = f"{row.case:<{width}}  {row.outcome.name:<{_VERDICT_WIDTH}}  {row.title}: {row.says}"
        console.print(Text(f"{line}  ({row.took})" if row.took else line), soft_wrap=True)
    for block in view.blocks(result, verbose=verbose):
        console.print(Text(f"\n{block.head}"), soft_wrap=True)
        for line in block.lines:
            _print_indented(console, line, _PLAIN_WIDTH)
    console.print(Text(f"\n{view.summary(result)}"), soft_wrap=True)
    for line in view.closing(result):
        console.print(Text(line), soft_wrap=True)


def _print_indented(console: Console, line: str, width: int) -> None:
    bare = line.lstrip()
    indent = "  " + " " * (len(line) - len(bare))
    # By cells, not by characters: signs of the East and pictures are two cells wide.
    parts = Text(bare).wrap(console, max(_NARROWEST, width - len(indent) - 3))
    for i, part in enumerate(parts):
        part.rstrip()
        console.print(Text(indent + ("  " if i else "")).append_text(part), soft_wrap=True)

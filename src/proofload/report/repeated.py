"""Several runs of the same cases: how many of them passed, and which did not."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.text import Text

from proofload.judge.verdict import Outcome
from proofload.report import as_json, terminal
from proofload.report.result import RunResult
from proofload.report.view import blocks, safe

_MOST_SHOWN = 3


def tally(results: Sequence[RunResult]) -> Mapping[str, Counter[Outcome]]:
    """Return how often each case came to each outcome, in the order of the cases."""
    counted: dict[str, Counter[Outcome]] = {}
    for result in results:
        for verdict in result.verdicts:
            counted.setdefault(verdict.case, Counter())[verdict.outcome] += 1
    return counted


def to_json(results: Sequence[RunResult]) -> str:
    """Return the tally and every single result as one JSON document."""
    content = {
        "schema_version": as_json.SCHEMA_VERSION,
        "repeats": len(results),
        "tally": {case: {one.name: n for one, n in counts.items()} for case, counts in tally(results).items()},
        "runs": [json.loads(as_json.to_json(result)) for result in results],
    }
    return json.dumps(content, indent=2, sort_keys=True) + "\n"


def show(results: Sequence[RunResult], console: Console) -> None:
    """Print how many runs passed by case, then the first counterexamples, then where the evidence lies."""
    counted = tally(results)
    width = max(map(len, counted), default=0)
    for case, counts in counted.items():
        runs = sum(counts.values())
        line = Text(f"{safe(case):<{width}}  {counts[Outcome.PASS]:>3} of {runs} passed")
        for outcome in sorted((one for one in counts if one is not Outcome.PASS), reverse=True):
            line.append("   ")
            line.append(f"{counts[outcome]} {outcome.name}", style=terminal.STYLES[outcome])
        console.print(line, soft_wrap=True)
    shown = [(number, block) for number, result in enumerate(results, 1) for block in blocks(result)]
    shown.sort(key=lambda one: (-int(one[1].outcome), one[0]))
    for number, block in shown[:_MOST_SHOWN]:
        console.print(Text(f"\nrun {number}: {block.head}", style="bold"), soft_wrap=True)
        for line_ in block.lines:
            console.print(Text(f"  {line_}"), soft_wrap=True)
    if len(shown) > _MOST_SHOWN:
        console.print(Text(f"\nand {len(shown) - _MOST_SHOWN} more that were no PASS; each bundle tells its own"))
    console.print()
    for number, result in enumerate(results, 1):
        console.print(Text(f"run {number}  {safe(result.bundle)}  seed {result.seed}"), soft_wrap=True)
    for note in results[-1].notes:
        console.print(Text(f"note   {safe(note)}"), soft_wrap=True)

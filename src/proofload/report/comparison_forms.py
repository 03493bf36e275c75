"""A comparison of two runs, for people and for machines."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from proofload.judge.baseline import Change
from proofload.report.comparison import Compared, Remembered, overall
from proofload.report.view import safe

SCHEMA_VERSION = 1
_STYLES = {Change.WORSE: "bold red", Change.BETTER: "green", Change.CANNOT_TELL: "yellow", Change.SAME: "dim"}
_WORDS = {
    Change.WORSE: "worse",
    Change.BETTER: "better",
    Change.SAME: "same within noise",
    Change.CANNOT_TELL: "can't tell",
}


def word(change: Change) -> str:
    """Return a change in two or three words."""
    return _WORDS[change]


def show(before: Remembered, after: Remembered, compared: Sequence[Compared], console: Console) -> None:
    """Print what changed, the worst first; what stayed the same is counted and told in a line each."""
    console.print(Text(f"baseline  {safe(before.name)}, {safe(before.began)}"), soft_wrap=True)
    console.print(Text(f"now       {safe(after.name)}, {safe(after.began)}\n"), soft_wrap=True)
    what = max((len(safe(one.what)) for one in compared), default=0)
    values = max((len(f"{one.before} → {one.after}") for one in compared), default=0)
    for one in compared:
        line = Text(f"{word(one.change):<18}", style=_STYLES[one.change])
        told = f"{one.before} → {one.after}"
        line.append(f"{safe(one.what):<{what}}  {told:<{values}}", style="default")
        line.append(f"  {one.why}" if one.why else "", style="dim")
        line.rstrip()
        console.print(line, soft_wrap=True)
    counted = Counter(one.change for one in compared)
    told = ", ".join(f"{counted[change]} {word(change)}" for change in _WORDS if counted[change])
    console.print(Text(f"\n{word(overall(compared))}: {told or 'nothing could be compared'}", style="bold"))


def to_json(before: Remembered, after: Remembered, compared: Sequence[Compared]) -> str:
    """Return the comparison as one JSON document."""
    content: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "overall": word(overall(compared)),
        "before": {"target": before.name, "began": before.began},
        "after": {"target": after.name, "began": after.began},
        "compared": [
            {
                "kind": one.kind,
                "what": one.what,
                "before": one.before,
                "after": one.after,
                "change": word(one.change),
                "why": one.why,
            }
            for one in compared
        ],
    }
    return json.dumps(content, indent=2, sort_keys=True) + "\n"

"""All wording of reports: a run as blocks of plain text, which every form of report arranges in its own way."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from proofload.core.units import format_duration
from proofload.judge.verdict import Finding, Outcome, Verdict
from proofload.report.result import RunResult

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
_MOST_CHARACTERS = 2_000
_MOST_DOUBTS = 4


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the verdict table."""

    case: str
    outcome: Outcome
    title: str
    says: str
    took: str


@dataclass(frozen=True, slots=True)
class Block:
    """What is told in full of one case: why it is no PASS."""

    head: str
    outcome: Outcome
    lines: tuple[str, ...]


def safe(text: str) -> str:
    r"""Return text that cannot move a cursor, hide itself or end a line: control characters are shown as escapes.

    >>> safe("a\x1b[31mb")
    'a\\x1b[31mb'
    """
    cut = text if len(text) <= _MOST_CHARACTERS else text[: _MOST_CHARACTERS - 1] + "…"
    return _CONTROL.sub(
        lambda found: found[0].encode("unicode_escape").decode(), cut.replace("\n", "\\n").replace("\t", " ")
    )


def rows(result: RunResult) -> list[Row]:
    """Return the lines of the verdict table, in the order of the verdicts."""
    return [
        Row(
            verdict.case,
            verdict.outcome,
            safe(result.cases[verdict.case].title),
            safe(_in_short(verdict)),
            format_duration(result.cases[verdict.case].took_ns) if result.cases[verdict.case].took_ns else "",
        )
        for verdict in result.verdicts
    ]


def blocks(result: RunResult) -> list[Block]:
    """Return what is told in full: every FAIL first, then errors, then what could not be told."""
    order = (Outcome.FAIL, Outcome.ERROR, Outcome.INCONCLUSIVE)
    return [
        Block(f"{verdict.case}  {safe(result.cases[verdict.case].title)}", outcome, tuple(_told(verdict)))
        for outcome in order
        for verdict in result.verdicts
        if verdict.outcome is outcome
    ]


def summary(result: RunResult) -> str:
    """Return how many verdicts of each kind there are, worst first.

    >>> summary(RunResult((), {}, "t", "b", "0", 11))
    'no case was judged, so nothing is proven'
    """
    counted = Counter(verdict.outcome for verdict in result.verdicts)
    if not counted:
        return "no case was judged, so nothing is proven"
    return ", ".join(f"{counted[outcome]} {outcome.name}" for outcome in sorted(counted, reverse=True))


def closing(result: RunResult) -> list[str]:
    """Return where the evidence lies and how to go on."""
    lines = [f"evidence  {safe(result.bundle)}"]
    lines += [f"note      {safe(note)}" for note in result.notes]
    if result.seed is not None:
        lines.append(f"seed      {result.seed}")
    lines.append(f"again     proofload judge {safe(result.bundle)}")
    return lines


def _in_short(verdict: Verdict) -> str:
    if verdict.reason:
        return verdict.reason.splitlines()[0]
    worst = [finding for finding in verdict.findings if finding.outcome is verdict.outcome]
    if verdict.outcome is Outcome.PASS:
        examined = sum(finding.examined for finding in worst)
        return f"{len(worst)} rules held over {examined:,} observations"
    if not worst:
        return "no rule was examined"
    more = f" (+{len(worst) - 1} more)" if len(worst) > 1 else ""
    return worst[0].says + more


def _told(verdict: Verdict) -> Iterable[str]:
    for line in verdict.reason.splitlines():
        yield safe(line)
    # The worst first; a long tail of doubts has one cause more often than not.
    open_ones = sorted((one for one in verdict.findings if one.outcome >= Outcome.INCONCLUSIVE), key=_severity)
    shown = [one for i, one in enumerate(open_ones) if one.outcome >= Outcome.FAIL or i < _MOST_DOUBTS]
    for finding in shown:
        yield from _told_finding(finding)
    if len(open_ones) > len(shown):
        yield f"and {len(open_ones) - len(shown)} more rules that could not be told; all stand in verdicts.json"


def _severity(finding: Finding) -> int:
    return -int(finding.outcome)


def _told_finding(finding: Finding) -> Iterable[str]:
    yield f"{finding.outcome.name.lower()}: {safe(finding.says)}  [{finding.rule}]"
    yield from (f"    {safe(line)}" for line in finding.shown)
    if finding.look_at:
        yield f"    look at: {safe(finding.look_at)}"

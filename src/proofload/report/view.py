"""All wording of reports: a run as blocks of plain text, which every form of report arranges in its own way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from proofload.core.text import visible
from proofload.core.units import format_duration
from proofload.judge.verdict import Finding, Outcome, Verdict
from proofload.report.result import RunResult

_MOST_CHARACTERS = 2_000
_MOST_IN_ROW = 160
"""What a row of the table says at the most; the block below it tells the rest."""
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

    case: str
    head: str
    outcome: Outcome
    lines: tuple[str, ...]


def safe(text: str) -> str:
    r"""Return text in one line that cannot move a cursor or hide itself: control characters are shown as escapes.

    >>> safe("a\x1b[31mb")
    'a\\x1b[31mb'
    """
    return visible(text, _MOST_CHARACTERS)


def rows(result: RunResult) -> list[Row]:
    """Return the lines of the verdict table, in the order of the verdicts."""
    return [
        Row(
            safe(verdict.case),
            verdict.outcome,
            safe(result.cases[verdict.case].title),
            visible(_in_short(verdict), _MOST_CHARACTERS if verdict.outcome is Outcome.SKIPPED else _MOST_IN_ROW),
            format_duration(result.cases[verdict.case].took_ns) if result.cases[verdict.case].took_ns else "",
        )
        for verdict in result.verdicts
    ]


def blocks(result: RunResult, *, verbose: bool = False) -> list[Block]:
    """Return what is told in full: every FAIL first, then errors, then what could not be told.

    With `verbose` what held comes after them, rule by rule.
    """
    order = (Outcome.FAIL, Outcome.ERROR, Outcome.INCONCLUSIVE, *((Outcome.PASS,) if verbose else ()))
    return [
        Block(
            verdict.case,
            f"{safe(verdict.case)}  {safe(result.cases[verdict.case].title)}",
            outcome,
            tuple(_told(verdict, verbose=verbose)),
        )
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
    lines = [f"report    {safe(result.report)}"] if result.report else []
    lines.append(f"evidence  {safe(result.bundle)}")
    lines += [f"note      {safe(note)}" for note in result.notes]
    lines += [f"diagnosis {safe(one)}" for one in result.diagnoses]
    if result.seed is not None:
        lines.append(f"seed      {result.seed}")
    lines.append(f"again     {safe(result.again or f'proofload judge {result.bundle}')}")
    return lines


def _in_short(verdict: Verdict) -> str:
    if verdict.reason:
        return verdict.reason.splitlines()[0]
    worst = [finding for finding in verdict.findings if finding.outcome is verdict.outcome]
    if verdict.outcome is Outcome.PASS:
        examined = sum(finding.examined for finding in worst)
        return f"{_counted(len(worst), 'rule')} held over {_counted(examined, 'observation')}"
    if not worst:
        return "no rule was examined"
    more = f" (+{len(worst) - 1} more)" if len(worst) > 1 else ""
    return visible(worst[0].says, _MOST_IN_ROW - len(more)) + more


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _told(verdict: Verdict, *, verbose: bool) -> Iterable[str]:
    for line in verdict.reason.splitlines():
        yield safe(line)
    # The worst first; a long tail of doubts has one cause more often than not.
    open_ones = sorted((one for one in verdict.findings if one.outcome >= Outcome.INCONCLUSIVE), key=_severity)
    shown = [one for i, one in enumerate(open_ones) if one.outcome >= Outcome.FAIL or i < _MOST_DOUBTS]
    for finding in shown:
        yield from _told_finding(finding)
    if len(open_ones) > len(shown):
        yield f"and {len(open_ones) - len(shown)} more rules that could not be told; all stand in verdicts.json"
    if verbose:
        for finding in verdict.findings:
            if finding.outcome is Outcome.PASS:
                yield f"pass: {safe(finding.says)}  [{safe(finding.rule)}]"


def _severity(finding: Finding) -> int:
    return -int(finding.outcome)


def _told_finding(finding: Finding) -> Iterable[str]:
    yield f"{finding.outcome.name.lower()}: {safe(finding.says)}  [{safe(finding.rule)}]"
    yield from (f"    {safe(line)}" for line in finding.shown)
    if finding.look_at:
        yield f"    look at: {safe(finding.look_at)}"

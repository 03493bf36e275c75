"""Findings and the verdicts that follow from them: the worst outcome wins, and nothing examined is never a pass."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


class Outcome(enum.IntEnum):
    """Ordered so that the worst of several outcomes is their maximum."""

    SKIPPED = 0
    PASS = 1
    INCONCLUSIVE = 2
    FAIL = 3
    ERROR = 4


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule, held or broken, with the rows of the history that decide it."""

    rule: str
    """A stable id, such as `rl.over_admission`."""
    outcome: Outcome
    says: str
    """One sentence for a person: what was seen, against what was promised."""
    examined: int = 0
    """How many things (requests, headers, entries) the rule looked at."""
    needed: int = 1
    """The least number that it must look at before it may say PASS."""
    rows: tuple[int, ...] = ()
    """The smallest set of exchanges that shows it."""
    shown: tuple[str, ...] = ()
    """The counterexample, a line for each step, as a person can follow it."""
    look_at: str = ""
    """Where in the target's code such a thing is usually found."""
    figures: Mapping[str, int | float | str] = field(default_factory=dict)
    """Numbers that a machine may want, by name; names carry units."""


def held(rule: str, says: str, *, examined: int, needed: int = 1, **figures: int | float | str) -> Finding:
    """Return PASS for a rule that was never broken, or INCONCLUSIVE where too little was examined to say so.

    >>> held("rl.over_admission", "never more than 100", examined=3, needed=100).outcome.name
    'INCONCLUSIVE'
    """
    if examined < needed:
        told = f"{says}, as far as seen: examined {examined}, needed {needed}"
        return Finding(rule, Outcome.INCONCLUSIVE, told, examined, needed, figures=figures)
    return Finding(rule, Outcome.PASS, says, examined, needed, figures=figures)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer for one case, from its findings."""

    case: str
    outcome: Outcome
    findings: tuple[Finding, ...]
    reason: str = ""
    """Why it is SKIPPED or ERROR, where no finding says so."""

    @classmethod
    def of(cls, case: str, findings: Iterable[Finding]) -> Verdict:
        """Return the verdict that follows from `findings`; none at all is inconclusive."""
        found = tuple(findings)
        return cls(case, worst(finding.outcome for finding in found), found)


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    """Return the worst outcome; none at all, or nothing but skips, is inconclusive.

    >>> worst([Outcome.PASS, Outcome.SKIPPED]).name, worst([]).name
    ('PASS', 'INCONCLUSIVE')
    """
    found = max(outcomes, default=Outcome.INCONCLUSIVE)
    return Outcome.INCONCLUSIVE if found is Outcome.SKIPPED else found

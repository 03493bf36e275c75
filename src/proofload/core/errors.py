"""One root exception and a class for each owner of a fault: the plan, safety, the target, the tool."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


class ProofloadError(Exception):
    """Root of every error that we raise on purpose; its text is fit for a person."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in what a user wrote: where, what was got, what was expected, what to do."""

    where: str
    got: str
    expected: str
    remedy: str = ""

    def __str__(self) -> str:
        """Return the problem as one line.

        >>> print(Problem("target.yaml:3 window", "'1 fortnight'", "a duration such as 60s", "see docs/target.md"))
        target.yaml:3 window: got '1 fortnight', expected a duration such as 60s; see docs/target.md
        """
        line = f"{self.where}: got {self.got}, expected {self.expected}"
        return f"{line}; {self.remedy}" if self.remedy else line


class PlanError(ProofloadError):
    """What the user declared can't be run; nothing was sent. Carries every problem found, not just the first."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: Sequence[Problem] = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class SafetyError(ProofloadError):
    """Refused because nobody proved that the target may be loaded; nothing was sent."""


class TargetError(ProofloadError):
    """The target did not do what a run needs before any verdict can be reached, such as answering at all."""


class UnfitTargetError(TargetError):
    """The target answered, but not so that a case could go on: it is INCONCLUSIVE, for nothing of ours broke."""


class UnfitEngineError(ProofloadError):
    """The engine that was asked for can't do what a case rests on: the case is SKIPPED, with this reason."""


class ToolError(ProofloadError):
    """proofload or its surroundings broke: a damaged bundle, a missing program, a full disk."""

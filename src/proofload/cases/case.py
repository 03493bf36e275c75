"""What a case is: one purpose, what it needs of a target, what it sends, and how it is judged."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from proofload.cases.context import Lab
from proofload.judge.evidence import Evidence
from proofload.judge.verdict import Finding
from proofload.plan.target import Target


class Category(enum.StrEnum):
    """The categories of the mission, in its order."""

    RATE_LIMIT = "rate limit"
    CIRCUIT_BREAKER = "circuit breaker"
    MONITORING = "monitoring"
    AUDIT = "audit"
    RESILIENCE = "resilience"
    LOCK = "lock"
    LATENCY = "latency"
    INTERACTION = "interaction"
    NEGATIVE = "negative"
    OWN = "own"
    """Cases that somebody wrote for a target of his own."""


class Priority(enum.StrEnum):
    """How much it matters; critical cases run first."""

    CRITICAL = "CRITICAL"
    HIGH = "HIGH"
    MEDIUM = "MEDIUM"
    NEGATIVE = "NEGATIVE"

    @property
    def rank(self) -> int:
        """Return 0 for what runs first."""
        return list(Priority).index(self)


@dataclass(frozen=True, slots=True)
class Case:
    """One entry of the catalogue. The texts are shown by `proofload cases ID`."""

    id: str
    title: str
    category: Category
    priority: Priority
    phase: int
    purpose: str
    sends: str
    passes_when: str
    read_fail: str
    least_evidence: str
    missing: Callable[[Target], str]
    """Return why the target can't be put to this case, or nothing: the reason printed with SKIPPED."""
    expected_ns: Callable[[Target], int]
    """Return how long driving it takes, about, in nanoseconds."""
    drive: Callable[[Lab], Awaitable[None]]
    judge: Callable[[Evidence], Sequence[Finding]]
    needs: tuple[str, ...] = ()
    """What the target must declare, as key paths of the target file."""
    prerequisites: tuple[str, ...] = ()
    uses: frozenset[str] = field(default_factory=frozenset)
    """What must not be disturbed while it runs."""
    disturbs: frozenset[str] = field(default_factory=frozenset)
    """What it disturbs for others while it runs."""
    restore: Callable[[Lab], Awaitable[None]] | None = None
    """Brings what it disturbed back to its old state, where no case follows that does so and others need it."""

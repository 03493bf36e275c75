"""Everything that one case's verdict may rest on, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from proofload.core.clock import Anchor
from proofload.judge.answers import AnswerClassifier
from proofload.plan.target import Target
from proofload.record.delivery import Delivery
from proofload.record.fault_edge import FaultEdge
from proofload.record.history import History
from proofload.record.ledger import Ledgers


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was declared, what happened and what was read, for one case."""

    case: str
    target: Target
    history: History
    anchor: Anchor
    deliveries: tuple[Delivery, ...]
    """How truly each load of the case was put on the wire."""
    edges: tuple[FaultEdge, ...] = ()
    ledgers: Ledgers = field(default_factory=Ledgers)
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What the driving side noted, JSON only: which addresses it used, whether a step was reached."""
    interrupted: str = ""
    """Why driving ended before its end; such a case is never PASS."""
    others: Mapping[str, Evidence] = field(default_factory=dict)
    """Evidence of the cases that had to pass first: what they left behind is where this one began."""

    @property
    def answers(self) -> AnswerClassifier:
        """Return the classifier of answers that knows every control of the target."""
        return AnswerClassifier.of(self.target)

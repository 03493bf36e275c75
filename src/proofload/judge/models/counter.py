"""A counter: add and read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from proofload.judge.models.model import IMPOSSIBLE, UNKNOWN, ModelOperation, told


@dataclass(frozen=True, slots=True)
class Counter:
    """Calls: `add` takes an amount (it may be negative) and gives the new value or None; `read` gives the value."""

    initial: int = 0
    name: str = "counter"

    def step(self, state: int, operation: ModelOperation) -> Any:
        """Return the value after the operation, or IMPOSSIBLE.

        >>> Counter().step(2, ModelOperation(0, 1, "add", 3, None, 0, 1))
        5
        """
        if operation.call == "read":
            return state if operation.result in (UNKNOWN, state) else IMPOSSIBLE
        assert operation.call == "add", operation.call
        assert isinstance(operation.argument, int)
        after = state + operation.argument
        return after if operation.result in (UNKNOWN, None, after) else IMPOSSIBLE

    def reads(self, operation: ModelOperation) -> bool:
        """Say whether the operation changes nothing."""
        return operation.call == "read"

    def describe(self, operation: ModelOperation) -> str:
        """Return the operation in words."""
        return told(operation)

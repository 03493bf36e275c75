"""A list that only grows at its end, and a set that only grows: the sharpest witnesses of lost and reordered writes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from proofload.judge.models.model import IMPOSSIBLE, UNKNOWN, ModelOperation, told


@dataclass(frozen=True, slots=True)
class AppendList:
    """Calls: `append` takes an element; `read` gives the whole list as a tuple."""

    initial: tuple[Any, ...] = ()
    name: str = "list"

    def step(self, state: tuple[Any, ...], operation: ModelOperation) -> Any:
        """Return the list after the operation, or IMPOSSIBLE.

        >>> AppendList().step((1,), ModelOperation(0, 1, "append", 2, None, 0, 1))
        (1, 2)
        """
        if operation.call == "read":
            return state if operation.result in (UNKNOWN, state) else IMPOSSIBLE
        assert operation.call == "append", operation.call
        return (*state, operation.argument)

    def reads(self, operation: ModelOperation) -> bool:
        """Say whether the operation changes nothing."""
        return operation.call == "read"

    def describe(self, operation: ModelOperation) -> str:
        """Return the operation in words."""
        return told(operation)


@dataclass(frozen=True, slots=True)
class GrowSet:
    """Calls: `add` takes an element; `read` gives all elements as a frozenset."""

    initial: frozenset[Any] = frozenset()
    name: str = "set"

    def step(self, state: frozenset[Any], operation: ModelOperation) -> Any:
        """Return the set after the operation, or IMPOSSIBLE.

        >>> sorted(GrowSet().step(frozenset({1}), ModelOperation(0, 1, "add", 2, None, 0, 1)))
        [1, 2]
        """
        if operation.call == "read":
            return state if operation.result in (UNKNOWN, state) else IMPOSSIBLE
        assert operation.call == "add", operation.call
        return state | {operation.argument}

    def reads(self, operation: ModelOperation) -> bool:
        """Say whether the operation changes nothing."""
        return operation.call == "read"

    def describe(self, operation: ModelOperation) -> str:
        """Return the operation in words."""
        if isinstance(operation.result, frozenset):
            return f"read() → {sorted(operation.result)}"
        return told(operation)

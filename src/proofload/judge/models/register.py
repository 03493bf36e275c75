"""A register that holds one value: read, write, compare-and-set."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from proofload.judge.models.model import IMPOSSIBLE, UNKNOWN, ModelOperation, told


@dataclass(frozen=True, slots=True)
class Register:
    """Calls: `read` gives the value; `write` takes it; `cas` takes (old, new) and gives True or False."""

    initial: Hashable = None
    name: str = "register"

    def step(self, state: Hashable, operation: ModelOperation) -> Hashable:
        """Return the value after the operation, or IMPOSSIBLE.

        >>> Register().step(3, ModelOperation(0, 1, "cas", (3, 4), True, 0, 1))
        4
        """
        if operation.call == "read":
            return state if operation.result in (UNKNOWN, state) else IMPOSSIBLE
        if operation.call == "write":
            return operation.argument
        assert operation.call == "cas", operation.call
        assert isinstance(operation.argument, tuple)
        old, new = operation.argument
        swaps = state == old
        if operation.result is not UNKNOWN and operation.result != swaps:
            return IMPOSSIBLE
        return new if swaps else state

    def reads(self, operation: ModelOperation) -> bool:
        """Say whether the operation changes nothing: a read, or a compare-and-set that said no."""
        return operation.call == "read" or operation.result is False

    def describe(self, operation: ModelOperation) -> str:
        """Return the operation in words."""
        return told(operation)

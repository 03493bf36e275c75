"""A bank account: deposits, withdrawals that may be refused for lack of funds, and reads of the balance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from proofload.judge.models.model import IMPOSSIBLE, UNKNOWN, ModelOperation, told

INSUFFICIENT = "insufficient"
"""The result of a withdrawal that was refused because the balance was too low."""
DONE = "done"
"""The result of a deposit or withdrawal whose answer does not tell the balance."""


@dataclass(frozen=True, slots=True)
class BankAccount:
    """Calls: `deposit` and `withdraw` take an amount and give the new balance or DONE; `balance` gives the balance.

    Amounts are whole numbers of the smallest unit. The balance never goes below zero.
    """

    initial: int = 0
    name: str = "bank account"

    def step(self, state: int, operation: ModelOperation) -> Any:
        """Return the balance after the operation, or IMPOSSIBLE.

        >>> BankAccount().step(5, ModelOperation(0, 1, "withdraw", 9, INSUFFICIENT, 0, 1))
        5
        """
        result = operation.result
        if operation.call == "balance":
            return state if result in (UNKNOWN, state) else IMPOSSIBLE
        assert isinstance(operation.argument, int)
        if operation.call == "deposit":
            after = state + operation.argument
        else:
            assert operation.call == "withdraw", operation.call
            after = state - operation.argument
            if after < 0:
                return state if result in (UNKNOWN, INSUFFICIENT) else IMPOSSIBLE
        return after if result in (UNKNOWN, DONE, after) else IMPOSSIBLE

    def reads(self, operation: ModelOperation) -> bool:
        """Say whether the operation changes nothing: a read, or a refused withdrawal."""
        return operation.call == "balance" or operation.result == INSUFFICIENT

    def describe(self, operation: ModelOperation) -> str:
        """Return the operation in words."""
        return told(operation)

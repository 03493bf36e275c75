"""A lock with leases and fencing tokens: who holds it, until when at the latest, and whose writes still count."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from proofload.judge.models.model import FOREVER_NS, IMPOSSIBLE, UNKNOWN, ModelOperation, told

BUSY = "busy"
"""The result of an `acquire` that found the lock held."""
NOT_HELD = "not held"
"""The result of a `release` by one that did not hold the lock (any more)."""
STALE = "stale"
"""The result of a `write` whose fencing token was older than one already seen."""


class Holding(NamedTuple):
    """The state of the lock."""

    holder: tuple[Hashable, int] | None = None
    """Process and acquisition; None while free."""
    issued: int = 0
    """The greatest token handed out."""
    fence: int = 0
    """The greatest token that a write was accepted with."""


_FREE = Holding()


@dataclass(frozen=True, slots=True)
class Mutex:
    """Calls: `acquire` gives a token (a whole number, or None where there is none) or BUSY, `release` None or NOT_HELD.

    `write` takes a token and gives None or STALE; it needs no lock, for that is what fencing is about. `expire` is put
    in by `with_leases` and takes the row of an acquisition.
    """

    initial: Holding = _FREE
    name: str = "mutex"

    def step(self, state: Holding, operation: ModelOperation) -> Any:
        """Return the state after the operation, or IMPOSSIBLE.

        >>> Mutex().step(Holding(("a", 0), 1), ModelOperation(1, "b", "acquire", None, 2, 0, 1)) is IMPOSSIBLE
        True
        """
        match operation.call:
            case "acquire":
                return _acquire(state, operation)
            case "release":
                mine = state.holder is not None and state.holder[0] == operation.process
                if operation.result is not UNKNOWN and (operation.result == NOT_HELD) is mine:
                    return IMPOSSIBLE
                return state._replace(holder=None) if mine else state
            case "write":
                assert isinstance(operation.argument, int)
                stale = operation.argument < state.fence
                if operation.result is not UNKNOWN and (operation.result == STALE) is not stale:
                    return IMPOSSIBLE
                return state if stale else state._replace(fence=operation.argument)
        assert operation.call == "expire", operation.call
        expired = state.holder is not None and state.holder[1] == operation.argument
        return state._replace(holder=None) if expired else state

    def reads(self, operation: ModelOperation) -> bool:
        """Say whether the operation changes nothing: one that was refused."""
        return operation.result in (BUSY, NOT_HELD, STALE)

    def describe(self, operation: ModelOperation) -> str:
        """Return the operation in words."""
        if operation.call == "expire":
            return f"the lease of row {operation.argument} runs out"
        return told(operation)


def with_leases(operations: Iterable[ModelOperation], lease_ns: int) -> list[ModelOperation]:
    """Return the operations and, for each acquisition, the end of its lease as an operation of the lock's own.

    A lease begins when the lock is taken, so it ends inside the acquisition's interval moved by `lease_ns`; where the
    answer never came, at any time from its earliest end on.
    """
    found = list(operations)
    for operation in tuple(found):
        if operation.call == "acquire" and operation.result != BUSY:
            ends_ns = operation.returned_ns + lease_ns if operation.certain else FOREVER_NS
            found.append(
                replace(
                    operation,
                    process="lock",
                    call="expire",
                    argument=operation.row,
                    result=None,
                    invoked_ns=operation.invoked_ns + lease_ns,
                    returned_ns=ends_ns,
                )
            )
    return found


def _acquire(state: Holding, operation: ModelOperation) -> Any:
    if operation.result == BUSY:
        return IMPOSSIBLE if state.holder is None else state
    if state.holder is not None:
        return state if operation.result is UNKNOWN else IMPOSSIBLE
    token = operation.result
    if isinstance(token, int):
        if token <= state.issued:
            return IMPOSSIBLE
        return Holding((operation.process, operation.row), token, state.fence)
    return state._replace(holder=(operation.process, operation.row))

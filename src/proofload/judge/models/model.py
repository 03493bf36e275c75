"""What a model of a shared object is: a pure step from state to state, for one operation at a time."""

from __future__ import annotations

import enum
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, Protocol

FOREVER_NS = 1 << 62
"""The return of an operation that never returned."""


class Unknown(enum.Enum):
    """The type of `UNKNOWN`."""

    UNKNOWN = "unknown"


UNKNOWN = Unknown.UNKNOWN
"""The result of an operation whose answer never came."""


@dataclass(frozen=True, slots=True)
class ModelOperation:
    """One call on a shared object: it took effect at one instant inside [invoked_ns, returned_ns].

    With `certain` False it may have taken effect at any time from `invoked_ns` on, or never.
    """

    row: int
    """The exchange, or the line of the file, that it stands for."""
    process: Hashable
    call: str
    argument: Hashable
    result: Hashable
    invoked_ns: int
    returned_ns: int
    certain: bool = True
    key: Hashable = None
    """Operations on different keys have nothing to do with each other."""


class Model(Protocol):
    """A sequential specification. States are immutable and hashable."""

    @property
    def name(self) -> str:
        """Return what the object is called."""
        ...

    @property
    def initial(self) -> Any:
        """Return the state at the start."""
        ...

    def step(self, state: Any, operation: ModelOperation) -> Any:
        """Return the state after the operation, or `IMPOSSIBLE` where its result can't come about in `state`."""
        ...

    def reads(self, operation: ModelOperation) -> bool:
        """Say whether the operation leaves every state as it is."""
        ...

    def describe(self, operation: ModelOperation) -> str:
        """Return the operation and its result as a person would write it."""
        ...


class _Impossible(enum.Enum):
    IMPOSSIBLE = "impossible"


IMPOSSIBLE = _Impossible.IMPOSSIBLE


def told(operation: ModelOperation, *, argument: bool = True) -> str:
    """Return an operation in the common form, `write(3) → ok`.

    >>> told(ModelOperation(0, 1, "read", None, 3, 0, 1), argument=False)
    'read() → 3'
    """
    inside = "" if not argument or operation.argument is None else str(operation.argument)
    result = "no answer" if operation.result is UNKNOWN else operation.result
    return f"{operation.call}({inside}) → {result}"

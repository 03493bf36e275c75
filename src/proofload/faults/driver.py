"""What a driver of faults offers. It breaks; how it is mended it only writes down, and anybody can read that."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol, TypeVar

from proofload.faults.recipe import Recipe, Step, carry_out, carry_out_step

_T = TypeVar("_T")


class Driver(Protocol):
    """Breaks one thing in the ways that it names, and mends it."""

    @property
    def name(self) -> str:
        """Return the name that a target file calls it by."""
        ...

    @property
    def kinds(self) -> tuple[str, ...]:
        """Return the ways in which it can break its thing."""
        ...

    def undo_recipe(self, kind: str) -> Recipe:
        """Return, as JSON-able data, how any process can mend a fault of this kind, twice without harm.

        Asked before the fault is applied, in a thread; it may look at the thing as it is now. Raises FaultError.
        """
        ...

    async def apply(self, kind: str) -> str:
        """Break the thing and return what came of it. Raises FaultError where that can't be done."""
        ...

    async def undo(self, kind: str) -> str:
        """Mend the thing and return what came of it. Raises FaultError where that can't be done."""
        ...


class StepDriver:
    """Base of the drivers whose faults and remedies are steps of a recipe: the runner mends as a stranger would."""

    name = "steps"

    def __init__(self, faults: Mapping[str, tuple[Callable[[], Step], Callable[[], Step]]]) -> None:
        """Take, for each kind, what makes the step that breaks and the one that mends."""
        self._faults = dict(faults)
        self._recipes: dict[str, Recipe] = {}

    @property
    def kinds(self) -> tuple[str, ...]:
        """Return the ways in which it can break its thing."""
        return tuple(self._faults)

    def undo_recipe(self, kind: str) -> Recipe:
        """Return how any process can mend a fault of this kind; `undo` goes by it from here on. May block."""
        breaking, mending = self._faults[kind]
        breaking()  # what can't be broken is better known before anything is written down
        self._recipes[kind] = {"steps": [mending()]}
        return self._recipes[kind]

    async def apply(self, kind: str) -> str:
        """Break the thing."""
        return await asyncio.to_thread(carry_out_step, self._faults[kind][0]())

    async def undo(self, kind: str) -> str:
        """Mend the thing as it was written down."""
        return await asyncio.to_thread(carry_out, self._recipes.get(kind) or self.undo_recipe(kind))


async def to_its_end(work: Awaitable[_T]) -> _T:
    """Return what `work` returns. A cancellation waits until the work is done: nothing is left half broken."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as asked:
            cancelled = asked
    if cancelled is not None:
        if not task.cancelled():
            task.exception()  # seen: a cancellation weighs more than what the work says
        raise cancelled
    return task.result()

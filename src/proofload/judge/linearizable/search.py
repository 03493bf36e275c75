"""The search for a linearization: just in time, remembering what was tried, within a budget.

After Wing and Gong (Testing and verifying concurrent objects, 1993) and Lowe (Testing for linearizability, 2017): go
through the returns in time order; at each, whatever must have taken effect before it does so. A configuration is the
set of open operations that have taken effect, and the state. The one that has come furthest is followed first.
"""

from __future__ import annotations

import enum
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Any

from proofload.judge.models.model import FOREVER_NS, IMPOSSIBLE, Model, ModelOperation

BUDGET = 1_000_000
"""Steps of the model that a search may take unless told otherwise: a few seconds."""

_Key = tuple[int, Hashable]
"""The certain open operations that took effect, as bits, and the state."""
_Configurations = dict[_Key, list[int]]
"""For each key, the sets of uncertain operations that took effect, as bits: no set contains another."""


class SearchResult(enum.Enum):
    """What a search can say."""

    LINEARIZABLE = "linearizable"
    NOT_LINEARIZABLE = "not linearizable"
    UNDECIDED = "budget spent"


@dataclass(frozen=True, slots=True)
class Result:
    """The answer, and for NOT_LINEARIZABLE what could not be explained."""

    answer: SearchResult
    steps: int
    stuck: ModelOperation | None = None
    """The operation at whose return no explanation was left."""
    states: tuple[Hashable, ...] = ()
    """The states that were possible just before."""


class _BudgetSpentError(Exception):
    """Ends a search from within."""


def search(
    operations: Sequence[ModelOperation], model: Model, *, budget: int = BUDGET, anytime: Sequence[ModelOperation] = ()
) -> Result:
    """Return whether some order of all certain and any uncertain operations explains their results.

    The order must keep real time: an operation that returned before another was invoked comes first; instants that are
    equal count as overlapping. Keys are not looked at: hand in the operations of one key. What is in `anytime` may
    take effect at any time, never, or again and again: that is more than ever happens, and quickly searched.
    """
    useful = [one for one in operations if one.certain or not model.reads(one)]
    walk = _Walk(useful, model, budget, anytime)
    try:
        return walk.run()
    except _BudgetSpentError:
        return Result(SearchResult.UNDECIDED, walk.steps)


@dataclass(frozen=True, slots=True)
class _Return:
    """One return, and what is open then: operations that were invoked, and have not returned before."""

    index: int
    bit: int
    writes: tuple[tuple[int, int], ...]
    """Index and bit of each open certain operation that may change the state."""
    reads: tuple[tuple[int, int], ...]
    maybe: tuple[tuple[tuple[int, int], ...], ...]
    """Uncertain operations; those that are alike stand together and are used in order."""


class _Walk:
    """The state of one search."""

    def __init__(
        self, operations: Sequence[ModelOperation], model: Model, budget: int, anytime: Sequence[ModelOperation]
    ) -> None:
        unlike = {(one.call, one.argument, one.process if one.call in _EACH_ITS_OWN else None): one for one in anytime}
        self.anytime = range(len(operations), len(operations) + len(unlike))
        self.operations = [*operations, *unlike.values()]
        self.model = model
        self.budget = budget
        self.steps = 0
        self.pushed = 0
        self.returns = _returns(operations, model)
        self.seen: list[_Configurations] = [{} for _ in self.returns]
        # Furthest first, then the fewest uncertain operations; the count makes the order total and last in, first out.
        self.heap: list[tuple[int, int, int, _Node]] = []

    def run(self) -> Result:
        if not self.returns:
            return Result(SearchResult.LINEARIZABLE, 0)
        self._push(0, self._with_reads(0, 0, self.model.initial), self.model.initial, 0, None)
        furthest = 0
        while self.heap:
            minus_at, _, _, (done, state, maybe, before) = heappop(self.heap)
            at = -minus_at
            furthest = max(furthest, at)
            if maybe not in self.seen[at].get((done, state), ()):
                continue  # a smaller set was found meanwhile
            if done & self.returns[at].bit:
                done &= ~self.returns[at].bit
                if at + 1 == len(self.returns):
                    return Result(SearchResult.LINEARIZABLE, self.steps)
                self._push(at + 1, self._with_reads(at + 1, done, state), state, maybe, None)
            else:
                self._expand(at, done, state, maybe, before)
        states = tuple(dict.fromkeys(state for _, state in self.seen[furthest]))
        return Result(SearchResult.NOT_LINEARIZABLE, self.steps, self.operations[self.returns[furthest].index], states)

    def _expand(self, at: int, done: int, state: Hashable, maybe: int, before: _Before) -> None:
        """Let each open operation take effect next.

        `before` is the state before an uncertain operation that nothing has depended on yet, where that was the last
        move. What leads to the same state without it is not followed: without it there is one choice more left.
        """
        now = self.returns[at]
        for index, bit in now.writes:
            if not done & bit and (after := self._step(state, index)) is not IMPOSSIBLE:
                if before is not None and self._step(before[0], index) == after:
                    continue
                self._push(at, self._with_reads(at, done | bit, after), after, maybe, None)
        for alike in now.maybe:
            for index, bit in alike:
                if maybe & bit:
                    continue
                after = self._step(state, index)
                if after is IMPOSSIBLE or after == state:
                    break
                if before is None or self._step(before[0], index) != after:
                    next_done = self._with_reads(at, done, after)
                    self._push(at, next_done, after, maybe | bit, (state,) if next_done == done else None)
                break
        for index in self.anytime:
            after = self._step(state, index)
            if after is not IMPOSSIBLE and after != state:
                self._push(at, self._with_reads(at, done, after), after, maybe, None)

    def _push(self, at: int, done: int, state: Hashable, maybe: int, before: _Before) -> None:
        if _add(self.seen[at], (done, state), maybe):
            self.pushed += 1
            heappush(self.heap, (-at, maybe.bit_count(), -self.pushed, (done, state, maybe, before)))

    def _with_reads(self, at: int, done: int, state: Hashable) -> int:
        """Return `done` with all open reads that `state` explains: to let them take effect now can only help."""
        for index, bit in self.returns[at].reads:
            if not done & bit and self._step(state, index) is not IMPOSSIBLE:
                done |= bit
        return done

    def _step(self, state: Hashable, index: int) -> Any:
        self.steps += 1
        if self.steps > self.budget:
            raise _BudgetSpentError
        return self.model.step(state, self.operations[index])


_Before = tuple[Hashable] | None
_Node = tuple[int, Hashable, int, _Before]
# Who calls these matters to the state, so no two of them are alike.
_EACH_ITS_OWN = frozenset({"acquire", "release"})


def _returns(operations: Sequence[ModelOperation], model: Model) -> list[_Return]:
    """Return the returns of all certain operations in time order, each with what is open at that time."""
    events = []
    for index, one in enumerate(operations):
        events.append((one.invoked_ns, 0, index))
        if one.certain and one.returned_ns < FOREVER_NS:
            events.append((one.returned_ns, 1, index))
    bits: dict[int, int] = {}
    free: list[int] = []
    used = 0
    writes: dict[int, int] = {}
    reads: dict[int, int] = {}
    maybe: dict[tuple[Hashable, ...], tuple[tuple[int, int], ...]] = {}
    found: list[_Return] = []
    # At one instant, calls come before returns: what touches overlaps.
    for _, kind, index in sorted(events):
        one = operations[index]
        if kind == 1:
            found.append(
                _Return(index, bits[index], tuple(writes.items()), tuple(reads.items()), tuple(maybe.values()))
            )
            writes.pop(index, None)
            reads.pop(index, None)
            free.append(bits.pop(index))
        elif one.certain and one.returned_ns < FOREVER_NS:
            # Bits are handed out anew once their operation has returned, so that they stay few.
            if free:
                bits[index] = free.pop()
            else:
                bits[index], used = 1 << used, used + 1
            (reads if model.reads(one) else writes)[index] = bits[index]
        else:
            alike = (one.call, one.argument, one.result, one.row if one.call in _EACH_ITS_OWN else None)
            maybe[alike] = (*maybe.get(alike, ()), (index, 1 << sum(map(len, maybe.values()))))
    return found


def _add(into: _Configurations, key: _Key, maybe: int) -> bool:
    """Add a set of uncertain operations unless a subset of it is known; drop known supersets. Say whether it was added.

    A configuration that has spent fewer of them can do all that one that spent more can.
    """
    known = into.get(key)
    if known is None:
        into[key] = [maybe]
        return True
    for other in known:
        if other & maybe == other:
            return False
    known[:] = [other for other in known if other & maybe != maybe]
    known.append(maybe)
    return True

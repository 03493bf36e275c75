"""Makes a counterexample small enough for a person: as few operations as possible, for the rest anything may hold."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

from proofload.judge.linearizable.search import BUDGET, Result, SearchResult, search
from proofload.judge.models.model import FOREVER_NS, UNKNOWN, Model, ModelOperation

_SLACK = 20
_LEAST_STEPS = 5_000
_QUICK_STEPS = 600
_WINDOWS = (4, 16)


@dataclass(frozen=True, slots=True)
class Counterexample:
    """Operations that no order explains, even if the other changes were made at any time, or never, with any answer."""

    operations: tuple[ModelOperation, ...]
    """In the order of their invocation; each of them is needed."""
    others: tuple[ModelOperation, ...]
    """Changes of whose time and answer nothing needs to be known: uncertain now, from the first instant on."""
    stuck: ModelOperation
    """The one at whose return no explanation was left."""
    states: tuple[Hashable, ...]
    """What the state could have been just before."""


def shrink(
    operations: Sequence[ModelOperation], model: Model, found: Result, *, budget: int = BUDGET
) -> Counterexample:
    """Return a smaller history that is not linearizable either; `found` is the search's answer on `operations`.

    Only steps that keep the proof sound are tried: to leave out a read, and to know nothing of when a change was made,
    whether it was made at all and what it answered. A step whose search runs out of budget is not taken.
    """
    assert found.stuck is not None
    best, tight, loose, spent = _grow(operations, model, found, budget)
    limit = max(_LEAST_STEPS, _SLACK * best.steps)
    size = max(1, len(tight) // 2)
    while spent < budget:
        at, changed = 0, False
        while at < len(tight) and spent < budget:
            chunk = tight[at : at + size]
            rest = tight[:at] + tight[at + size :]
            freed = loose + _loosened(chunk, model)
            tried, steps = _refute(rest, freed, model, min(limit, budget - spent))
            spent += steps
            if tried:
                tight, loose, best, changed = rest, freed, tried, True
            else:
                at += size
        if size == 1 and not changed:
            break
        size = max(1, size // 2)
    assert best.stuck is not None
    ordered = tuple(sorted(tight, key=lambda one: (one.invoked_ns, one.returned_ns)))
    return Counterexample(ordered, tuple(loose), best.stuck, best.states)


def search_windows(operations: Sequence[ModelOperation], model: Model, *, budget: int = BUDGET) -> Result | None:
    """Return a proof that a history is not linearizable from a few neighbouring operations, or None if none is found.

    For histories on which the whole search gives up: what cannot be explained is often local. Each window of operations
    is searched with the others loosened; that only ever makes it easier to explain.
    """
    certain = sorted((one for one in operations if one.certain), key=lambda one: one.returned_ns)
    # Of operations that are alike the first is the hardest to explain by itself.
    first = {(one.call, one.argument, one.result): one for one in reversed(certain)}
    windows = [[one] for one in first.values()]
    for size in _WINDOWS:
        windows += [certain[end : end + size] for end in range(0, len(certain), size // 2)]
    for window in windows:
        tried, steps = _refute(window, _others(operations, window, model), model, min(_LEAST_STEPS, budget))
        budget -= steps
        if tried or budget <= 0:
            return tried
    return None


def _refute(
    tight: Sequence[ModelOperation], loose: Sequence[ModelOperation], model: Model, limit: int
) -> tuple[Result | None, int]:
    """Return a proof that `tight` is not linearizable whatever `loose` did, or None; and the steps that it took."""
    # Where states are without end (a list grows for ever) this can't answer, so it gets little.
    quick = search(tight, model, budget=min(limit, _QUICK_STEPS + 20 * len(tight)), anytime=loose)
    if quick.answer is SearchResult.NOT_LINEARIZABLE:
        return quick, quick.steps
    # Each of them once at the most: harder to explain by, longer to search.
    whole = search([*tight, *loose], model, budget=limit)
    return whole if whole.answer is SearchResult.NOT_LINEARIZABLE else None, quick.steps + whole.steps


def _grow(
    operations: Sequence[ModelOperation], model: Model, found: Result, budget: int
) -> tuple[Result, list[ModelOperation], list[ModelOperation], int]:
    """Return the fewest last operations that are a counterexample by themselves, in doublings; else the whole history.

    Also returned: those operations, the loosened others, and the steps that it took.
    """
    assert found.stuck is not None
    end_ns = found.stuck.returned_ns
    kept = [one for one in operations if one.invoked_ns <= end_ns]
    latest = sorted((one for one in kept if one.certain), key=lambda one: (one.returned_ns > end_ns, -one.returned_ns))
    spent, size = 0, 1
    while size < len(latest) and spent < budget // 2:
        tight = latest[:size]
        loose = _others(kept, tight, model)
        tried, steps = _refute(tight, loose, model, _LEAST_STEPS)
        spent += steps
        if tried:
            return tried, tight, loose, spent
        size *= 2
    uncertain = [one for one in kept if not one.certain and not model.reads(one)]
    return found, latest, uncertain, spent


def _others(
    operations: Sequence[ModelOperation], tight: Sequence[ModelOperation], model: Model
) -> list[ModelOperation]:
    """Return the changes invoked before `tight` was over and not among it, loosened."""
    end_ns = max(one.returned_ns for one in tight)
    rows = {id(one) for one in tight}
    return _loosened([one for one in operations if id(one) not in rows and one.invoked_ns <= end_ns], model)


def _loosened(operations: Sequence[ModelOperation], model: Model) -> list[ModelOperation]:
    """Return the changes among the operations, each uncertain and possible from the first instant on."""
    return [
        replace(one, certain=False, result=UNKNOWN, invoked_ns=-FOREVER_NS, returned_ns=FOREVER_NS)
        for one in operations
        if not model.reads(one)
    ]

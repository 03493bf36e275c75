"""Turns the search's answers for all keys into one finding that a person can follow."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence

from proofload.core.units import format_duration
from proofload.judge.linearizable.search import BUDGET, SearchResult, search
from proofload.judge.linearizable.shrink import Counterexample, search_windows, shrink
from proofload.judge.models.model import FOREVER_NS, Model, ModelOperation
from proofload.judge.verdict import Finding, Outcome, held

_SHOWN = 24


def by_key(operations: Iterable[ModelOperation]) -> dict[Hashable, list[ModelOperation]]:
    """Return the operations of each key: a history is linearizable where each key's is (Herlihy and Wing, 1990)."""
    found: dict[Hashable, list[ModelOperation]] = {}
    for one in operations:
        found.setdefault(one.key, []).append(one)
    return found


def judge_linearizable(
    operations: Sequence[ModelOperation],
    model: Model,
    *,
    rule: str = "lock.not_linearizable",
    models: Callable[[Hashable], Model] | None = None,
    place: Callable[[ModelOperation], str] | None = None,
    budget: int = BUDGET,
    needed: int = 2,
    look_at: str = "read-modify-write without a lock or a transaction around all of it",
) -> Finding:
    """Return whether the operations on every key can be explained one after the other.

    `models` gives the model of a key where the first state differs from key to key; `place` says where an operation
    stands. The budget, in steps of the model, is for all keys together; spent, the finding is INCONCLUSIVE.
    """
    left, undecided, examined = budget, 0, 0
    for key, of_key in sorted(by_key(operations).items(), key=lambda item: (len(item[1]), str(item[0]))):
        examined += sum(one.certain for one in of_key)
        one_model = models(key) if models else model
        found = search(of_key, one_model, budget=max(0, left))
        left -= found.steps
        if found.answer is SearchResult.NOT_LINEARIZABLE:
            example = shrink(of_key, one_model, found, budget=budget)
            return _broken(rule, key, example, one_model, examined, needed, place or _place, look_at)
        if found.answer is SearchResult.UNDECIDED and (proof := search_windows(of_key, one_model, budget=budget // 4)):
            example = shrink(of_key, one_model, proof, budget=budget)
            return _broken(rule, key, example, one_model, examined, needed, place or _place, look_at)
        undecided += found.answer is SearchResult.UNDECIDED
    figures: dict[str, int | float | str] = {"steps": budget - max(0, left), "model": model.name}
    if undecided:
        says = (
            f"the search was given up after {budget} steps, with {undecided} keys undecided: too much happened at once"
        )
        return Finding(rule, Outcome.INCONCLUSIVE, says, examined, needed, figures=figures)
    says = f"{examined} operations can be explained one after the other ({model.name})"
    return held(rule, says, examined=examined, needed=needed, **figures)


def _broken(
    rule: str,
    key: Hashable,
    example: Counterexample,
    model: Model,
    examined: int,
    needed: int,
    place: Callable[[ModelOperation], str],
    look_at: str,
) -> Finding:
    whose = "" if key is None else f" on {key}"
    count = len(example.operations)
    lines = [f"{place(one)}: {model.describe(one)}" for one in example.operations]
    if count > _SHOWN:
        lines = [*lines[: _SHOWN - 4], f"… {count - _SHOWN + 1} more", *lines[-3:]]
    states = ", ".join(str(state) for state in example.states[:5]) + (", …" if len(example.states) > 5 else "")
    lines.append(
        f"no order explains them: when {place(example.stuck)} returned, the {model.name} could only be {states}, "
        f"which {model.describe(example.stuck)} contradicts"
    )
    if example.others:
        lines.append(f"this holds whenever the {len(example.others)} other changes were made, if at all")
    return Finding(
        rule,
        Outcome.FAIL,
        f"{count} operations{whose} can't be explained by any order ({model.name})",
        examined,
        needed,
        rows=tuple(one.row for one in example.operations),
        shown=tuple(lines),
        look_at=look_at,
        figures={"operations": count, "model": model.name},
    )


def _place(one: ModelOperation) -> str:
    until = "no answer" if one.returned_ns >= FOREVER_NS else format_duration(one.returned_ns)
    return f"row {one.row}, {format_duration(one.invoked_ns)} to {until}"

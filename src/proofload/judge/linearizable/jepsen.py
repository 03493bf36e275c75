"""Judges a history in Jepsen's text form by one of our models."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

from proofload.core.errors import PlanError, Problem
from proofload.judge.linearizable.judge import judge_linearizable
from proofload.judge.linearizable.search import BUDGET
from proofload.judge.models.append_list import AppendList, GrowSet
from proofload.judge.models.counter import Counter
from proofload.judge.models.model import FOREVER_NS, UNKNOWN, Model, ModelOperation
from proofload.judge.models.mutex import BUSY, NOT_HELD, Mutex
from proofload.judge.models.register import Register
from proofload.judge.verdict import Finding
from proofload.record.jepsen import TIMED_OUT, JepsenCall, Value, read_jepsen

MODELS: dict[str, Callable[[], Model]] = {
    "register": Register,
    "counter": Counter,
    "list": AppendList,
    "set": GrowSet,
    "mutex": Mutex,
}
"""The models by the name that `--model` takes."""

_CALLS: dict[str, dict[str, str]] = {
    "register": {"read": "nothing", "write": "a number", "cas": "[old new]"},
    "counter": {"read": "nothing", "add": "a number"},
    "list": {"read": "nothing", "append": "a number"},
    "set": {"read": "nothing", "add": "a number"},
    "mutex": {"acquire": "nothing", "release": "nothing"},
}


def check_jepsen(text: str, model: str = "register", *, name: str = "history", budget: int = BUDGET) -> Finding:
    r"""Return whether the history is linearizable by the model of that name: PASS, FAIL, or INCONCLUSIVE.

    The register starts out empty (`nil`). Raises PlanError where the text is no history or the model is unknown.

    >>> lost = "0\t:invoke\t:write\t1\n0\t:ok\t:write\t1\n1\t:invoke\t:read\tnil\n1\t:ok\t:read\tnil\n"
    >>> check_jepsen(lost).outcome.name
    'FAIL'
    """
    if model not in MODELS:
        raise PlanError([Problem("--model", repr(model), f"one of {', '.join(sorted(MODELS))}")])
    operations = operations_of(read_jepsen(text, name), model, name)
    return judge_linearizable(operations, MODELS[model](), place=_place, budget=budget, needed=1, look_at="")


def operations_of(calls: Sequence[JepsenCall], model: str, name: str = "history") -> list[ModelOperation]:
    """Return the calls as operations of a model; those that surely did not happen are left out.

    A `cas` that failed did compare, and the value was another than `old`; one that failed with `:timed-out` was never
    made and is left out. A lock's failed `acquire` found it held, its failed `release` found it not its own.
    """
    expected, problems, operations = _CALLS[model], [], []
    for call in calls:
        if call.f not in expected:
            problems.append(Problem(f"{name}:{call.invoked_line}", f":{call.f}", f"one of :{', :'.join(expected)}"))
        elif not _fits(call.argument, expected[call.f]):
            problems.append(Problem(f"{name}:{call.invoked_line}", repr(call.argument), expected[call.f]))
        elif (one := _operation(call, model)) is not None:
            operations.append(one)
    if problems:
        raise PlanError(problems)
    return operations


def _fits(argument: Value, expected: str) -> bool:
    match expected:
        case "a number":
            return isinstance(argument, int)
        case "[old new]":
            return isinstance(argument, tuple) and len(argument) == 2
    return True


def _operation(call: JepsenCall, model: str) -> ModelOperation | None:
    certain = call.type != "info"
    result: Hashable = UNKNOWN
    if call.type == "fail":
        refused = {"cas": False, "acquire": BUSY, "release": NOT_HELD}
        if call.f not in refused or call.value == TIMED_OUT:
            return None
        result = refused[call.f]
    elif certain:
        if call.f == "read" and isinstance(call.value, str):
            return None  # `:ok :read :timed-out` tells nothing
        result = {"read": _seen(call.value, model), "cas": True, "acquire": call.value}.get(call.f)
    return ModelOperation(
        row=call.invoked_line,
        process=call.process,
        call=call.f,
        argument=None if call.f in ("read", "acquire", "release") else call.argument,
        result=result,
        invoked_ns=call.invoked_line,
        returned_ns=call.returned_line if certain and call.returned_line is not None else FOREVER_NS,
        certain=certain,
    )


def _seen(value: Value, model: str) -> Hashable:
    if model in ("list", "set"):
        elements = value if isinstance(value, tuple) else ()
        return frozenset(elements) if model == "set" else elements
    return value


def _place(one: ModelOperation) -> str:
    lines = f"lines {one.row}" + (" on" if one.returned_ns >= FOREVER_NS else f" to {one.returned_ns}")
    return f"process {one.process}, {lines}"

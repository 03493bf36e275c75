r"""Reads Jepsen's text form of a history: one event a line, `process type f value`, parted by tabs.

    3	:invoke	:cas	[2 4]
    3	:fail	:cas	[2 4]

`type` is `:invoke`, `:ok` (it happened), `:fail` (it did not) or `:info` (nobody knows). `f` is `:read`, `:write` or
`:cas`; other models have others. `value` is `nil`, a number, `[old new]`, a list of numbers, or `:timed-out`. Blank
lines and lines of the nemesis are passed over, and so is what a log has put before the process (`INFO  x.y - `).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from proofload.core.errors import PlanError, Problem

Value = int | tuple[int, ...] | str | None
"""`nil` is None, a list a tuple; a keyword such as `:timed-out` is kept as text."""

TIMED_OUT = ":timed-out"
_TYPES = (":invoke", ":ok", ":fail", ":info")
_LOG_PREFIX = re.compile(r"^(?:\S+\s+)*?-\s+(?=(?:\d+|:nemesis)\s+:)")
_MAX_PROBLEMS = 20


@dataclass(frozen=True, slots=True)
class JepsenCall:
    """An invocation with its completion. Lines are numbered from 1 and serve as instants."""

    process: int
    f: str
    """Without its colon."""
    argument: Value
    type: str
    """`ok`, `fail` or `info`; an invocation that never completed is `info`."""
    value: Value
    invoked_line: int
    returned_line: int | None


def read_jepsen(text: str, name: str = "history") -> list[JepsenCall]:
    r"""Return the calls of a history in the order of their invocation. Raises PlanError with every problem found.

    >>> [(one.f, one.type, one.value) for one in read_jepsen("0\t:invoke\t:read\tnil\n0\t:ok\t:read\t3\n")]
    [('read', 'ok', 3)]
    """
    problems: list[Problem] = []
    open_calls: _Open = {}
    calls: list[JepsenCall] = []
    for number, raw in enumerate(text.splitlines(), 1):
        line = _LOG_PREFIX.sub("", raw.strip())
        if not line or line.startswith(":nemesis"):
            continue
        try:
            calls += _take(line, number, open_calls)
        except _WrongError as wrong:
            problems.append(Problem(f"{name}:{number}", repr(wrong.got), wrong.expected))
            if len(problems) == _MAX_PROBLEMS:
                break
    if problems:
        raise PlanError(problems)
    for process, (f, argument, invoked) in open_calls.items():
        calls.append(JepsenCall(process, f, argument, "info", None, invoked, None))
    return sorted(calls, key=lambda one: one.invoked_line)


_Open = dict[int, tuple[str, Value, int]]


def _take(line: str, number: int, open_calls: _Open) -> list[JepsenCall]:
    """Take one event in; return the call that it completes, if it does."""
    process, kind, f, value = _event(line)
    if kind == ":invoke":
        if process in open_calls:
            raise _WrongError(
                line, f"the completion of process {process}'s call of line {open_calls[process][2]} first"
            )
        open_calls[process] = (f, value, number)
        return []
    if process not in open_calls:
        raise _WrongError(line, f"an :invoke of process {process} before its {kind}")
    if open_calls[process][0] != f:
        raise _WrongError(line, f"the completion of :{open_calls[process][0]}, which process {process} invoked")
    _, argument, invoked = open_calls.pop(process)
    return [JepsenCall(process, f, argument, kind[1:], value, invoked, number)]


class _WrongError(Exception):
    def __init__(self, got: str, expected: str) -> None:
        super().__init__(got, expected)
        self.got, self.expected = got[:80], expected


def _event(line: str) -> tuple[int, str, str, Value]:
    # Values hold blanks too ("[2 4]"), so only the first three are parted; logs turn tabs into blanks now and then.
    parts = line.split(None, 3)
    if len(parts) < 3 or not parts[0].isdecimal():
        raise _WrongError(line, "process, type, f and value, parted by tabs")
    process, kind, f = parts[:3]
    if kind not in _TYPES:
        raise _WrongError(line, f"a type of {', '.join(_TYPES)}")
    if not f.startswith(":") or len(f) < 2:
        raise _WrongError(line, "an f such as :read, :write or :cas")
    return int(process), kind, f[1:], _value(parts[3] if len(parts) == 4 else "nil")


def _value(text: str) -> Value:
    text = text.strip()
    if text == "nil":
        return None
    if re.fullmatch(r"-?\d{1,18}", text):
        return int(text)
    if text.startswith("[") and text.endswith("]"):
        numbers = text[1:-1].replace(",", " ").split()
        if all(re.fullmatch(r"-?\d{1,18}", one) for one in numbers):
            return tuple(int(one) for one in numbers)
    if re.fullmatch(r":[a-z-]+", text):
        return text
    raise _WrongError(text, "a value: nil, a number, [old new] or :timed-out")

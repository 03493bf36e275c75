"""What an answer says of the controls in front of a service: one classifier, fed by every policy of the target."""

from __future__ import annotations

import enum
import json
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from proofload.plan.operation import Operation
from proofload.plan.policies import CircuitBreakerPolicy, RateLimitPolicy
from proofload.plan.target import Target
from proofload.record.exchange import Ending
from proofload.record.history import History


class AnswerKind(enum.IntEnum):
    """Who answered, and why. UNSURE: several causes fit, see `AnswerClassifier.causes`."""

    ADMITTED = 0
    """The service itself answered, with 2xx to 4xx or a status that the operation accepts."""
    RATE_LIMITED = 1
    CIRCUIT_OPEN = 2
    CONTENDED = 3
    OVERLOADED = 4
    FAILED = 5
    """5xx in any form but a control's own."""
    UNSURE = 6

    @property
    def bit(self) -> int:
        """Return the bit that stands for this kind in a set of causes."""
        return 1 << self


ALL_CAUSES = (1 << AnswerKind.UNSURE) - 1
_OWN_STATUSES = frozenset({423, 429})
"""What only a lock or a limiter says by convention: no other cause needs to be considered."""
_CODE_KEY = re.compile(r"code|err|reason|type", re.IGNORECASE)
_FIELD = re.compile(r"\$\{[^}]*\}")
_MOST_BODIES = 4_096


@dataclass(frozen=True, slots=True)
class PromisedAnswer:
    """One control's promised answer, and the operations that it may answer."""

    kind: AnswerKind
    statuses: frozenset[int]
    code: str | None = None
    operations: frozenset[str] | None = None
    """None: every operation."""
    code_field: str | None = None
    """Where the code is told, as names joined by dots; None: anywhere in the body."""

    def may_answer(self, operation: str, known: Mapping[str, Operation]) -> bool:
        """Return whether the control may answer this operation; one that nobody declared may meet any control."""
        return self.operations is None or operation not in known or operation in self.operations

    def is_told(self, body: bytes) -> bool:
        """Return whether the body bears the promised code."""
        return self.code is not None and bears_code(body, self.code, self.code_field)


@dataclass(frozen=True, slots=True)
class AnswerClassifier:
    """Tells whose answer each row is, by status, code and operation, from the promises of all controls together."""

    controls: tuple[PromisedAnswer, ...]
    operations: Mapping[str, Operation] = field(default_factory=dict)

    @classmethod
    def of(cls, target: Target) -> AnswerClassifier:
        """Return the classifier that knows every control of a target."""
        return cls(tuple(_controls(target)), target.operations)

    @classmethod
    def of_circuit(cls, policy: CircuitBreakerPolicy) -> AnswerClassifier:
        """Return the classifier that knows one circuit and nothing else."""
        return cls((_circuit(policy, None),))

    def through(self, policy: CircuitBreakerPolicy) -> AnswerClassifier:
        """Return the classifier for rows that are known to go through this circuit and no other."""
        others = [one for one in self.controls if one.kind is not AnswerKind.CIRCUIT_OPEN]
        return AnswerClassifier((*others, _circuit(policy, None)), self.operations)

    def kinds(self, history: History, rows: ArrayLike) -> NDArray[np.uint8]:
        """Return the `AnswerKind` of each row; UNSURE where none or several causes fit."""
        causes = self.causes(history, rows)
        kinds = np.full(len(causes), AnswerKind.UNSURE, dtype=np.uint8)
        for kind in AnswerKind:
            kinds[causes == kind.bit] = kind
        return kinds

    def causes(self, history: History, rows: ArrayLike) -> NDArray[np.uint8]:
        """Return for each row the set of kinds that fit, as bits; 0 for what was never sent, all for no answer."""
        chosen = np.asarray(rows, dtype=np.int64)
        ending = history.numbers("ending")[chosen]
        status = history.numbers("status")[chosen].astype(np.int64)
        causes = np.where(status >= 500, AnswerKind.FAILED.bit, AnswerKind.ADMITTED.bit).astype(np.uint8)
        answered = ending == Ending.ANSWERED
        causes[~answered] = 0
        causes[ending == Ending.UNKNOWN] = ALL_CAUSES
        watched = {status for control in self.controls for status in control.statuses} | {429}
        places = np.flatnonzero(answered & ((status >= 400) & np.isin(status, list(watched)) | (status >= 500)))
        if len(places):
            self._settle(history, chosen[places], status[places], causes, places)
        return causes

    def _settle(
        self,
        history: History,
        rows: NDArray[np.int64],
        status: NDArray[np.int64],
        causes: NDArray[np.uint8],
        places: NDArray[np.int64],
    ) -> None:
        operations = history.frame["operation"].gather(rows).cast(str).to_list()
        bodies = history.frame["body"].gather(rows).to_list() if "body" in history.frame.columns else [None] * len(rows)
        known: dict[tuple[str, int, bytes | None], int] = {}
        for place, operation, code, body in zip(places.tolist(), operations, status.tolist(), bodies, strict=True):
            key = (operation, code, body)
            if key not in known:
                known[key] = self.causes_of(*key)
            causes[place] = known[key]

    def causes_of(self, operation: str, status: int, body: bytes | None) -> int:
        """Return the set of kinds that fit one answer, as bits.

        >>> limit = PromisedAnswer(AnswerKind.RATE_LIMITED, frozenset({503}), "SLOW_DOWN")
        >>> judge = AnswerClassifier((limit,))
        >>> judge.causes_of("read", 503, b'{"errors": [{"code": "SLOW_DOWN"}]}') == AnswerKind.RATE_LIMITED.bit
        True
        """
        declared = self.operations.get(operation)
        if status < 400 or (declared is not None and status in declared.accept):
            return AnswerKind.ADMITTED.bit
        fitting = [
            one for one in self.controls if status in one.statuses and one.may_answer(operation, self.operations)
        ]
        if body is not None:
            if told := _bits(one.kind for one in fitting if one.is_told(body)):
                return told
            # What promises a code that is not there did not answer, but for a limiter: 429 is nobody else's.
            fitting = [one for one in fitting if one.code is None or status == 429]
        by_itself = AnswerKind.FAILED.bit if status >= 500 else AnswerKind.ADMITTED.bit
        if status == 429 and not fitting:
            return AnswerKind.RATE_LIMITED.bit | by_itself
        certain = status in _OWN_STATUSES and all(one.code is None for one in fitting)
        return _bits(one.kind for one in fitting) | (0 if fitting and certain else by_itself)


def _bits(kinds: Iterable[AnswerKind]) -> int:
    found = 0
    for kind in kinds:
        found |= kind.bit
    return found


def _controls(target: Target) -> Iterator[PromisedAnswer]:
    policies, operations = target.policies, target.operations
    for limit in policies.rate_limit:
        covered = frozenset(name for name, one in operations.items() if _may_cover(limit, one.path))
        yield PromisedAnswer(AnswerKind.RATE_LIMITED, frozenset({limit.status}), limit.code, covered)
    for circuit in policies.circuit_breaker:
        yield _circuit(circuit, frozenset(_reaching(target, circuit)))
    for lock in policies.locks:
        of_lock = frozenset({lock.operation})
        yield PromisedAnswer(AnswerKind.CONTENDED, frozenset({lock.status}), lock.code, of_lock, lock.code_field)
    if policies.overload is not None:
        yield PromisedAnswer(AnswerKind.OVERLOADED, frozenset(policies.overload.rejects_with))


def _circuit(policy: CircuitBreakerPolicy, operations: frozenset[str] | None) -> PromisedAnswer:
    statuses = frozenset({policy.status_when_open})
    return PromisedAnswer(AnswerKind.CIRCUIT_OPEN, statuses, policy.code_when_open, operations)


def _reaching(target: Target, circuit: CircuitBreakerPolicy) -> Iterator[str]:
    """Yield the operations that may go through a circuit: of its service, of what calls it, or of nobody knows."""
    callers = {circuit.service}
    while more := {
        name for name, one in target.services.items() if callers & set(one.depends_on) and name not in callers
    }:
        callers |= more
    for name, one in target.operations.items():
        if one.service is None or one.service in callers or name in (circuit.operation, circuit.failing_operation):
            yield name


def _may_cover(limit: RateLimitPolicy, path: str) -> bool:
    """Say whether a limit may count a path: one with fields of a user in it may become many."""
    if limit.covers(path) or limit.covers(_FIELD.sub("x", path)):
        return True
    if not _FIELD.search(path) or limit.exempts(path):
        return False
    start = _FIELD.split(path)[0]
    stems = [re.split(r"[*?\[]", glob)[0] for glob in limit.applies_to]
    return any(start.startswith(stem) or stem.startswith(start) for stem in stems)


def bears_code(body: bytes, code: str, code_field: str | None = None) -> bool:
    """Return whether a body tells a code; with a field, whether it does so there.

    Anywhere: as a word of a text in its JSON, as a number under a name that fits a code, as a word of plain text.

    >>> [bears_code(one, "A_1") for one in (b'{"detail": "A_1"}', b'{"errors": [{"code": "A_1"}]}', b"A_12")]
    [True, True, False]
    >>> bears_code(b'{"error_code": 17}', "17"), bears_code(b'{"retry_after": 17}', "17")
    (True, False)
    """
    if code_field is not None:
        found = value_at(body, code_field)
        return found is not None and _says(str(found), code)
    text = body.decode("utf-8", "replace")
    if code not in text and "\\" not in text:
        return False
    document = _parsed(body)
    if document is None:
        return _says(text, code)
    if code.lstrip("-").isdigit():
        return any(_CODE_KEY.search(key) and str(value) == code for key, value in _leaves(document))
    return any(_says(key, code) or (isinstance(value, str) and _says(value, code)) for key, value in _leaves(document))


def error_code(body: bytes | None, code_field: str | None = None) -> str | None:
    """Return the stable code that an error's body tells, wherever that is; None where there is none to be read.

    >>> [error_code(one) for one in (b'{"code": "A"}', b'{"error": {"code": "B"}}', b'{"errors": [{"code": 7}]}')]
    ['A', 'B', '7']
    >>> [error_code(one) for one in (b'{"detail": "C_D"}', b'{"message": "out of luck"}', b"LOCKED", b"no luck")]
    ['C_D', None, 'LOCKED', None]
    """
    if body is None:
        return None
    if code_field is not None:
        found = value_at(body, code_field)
        return None if found is None else str(found)
    document = _parsed(body)
    if document is None:
        text = body.decode("utf-8", "replace").strip()
        return text if _CODE.fullmatch(text) else None
    leaves = list(_leaves(document))
    for keys in _CODE_KEYS:
        for key, value in leaves:
            if key.lower().replace("-", "_") in keys and (isinstance(value, int) or _CODE.fullmatch(str(value))):
                return str(value)
    return None


_CODE = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{1,63}|[A-Z]")
_CODE_KEYS: Sequence[frozenset[str]] = (
    frozenset({"code", "errorcode", "error_code", "err_code", "errcode"}),
    frozenset({"error", "detail", "reason", "type", "errors", ""}),
)


def value_at(body: bytes, place: str) -> Any:
    """Return what a JSON body holds at names joined by dots; a number picks from a list. None where nothing is.

    >>> value_at(b'{"errors": [{"code": 3}]}', "errors.0.code"), value_at(b"x", "code")
    (3, None)
    """
    value = _parsed(body)
    for name in re.sub(r"\[(\d+)\]", r".\1", place).split("."):
        if isinstance(value, Mapping):
            value = value.get(name)
        elif isinstance(value, list) and name.isdigit() and int(name) < len(value):
            value = value[int(name)]
        else:
            return None
    return value


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of a document that hold no others, each with the nearest name above it."""
    pending = deque([(key, value)])
    while pending:
        name, one = pending.popleft()
        if isinstance(one, Mapping):
            pending.extend((str(inner), below) for inner, below in one.items())
        elif isinstance(one, list):
            pending.extend((name, below) for below in one)
        elif not isinstance(one, bool | None):
            yield name, one


def _says(text: str, code: str) -> bool:
    return text == code or re.search(rf"(?<![A-Za-z0-9_]){re.escape(code)}(?![A-Za-z0-9_])", text) is not None


@lru_cache(maxsize=_MOST_BODIES)
def _parsed(body: bytes) -> Any:
    """Return the JSON document in a body that is an object or a list, else None; fractions are exact."""
    try:
        found = json.loads(body, parse_float=Decimal)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict | list) else None

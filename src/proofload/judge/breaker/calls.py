"""Calls of one service as the client saw them: rejected by the circuit, or let through and how that went."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from proofload.core.units import NS_PER_SECOND
from proofload.judge.answers import AnswerClassifier, AnswerKind
from proofload.judge.models.attempts import Flags, Ints
from proofload.plan.policies import CircuitBreakerPolicy
from proofload.record.exchange import NEVER_NS, Ending
from proofload.record.fault_edge import FaultSpan
from proofload.record.history import History

_ADMITTED, _FAILED, _OPEN = AnswerKind.ADMITTED.bit, AnswerKind.FAILED.bit, AnswerKind.CIRCUIT_OPEN.bit
_HARMLESS = _ADMITTED | AnswerKind.RATE_LIMITED.bit | AnswerKind.CONTENDED.bit | AnswerKind.OVERLOADED.bit


class CallKind(enum.IntEnum):
    """What an answer tells of the circuit."""

    REJECTED = 0
    """The circuit's own answer: the service was not called."""
    SUCCESS = 1
    FAILURE = 2
    """Let through, and the service failed: 5xx in any form but the circuit's own."""
    NEUTRAL = 3
    """The client's fault, a limiter's rejection, a contention: it never counts as a failure."""
    UNSURE = 4
    """No answer, or one that several causes explain: let through or not, it may have counted either way."""


@dataclass(frozen=True, slots=True)
class BackendHits:
    """What the service itself counted: between `at_least` and `at_most` calls were received in [from_ns, to_ns].

    Count these calls alone (by route): a health check among them would be taken for a call that was let through.
    A gateway may retry, so several hits prove one call; for more, read the count after each call.
    """

    from_ns: int
    to_ns: int
    at_least: int
    at_most: int


@dataclass(frozen=True, slots=True)
class CircuitContext:
    """Everything that the judges of one circuit share."""

    policy: CircuitBreakerPolicy
    history: History
    spans: tuple[FaultSpan, ...] = ()
    """The faults of this service: what is demanded rests on a proven one."""
    hits: tuple[BackendHits, ...] = ()
    slack_ns: int | None = None
    """How much longer or shorter than declared a circuit may stay open; None: a fiftieth, from 20 ms to 1 s."""
    linger_ns: int = 10 * NS_PER_SECOND
    """How long after a client gave up on a call its outcome may still have counted."""
    neutral_codes: tuple[str, ...] = ()
    """Error codes, in the body, of answers that are no failure of the service."""
    trial_ns: int = 0
    """How long the service surely takes for each trial; needed to tell a flood of successes from one after another."""
    answers: AnswerClassifier | None = None
    """Knows the target's other controls (`Evidence.answers`); None: this circuit is the only one known."""
    headers_kept: bool = False
    """The run kept the headers of the target's policies: one that is in no answer was in none."""

    @property
    def slack(self) -> int:
        """Return the slack in force."""
        if self.slack_ns is not None:
            return self.slack_ns
        return min(NS_PER_SECOND, max(20_000_000, self.policy.open_for // 50), self.policy.open_for // 4)

    @property
    def shortest(self) -> int:
        """Return how long an open circuit stays open at the least."""
        return self.policy.open_for - self.slack

    @property
    def longest(self) -> int:
        """Return how long an open circuit stays open at the most."""
        return self.policy.open_for + self.slack

    @property
    def proven(self) -> tuple[FaultSpan, ...]:
        """Return the faults that surely took hold."""
        return tuple(span for span in self.spans if span.held)

    def causes(self, rows: Ints) -> NDArray[np.uint8]:
        """Return the causes of each row, all of which went through this circuit."""
        known = self.answers or AnswerClassifier.of_circuit(self.policy)
        return known.through(self.policy).causes(self.history, rows)


@dataclass(frozen=True, slots=True)
class Calls:
    """Calls ascending by `sent_ns`; the circuit decided, and the outcome counted, inside [sent_ns, done_ns]."""

    row: Ints
    sent_ns: Ints
    done_ns: Ints
    kind: NDArray[np.uint8]
    status: Ints
    took_ns: Ints = field(repr=False)
    demanded: Flags = field(repr=False)
    """Surely inside a proven fault: a failure here is the service's, and must count."""
    excused: Flags = field(repr=False)
    """Perhaps inside a fault: a failure here is no surprise."""
    aside: Flags = field(repr=False)
    """Answered by another control, which may lie in front of the circuit: NEUTRAL, and perhaps never let through."""
    alike: Flags = field(repr=False)
    """An answer that the open circuit and something else give alike."""
    apparent: Flags = field(repr=False)
    """The kind follows from the order of the answers alone: enough to pass, never to accuse."""

    def __len__(self) -> int:
        """Return the number of calls."""
        return len(self.row)

    def of(self, *kinds: CallKind) -> Flags:
        """Return a mask of the calls of some kinds."""
        return np.asarray(np.isin(self.kind, [int(kind) for kind in kinds]))

    def through(self) -> Flags:
        """Return a mask of the calls that were surely let through."""
        return self.of(CallKind.SUCCESS, CallKind.FAILURE, CallKind.NEUTRAL) & ~self.aside


def calls_of(stage: CircuitContext, rows: ArrayLike) -> Calls:
    """Return the calls that `rows` made, each by its own answer alone; what never left us is no call."""
    chosen = np.asarray(rows, dtype=np.int64)
    history = stage.history
    ending = history.numbers("ending")[chosen]
    sent = history.numbers("sent_ns")[chosen].astype(np.int64)
    went = ((ending == Ending.ANSWERED) | (ending == Ending.UNKNOWN)) & (sent != NEVER_NS)
    chosen, ending, sent = chosen[went], ending[went], sent[went]
    done = np.maximum(history.numbers("done_ns")[chosen].astype(np.int64), sent)
    took = done - sent
    done = np.where(ending == Ending.UNKNOWN, done + stage.linger_ns, done)
    order = np.lexsort((chosen, done, sent))
    chosen, sent, done, took = chosen[order], sent[order], done[order], took[order]
    demanded, excused = np.zeros(len(chosen), dtype=np.bool_), np.zeros(len(chosen), dtype=np.bool_)
    for span in stage.proven:
        demanded |= (sent >= span.narrow_from_ns) & (done <= span.narrow_to_ns)
        excused |= (done >= span.wide_from_ns) & (sent <= span.wide_to_ns)
    status = history.numbers("status")[chosen].astype(np.int64)
    answered = ending[order] == Ending.ANSWERED
    kind, aside, alike = _kinds(stage, chosen, status, answered, demanded)
    return Calls(
        *(chosen, sent, done, kind, status, took, demanded, excused, aside, alike),
        apparent=np.zeros(len(chosen), dtype=np.bool_),
    )


def _kinds(
    stage: CircuitContext, rows: Ints, status: Ints, answered: Flags, demanded: Flags
) -> tuple[NDArray[np.uint8], Flags, Flags]:
    """Return the kind of each call, and which were answered by another control, and which perhaps by the circuit."""
    causes = stage.causes(rows)
    kind = np.full(len(rows), CallKind.UNSURE, dtype=np.uint8)
    kind[causes == _OPEN] = CallKind.REJECTED
    # A service that is proven to be down fails; that the gateway was overloaded just then needs no consideration.
    failed = (causes == _FAILED) | (demanded & (causes == _FAILED | AnswerKind.OVERLOADED.bit))
    kind[failed] = CallKind.FAILURE
    harmless = answered & ((causes | _HARMLESS) == _HARMLESS)
    kind[harmless] = CallKind.NEUTRAL
    own = harmless & (causes == _ADMITTED)
    kind[own & (status < 400)] = CallKind.SUCCESS
    kind[own & (status >= 500)] = CallKind.FAILURE
    coded = answered & (status >= 500) & (causes != _OPEN) & _coded(stage.history, rows, stage.neutral_codes)
    kind[coded] = CallKind.NEUTRAL
    alike = answered & ~coded & ((causes & _OPEN) != 0) & (causes != _OPEN)
    return kind, (harmless & ~own) | coded, alike


def _coded(history: History, rows: Ints, codes: Sequence[str]) -> Flags:
    """Return which rows carry one of the codes in the body that was kept."""
    if "body" not in history.frame.columns or not codes:
        return np.zeros(len(rows), dtype=np.bool_)
    bodies = history.frame["body"].gather(rows)
    found = pl.Series([False] * len(rows))
    for code in codes:
        found = found | bodies.bin.contains(code.encode()).fill_null(value=False)
    return found.to_numpy()

"""What an answer says about the operation that was asked for: done, refused, contended, or nobody knows."""

from __future__ import annotations

import enum
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

from proofload.judge.answers import AnswerClassifier, AnswerKind, bears_code, error_code
from proofload.plan.policies import LockPolicy
from proofload.record.exchange import Ending, Exchange
from proofload.record.history import History


@dataclass(frozen=True, slots=True)
class Movement:
    """One operation on one user's money, and the exchange that asked for it."""

    row: int
    user: Hashable
    kind: str
    """`deposit`; `withdraw` and `order` take money; `balance` reads it."""
    amount: int = 0
    """In the smallest unit of the currency, never negative."""
    told: int | None = None
    """The balance that the answer told, where it did."""

    @property
    def gain(self) -> int:
        """Return what the operation adds to the balance if it is done."""
        return self.amount if self.kind == "deposit" else -self.amount if self.kind != "balance" else 0


@dataclass(frozen=True, slots=True)
class AccountBalance:
    """What a user had before the first movement and after the last."""

    user: Hashable
    first: int
    final: int
    final_row: int | None = None
    """The exchange that read the final balance."""


class Effect(enum.Enum):
    """What a movement did, as its answer tells."""

    DONE = "done"
    REFUSED = "refused"
    """With a 4xx: it had no effect, but it may have held the lock while that was found out."""
    CONTENDED = "contended"
    """With the declared contention answer: it neither held the lock nor had an effect."""
    FAILED = "failed"
    """With another 5xx: it held the lock perhaps, and had an effect perhaps."""
    UNKNOWN = "unknown"
    """It was never answered, or with 202: it will be done, or not."""
    NONE = "none"
    """It was never sent, or turned away before it got anywhere (401, 404, 429)."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A movement with its exchange and its effect."""

    movement: Movement
    exchange: Exchange
    effect: Effect
    code: str | None
    """The error code in the body; None where there is none, or no body was kept."""
    causes: int = 0
    """Which controls, or a failure, the answer may come from: `AnswerKind` bits; 0 where only the lock is known."""

    @property
    def could_hold(self) -> bool:
        """Say whether it may have held the lock."""
        return self.movement.kind != "balance" and self.effect not in (Effect.CONTENDED, Effect.NONE)

    @property
    def is_certain(self) -> bool:
        """Say whether nothing but its effect explains the answer."""
        return self.causes & ~AnswerKind.CONTENDED.bit == 0

    @property
    def by_another(self) -> bool:
        """Say whether another control answered for certain."""
        return self.causes in _OTHERS


_ACCEPTED = 202
_OTHERS = frozenset(one.bit for one in (AnswerKind.RATE_LIMITED, AnswerKind.CIRCUIT_OPEN, AnswerKind.OVERLOADED))
_TURNED_AWAY = frozenset({401, 403, 404, 405, 413, 429})


def attempts(
    policy: LockPolicy, history: History, movements: Iterable[Movement], answers: AnswerClassifier | None = None
) -> list[Attempt]:
    """Return the movements with what became of them, in the order in which they were sent.

    With `answers` (see `Evidence.answers`) those of other controls are told from contention.
    """
    wanted = list(movements)
    found = []
    for movement, exchange in zip(wanted, history.exchanges(one.row for one in wanted), strict=True):
        code = error_code(exchange.body, policy.code_field)
        causes = causes_of(policy, exchange, answers)
        found.append(Attempt(movement, exchange, effect_of(policy, exchange, causes), code, causes))
    return sorted(found, key=lambda one: (one.exchange.sent_ns, one.exchange.row))


def effect_of(policy: LockPolicy, exchange: Exchange, causes: int = 0) -> Effect:
    """Return what an answer says; one that bears the contention code is contention, whatever its status.

    `causes` are the kinds of answers that fit, where the target's other controls are known.
    """
    if exchange.ending is Ending.UNKNOWN:
        return Effect.UNKNOWN
    if exchange.ending is not Ending.ANSWERED:
        return Effect.NONE
    if causes in _OTHERS:
        # What a limiter turned away reached nothing; a circuit may lie behind the operation's own first steps.
        return Effect.NONE if causes == AnswerKind.RATE_LIMITED.bit else Effect.FAILED
    if is_contention(policy, exchange):
        return Effect.CONTENDED
    if exchange.status == _ACCEPTED:
        return Effect.UNKNOWN
    if exchange.status < 400:
        return Effect.DONE
    if exchange.status in _TURNED_AWAY:
        return Effect.NONE
    return Effect.REFUSED if exchange.status < 500 else Effect.FAILED


def is_contention(policy: LockPolicy, exchange: Exchange) -> bool:
    """Say whether an answer is the lock's refusal, by its code, or by its status where no code is there to be read."""
    body = exchange.body
    if policy.code is not None and body is not None:
        return bears_code(body, policy.code, policy.code_field)
    return exchange.status == policy.status


def causes_of(policy: LockPolicy, exchange: Exchange, answers: AnswerClassifier | None) -> int:
    """Return what may have given the answer; 0 where other controls are unknown, or the lock's code is told."""
    if answers is None or exchange.ending is not Ending.ANSWERED or exchange.status < 400:
        return 0
    causes = answers.causes_of(exchange.operation, exchange.status, exchange.body)
    if causes in _OTHERS or exchange.status == policy.status:
        return causes
    return 0


def by_user(found: Sequence[Attempt]) -> dict[Hashable, list[Attempt]]:
    """Return the attempts of each user, in the order in which they were sent."""
    users: dict[Hashable, list[Attempt]] = {}
    for one in found:
        users.setdefault(one.movement.user, []).append(one)
    return users


def told(one: Attempt, zero_ns: int) -> str:
    """Return an attempt as one line, with its times in milliseconds from `zero_ns`."""
    exchange = one.exchange
    sent, done = (exchange.sent_ns - zero_ns) / 1e6, (exchange.done_ns - zero_ns) / 1e6
    answer = f"{exchange.status}" + (f" {one.code}" if one.code else "") if exchange.status else "no answer"
    amount = f" {one.movement.amount}" if one.movement.amount else ""
    return (
        f"row {exchange.row}, user {one.movement.user}: {one.movement.kind}{amount} "
        f"from {sent:.3f} to {done:.3f} ms → {answer}"
    )

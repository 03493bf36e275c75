"""Orders and the money for them, after something died in between: both stand, or neither does."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from proofload.core.units import format_duration
from proofload.judge.rate_limit.counterexample import steps
from proofload.judge.verdict import Finding, Outcome, held
from proofload.plan.policies import OrdersPolicy
from proofload.record.exchange import Ending, Exchange
from proofload.record.fault_edge import FaultSpan
from proofload.record.history import History

PARTIAL, LOST, UNSETTLED, CUT = "res.partial_order", "res.order_lost", "res.unsettled", "res.cut_off"
DATA = "res.data_lost"

_LEAST_CUT = 2
_LEAST_DEPOSITS = 20
_LOOK = "what ties the order to its payment: an outbox, a saga, a pending order that is settled after a crash"


@dataclass(frozen=True, slots=True)
class Books:
    """What one user did, by the rows of the history, and what the target said of it in the end."""

    user: str
    deposits: Sequence[int]
    orders: Sequence[int]
    book: int | None
    """The last row that lists the user's orders."""
    balance: int | None
    """The last row that reads the balance."""


def judge_books(
    policy: OrdersPolicy, history: History, span: FaultSpan | None, users: Sequence[Books]
) -> list[Finding]:
    """Return whether money and orders agree for every user, once what was under way at the kill is settled."""
    if span is None or not span.held:
        says = "no probe saw that the service was gone, so nothing was cut off in between"
        return [Finding("fault.proven", Outcome.INCONCLUSIVE, says)]
    cut = [row for one in users for row in one.orders if _is_cut(history.exchanges([row])[0], span)]
    says = f"{len(cut)} orders were under way when {span.service} died"
    findings = [held(CUT, says, examined=len(cut), needed=_LEAST_CUT)]
    found = [told for one in users if (told := _UserSums.of(policy, history, one)) is not None]
    pending = [one for one in found if one.pending]
    if pending:
        says = f"{len(pending)} of {len(found)} users have orders that are pending still, "
        says += f"{format_duration(policy.settles_within)} after {span.service} is back"
        row = pending[0].books.book
        shown = steps(history, [row] if row is not None else [], ("orders are pending still",))
        findings.append(Finding(UNSETTLED, Outcome.FAIL, says, len(found), 1, (), shown, _LOOK))
    settled = [one for one in found if not one.pending]
    findings += [_partial(history, settled, cut), _lost(history, settled)]
    return findings


@dataclass(frozen=True, slots=True)
class _UserSums:
    """The sums of one user."""

    books: Books
    deposited: int
    paid: int
    paid_orders: int
    pending: int
    balance: int
    acknowledged: int

    @classmethod
    def of(cls, policy: OrdersPolicy, history: History, books: Books) -> _UserSums | None:
        """Return them, or None where something was not answered that they rest on."""
        deposits = history.exchanges(books.deposits)
        if books.book is None or books.balance is None or not all(_is_good(one) for one in deposits):
            return None
        book, balance = (_json(history.exchanges([row])[0]) for row in (books.book, books.balance))
        orders, money = _at(book, policy.book_field), _at(balance, policy.balance_field)
        if not isinstance(orders, list) or not isinstance(money, int):
            return None
        paid = list(_amounts(policy, orders, policy.paid))
        pending = sum(1 for _ in _amounts(policy, orders, policy.pending))
        acknowledged = sum(_is_good(one) for one in history.exchanges(books.orders))
        return cls(books, len(deposits) * policy.deposited, sum(paid), len(paid), pending, money, acknowledged)

    @property
    def off(self) -> int:
        """What the balance has too much; negative where money is gone for which there is no order."""
        return self.balance - (self.deposited - self.paid)


def _partial(history: History, settled: Sequence[_UserSums], cut: Sequence[int]) -> Finding:
    wrong = [one for one in settled if one.off]
    if not wrong:
        says = f"money and orders of {len(settled)} users agree to the last unit"
        return held(PARTIAL, says, examined=len(settled))
    one = wrong[0]
    what = "was taken without an order" if one.off < 0 else "was not taken for an order that stands"
    says = (
        f"{abs(one.off)} {what}, of {one.books.user}: {one.deposited} deposited, {one.paid_orders} orders paid with "
        f"{one.paid}, and the balance is {one.balance} ({len(wrong)} of {len(settled)} users)"
    )
    rows = [row for row in one.books.orders if row in cut] or list(one.books.orders[-1:])
    shown = steps(history, rows, ("cut off when the service died",))
    figures = {"off": one.off, "users": len(wrong)}
    return Finding(PARTIAL, Outcome.FAIL, says, len(settled), 1, tuple(rows), shown, _LOOK, figures)


def _lost(history: History, settled: Sequence[_UserSums]) -> Finding:
    wrong = [one for one in settled if one.acknowledged > one.paid_orders]
    examined = sum(one.acknowledged for one in settled)
    if not wrong:
        return held(LOST, f"all of {examined} acknowledged orders are in the books", examined=examined)
    one = wrong[0]
    says = f"{one.acknowledged} orders of {one.books.user} were acknowledged and {one.paid_orders} are in the books"
    rows = tuple(one.books.orders[:1])
    shown = steps(history, rows, ("acknowledged",))
    return Finding(LOST, Outcome.FAIL, says, examined, 1, rows, shown, "what is written before the answer leaves")


def judge_balances(policy: OrdersPolicy, history: History, users: Sequence[Books]) -> Finding:
    """Return whether each user's balance holds every acknowledged deposit, those without an answer either way."""
    examined = 0
    for one in users:
        deposits = history.exchanges(one.deposits)
        read = history.exchanges([one.balance])[0] if one.balance is not None else None
        balance = _at(_json(read), policy.balance_field) if read is not None else None
        if not isinstance(balance, int):
            continue
        done = sum(_is_good(each) for each in deposits)
        maybe = sum(each.ending is Ending.UNKNOWN or each.status >= 500 for each in deposits)
        examined += done
        if not done * policy.deposited <= balance <= (done + maybe) * policy.deposited:
            says = (
                f"{done} deposits of {policy.deposited} were acknowledged to {one.user}, and the balance is {balance}"
            )
            rows = tuple(one.deposits[-1:])
            shown = steps(history, rows, (f"acknowledged; the balance read afterwards is {balance}",))
            look = "what is written before the answer leaves, and what pressure makes of it"
            return Finding(DATA, Outcome.FAIL, says, examined, _LEAST_DEPOSITS, rows, shown, look)
    says = f"all of {examined} acknowledged deposits are in the balances"
    return held(DATA, says, examined=examined, needed=_LEAST_DEPOSITS)


def _is_good(one: Exchange) -> bool:
    return one.ending is Ending.ANSWERED and 200 <= one.status < 300


def _is_cut(one: Exchange, span: FaultSpan) -> bool:
    """Return whether an order was under way when the service went, and did not come back good."""
    return one.ending is not Ending.NOT_SENT and not _is_good(one) and _spans(one, span)


def _spans(one: Exchange, span: FaultSpan) -> bool:
    return one.sent_ns < span.narrow_from_ns and one.done_ns >= span.wide_from_ns


def _amounts(policy: OrdersPolicy, orders: Sequence[Any], statuses: Sequence[str]) -> Iterator[int]:
    for one in orders:
        if isinstance(one, Mapping) and one.get(policy.status_field) in statuses:
            amount = one.get(policy.amount_field)
            yield amount if isinstance(amount, int) else policy.price


def _json(one: Exchange) -> Any:
    try:
        return json.loads(one.body or b"null") if _is_good(one) else None
    except ValueError:
        return None


def _at(value: Any, field: str) -> Any:
    for name in field.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value

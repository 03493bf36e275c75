"""How a rate-limit counterexample is told: a line for each step, with times from the first row shown."""

from __future__ import annotations

from collections.abc import Sequence

from proofload.core.units import format_duration
from proofload.plan.policies import RateLimitPolicy
from proofload.record.exchange import Ending, Exchange
from proofload.record.history import History

LIMITER = "the limiter's count and comparison"
_SHOWN_IN_FULL = 6


def promise(policy: RateLimitPolicy) -> str:
    """Return the promise as one would say it."""
    per = {"client_ip": "client address", "user": "user", "global": "target"}[policy.scope]
    at_once = f" ({policy.allowance} at once)" if policy.allowance != policy.limit else ""
    return f"{policy.limit} requests in {format_duration(policy.window)}{at_once} for each {per}"


def line(exchange: Exchange, zero_ns: int, note: str = "") -> str:
    """Return one exchange as a line: row, when sent, what came back and when."""
    sent = format_duration(max(0, exchange.sent_ns - zero_ns))
    if exchange.ending is Ending.ANSWERED:
        done = format_duration(max(0, exchange.done_ns - zero_ns))
        told = f"row {exchange.row}: sent at +{sent}, answered {exchange.status} at +{done}"
    else:
        told = f"row {exchange.row}: sent at +{sent}, {exchange.ending.name.lower()} ({exchange.fault.name.lower()})"
    return f"{told}: {note}" if note else told


def steps(history: History, rows: Sequence[int], notes: Sequence[str] = ()) -> tuple[str, ...]:
    """Return lines for `rows`, the middle of a long list told as a count; notes go with the last lines."""
    zero_ns = min((exchange.sent_ns for exchange in history.exchanges(rows)), default=0)
    if len(rows) <= _SHOWN_IN_FULL:
        lines = [line(exchange, zero_ns) for exchange in history.exchanges(rows)]
    else:
        head, tail = rows[:2], rows[-2:]
        lines = [line(exchange, zero_ns) for exchange in history.exchanges(head)]
        lines.append(f"... {len(rows) - len(head) - len(tail)} more like these ...")
        lines += [line(exchange, zero_ns) for exchange in history.exchanges(tail)]
    if notes:
        lines[-1] = f"{lines[-1]}: {notes[0]}"
    return (*lines, *notes[1:])


def ordinal(number: int) -> str:
    """Return 1st, 2nd, 3rd, 101st.

    >>> [ordinal(n) for n in (1, 2, 3, 4, 11, 101, 112)]
    ['1st', '2nd', '3rd', '4th', '11th', '101st', '112th']
    """
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"

"""Balances as answers tell them: numbers or texts, with digits after the point, exact to the smallest unit."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Any

from proofload.judge.answers import value_at
from proofload.plan.policies import LockPolicy

_SHOWN = 40
_MOST_DIGITS = 30


def balance_in(policy: LockPolicy, body: bytes | None) -> int | None:
    """Return the balance that an answer tells, in the smallest unit; None where it can't be read as one.

    >>> cents = LockPolicy(name="deposit", operation="deposit", balance_decimals=2)
    >>> [balance_in(cents, one) for one in (b'{"balance": "997.00"}', b'{"balance": 9.1}', b'{"balance": 9.123}')]
    [99700, 910, None]
    """
    if body is None:
        return None
    found = _exact(value_at(body, policy.balance_field))
    if found is None:
        return None
    units = found.scaleb(policy.balance_decimals)
    return int(units) if units == units.to_integral_value() else None


def why_no_balance(policy: LockPolicy, body: bytes | None) -> str:
    """Return why `balance_in` reads nothing, and what to declare; nothing where it reads a balance.

    >>> why_no_balance(LockPolicy(name="deposit", operation="deposit"), b'{"balance": "997.50"}')
    'balance is "997.50", no whole number of the smallest unit: declare balance_decimals, such as 2'
    """
    field = policy.balance_field
    if body is None:
        return "no answer of the balance was kept"
    value = value_at(body, field)
    if value is None:
        return f"the answer holds nothing at {field}: declare balance_field"
    told = f'{field} is "{str(value)[:_SHOWN]}"'
    if _exact(value) is None:
        return f"{told}, which is no amount: declare balance_field"
    if balance_in(policy, body) is None:
        digits = max(1, -int(_exact(value).as_tuple().exponent))  # type: ignore[union-attr]
        return f"{told}, no whole number of the smallest unit: declare balance_decimals, such as {digits}"
    return ""


def _exact(value: Any) -> Decimal | None:
    """Return a number, or a text that is one, as it stands."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
        return None
    try:
        found = Decimal(value.strip() if isinstance(value, str) else value)
    except InvalidOperation:
        return None
    fine = found.is_finite() and abs(found.adjusted()) <= _MOST_DIGITS and len(found.as_tuple().digits) <= _MOST_DIGITS
    return found if fine else None

"""Whole numbers as JSON Schema knows them: 7 and 7.0, but neither 7.5 nor "7" nor true."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, StrictInt


def whole(value: object) -> object:
    """Return a float without a fraction as the integer that it is; anything else as it came.

    >>> whole(7.0), whole(7.5), whole("7"), whole(float("inf"))
    (7, 7.5, '7', inf)
    """
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole = Annotated[StrictInt, BeforeValidator(whole)]

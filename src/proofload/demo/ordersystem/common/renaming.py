"""Other names for what the system tells: error codes and metric labels, so that a tester who knows ours is found out.

`SPOKEN_CODES` and `SPOKEN_LABELS` are lists such as `RATE_LIMITED=too_fast,CIRCUIT_OPEN=resting`; inside the system the
names stay as they are.
"""

from __future__ import annotations

import os
from collections.abc import Iterable


def _pairs(variable: str) -> dict[str, str]:
    pairs = (one.partition("=") for one in os.environ.get(variable, "").split(",") if one)
    return {ours: theirs for ours, _, theirs in pairs}


_CODES, _LABELS = _pairs("SPOKEN_CODES"), _pairs("SPOKEN_LABELS")


def code(ours: str) -> str:
    """Return the error code as clients are told it."""
    return _CODES.get(ours, ours)


def labels(ours: Iterable[str]) -> tuple[str, ...]:
    """Return the names of a metric's labels as its page shows them."""
    return tuple(_LABELS.get(one, one) for one in ours)

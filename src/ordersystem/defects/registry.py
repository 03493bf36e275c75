"""The catalogue of defects by id, and the door through which they are put in place."""

from __future__ import annotations

from collections.abc import Sequence

from ordersystem.compose import HONEST, Parts
from ordersystem.defects import rate_limit
from ordersystem.defects.defect import Defect

ALL: dict[str, Defect] = {defect.id: defect for defect in (*rate_limit.DEFECTS,)}


class UnknownDefectError(Exception):
    """There is no defect of that id."""


def parts_with(ids: Sequence[str], parts: Parts = HONEST) -> Parts:
    """Return the parts with these defects in place."""
    for name in ids:
        if name not in ALL:
            raise UnknownDefectError(
                f"--defect: got {name!r}, expected an id that `python -m ordersystem defects` lists"
            )
        parts = ALL[name].install(parts)
    return parts

"""A picture with what it shows in words."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Picture:
    """One drawing, its heading, and a sentence or two on how to read it. `table` tells the same in numbers."""

    title: str
    svg: str
    """Markup, safe by its making."""
    caption: str
    head: tuple[str, ...] = ()
    table: tuple[tuple[str, ...], ...] = ()

"""What a person asked for, as it was written. Kept apart from the catalogue: asking must not load the engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CaseFilter:
    """What was asked for, as it was written. Words name cases; the filters narrow; `skip` takes away."""

    words: Sequence[str] = ()
    """Ids in any case, or prefixes that end at a dash: `tc-rl` means all of TC-RL."""
    categories: Sequence[str] = ()
    priorities: Sequence[str] = ()
    phases: Sequence[int] = ()
    skip: Sequence[str] = ()
    everything: bool = False
    """The whole catalogue, where no words are given; otherwise only its core, unless a filter is given."""

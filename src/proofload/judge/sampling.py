"""What a sample can show: how rare a wrong answer may be and still be seen."""

from __future__ import annotations

import math
from dataclasses import replace

from proofload.judge.verdict import Finding

_CONFIDENCE = 0.95
SHARE = "would_see_share"
"""The figure of a finding that tells it."""


def share_seen(examined: int) -> float:
    """Return the smallest share of wrong answers of which at least one shows among so many, 19 times of 20.

    With a share p, none of n shows with probability (1 - p)^n.

    >>> round(share_seen(300), 4), share_seen(0)
    (0.0099, 1.0)
    """
    return 1.0 if examined <= 0 else -math.expm1(math.log(1 - _CONFIDENCE) / examined)


def needed_to_see(share: float) -> int:
    """Return how many must be examined so that a share of wrong answers shows, 19 times of 20.

    >>> needed_to_see(0.001), needed_to_see(1.0)
    (2995, 1)
    """
    return 1 if share >= 1 else math.ceil(math.log(1 - _CONFIDENCE) / math.log1p(-share))


def with_share(finding: Finding, sampled: int) -> Finding:
    """Return a finding that tells which share of wrong answers `sampled` answers would have shown."""
    return replace(finding, figures={**finding.figures, SHARE: share_seen(sampled)})

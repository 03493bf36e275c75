"""Runs judges: one that crashes makes ERROR for its own case and takes no other down. One of the two outer doors."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence

from proofload.judge.evidence import Evidence
from proofload.judge.verdict import Finding, Outcome, Verdict

Judge = Callable[[Evidence], Sequence[Finding]]

_TOLD_FRAMES = 3


def verdict(case_id: str, judge: Judge, evidence: Evidence) -> Verdict:
    """Return the verdict for a case; ERROR, with the place, where its judge crashed."""
    try:
        return Verdict.of(case_id, judge(evidence))
    except Exception as error:  # noqa: BLE001 -- the panel is an outer door: a judge may break, the others go on
        frames = traceback.extract_tb(error.__traceback__)[-_TOLD_FRAMES:]
        places = " < ".join(f"{frame.name} (line {frame.lineno})" for frame in reversed(frames))
        reason = f"the judge itself broke: {type(error).__name__}: {error}; in {places}; this is a defect of proofload"
        return Verdict(case_id, Outcome.ERROR, (), reason)

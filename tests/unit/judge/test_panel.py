"""A judge that crashes is an error of its own case; nothing examined is never a pass."""

from __future__ import annotations

from typing import Any

import pytest

from proofload.judge.panel import verdict
from proofload.judge.verdict import Finding, Outcome, Verdict, held, worst

NO_EVIDENCE: Any = None


def test_a_crash_is_an_error_that_says_where() -> None:
    def crash(_: object) -> list[Finding]:
        raise ZeroDivisionError("oh")

    told = verdict("TC-X-001", crash, NO_EVIDENCE)
    assert told.outcome is Outcome.ERROR
    assert "ZeroDivisionError: oh" in told.reason
    assert "in crash (line" in told.reason


def test_the_worst_finding_wins_and_silence_is_inconclusive() -> None:
    fine, short = held("a", "x", examined=1), held("a", "x", examined=0)
    broken = Finding("a", Outcome.FAIL, "x")
    assert verdict("T", lambda _: [fine], NO_EVIDENCE).outcome is Outcome.PASS
    assert verdict("T", lambda _: [fine, short], NO_EVIDENCE).outcome is Outcome.INCONCLUSIVE
    assert verdict("T", lambda _: [short, broken], NO_EVIDENCE).outcome is Outcome.FAIL
    assert verdict("T", lambda _: [], NO_EVIDENCE).outcome is Outcome.INCONCLUSIVE


def test_an_interrupt_is_not_swallowed() -> None:
    def interrupted(_: object) -> list[Finding]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        verdict("T", interrupted, NO_EVIDENCE)


def test_nothing_but_skips_is_inconclusive() -> None:
    assert worst([Outcome.SKIPPED]) is Outcome.INCONCLUSIVE
    assert Verdict.of("T", []).outcome is Outcome.INCONCLUSIVE

"""The copy of a log that Loki holds: found by other ids and in envelopes as well, lost only where it certainly is."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from proofload.judge.audit import ExpectedEvent
from proofload.judge.audit.aggregated import judge_aggregated
from proofload.judge.verdict import Finding, Outcome
from proofload.plan.policies import AuditPolicy
from proofload.record.ledger import AuditEntry

COUNT = 12
POLICY = AuditPolicy(events={"login_failed": "login_failed"})
EXPECTED = [ExpectedEvent(n, "login_failed", f"run-{n}", n, n + 1, f"user{n}") for n in range(COUNT)]


def entries(change: Callable[[int], Mapping[str, Any]], wrap: Callable[[str], str] = str) -> list[AuditEntry]:
    found = []
    for n in range(COUNT):
        fields = {"event": "login_failed", "user": f"user{n}", "request_id": f"run-{n}", **change(n)}
        text = wrap(json.dumps(fields))
        found.append(AuditEntry("loki {}", n + 1, text, json.loads(text), 50))
    return found


def judge(there: list[AuditEntry], file: list[AuditEntry]) -> dict[str, Outcome]:
    found: list[Finding] = judge_aggregated(POLICY, there, file, EXPECTED)
    return {one.rule: one.outcome for one in found}


CHANGES: dict[str, Callable[[int], Mapping[str, Any]]] = {
    "ours": lambda n: {},
    "theirs": lambda n: {"request_id": f"gw-{n}"},
}


@pytest.mark.parametrize("whose", CHANGES)
@pytest.mark.parametrize("wrap", [str, lambda text: json.dumps({"log": text + "\n", "stream": "stdout"})])
def test_a_whole_copy_passes_and_a_lost_line_fails(whose: str, wrap: Callable[[str], str]) -> None:
    there, file = entries(CHANGES[whose], wrap), entries(CHANGES[whose])
    assert set(judge(there, file).values()) == {Outcome.PASS}
    assert judge(there[1:], file) == {"audit.loki_missing": Outcome.FAIL, "audit.loki_differs": Outcome.FAIL}


def test_one_line_under_another_id_or_lines_that_are_none_are_not_lost() -> None:
    one = entries(lambda n: {"request_id": "gw-3"} if n == 3 else {})
    assert judge(one, [])["audit.loki_missing"] is Outcome.INCONCLUSIVE
    text = [AuditEntry("loki {}", n, f"event=login_failed id=run-{n}", None, 50) for n in range(COUNT)]
    assert judge(text, []) == {"audit.loki_missing": Outcome.INCONCLUSIVE}

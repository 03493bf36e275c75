"""TC-LOCK-001 beside TC-LATENCY-001: waiting for each other, or running out of something."""

from __future__ import annotations

import pytest

from proofload.core.clock import Anchor
from proofload.judge.evidence import Evidence
from proofload.plan.reader import parse_target
from proofload.record.exchange import Ending, Exchange, Fault
from proofload.record.history import History
from proofload.suite.diagnosis import diagnoses

MS = 1_000_000
TARGET = """\
version: 1
name: bank
address: http://127.0.0.1:1
operations:
  deposit: {method: POST, path: /deposit, auth: bearer, effect: lasting}
  balance: {path: /balance, auth: bearer}
  login: {method: POST, path: /login}
users: {register: login, login: login}
policies:
  locks:
    - {name: deposits, operation: deposit, kind: deposit, amount: 10, balance: balance}
"""


def evidence(case: str, step: str, took_ms: int, count: int) -> Evidence:
    rows = [
        Exchange(
            i, f"{case}/{step}", "deposit", i, "", 0, i * MS, i * MS, i * MS, i * MS + took_ms * MS + i,
            Ending.ANSWERED, Fault.NONE, 200, 1, 1, f"r{i}",
        )
        for i in range(count)
    ]  # fmt: skip
    return Evidence(case, parse_target(TARGET, "t", {}), History.of(rows), Anchor(0, 0, 1), ())


@pytest.mark.parametrize(
    ("one_ms", "many_ms", "told"),
    [(900, 10, "logical serialization"), (900, 800, "no bottleneck"), (12, 10, "no bottleneck")],
)
def test_the_two_together_name_the_bottleneck(one_ms: int, many_ms: int, told: str) -> None:
    found = diagnoses(
        {
            "TC-LOCK-001": evidence("TC-LOCK-001", "deposit burst 1", one_ms, 400),
            "TC-LATENCY-001": evidence("TC-LATENCY-001", "deposit", many_ms, 400),
        }
    )
    assert len(found) == 1
    assert found[0].startswith("deposit: ")
    assert told in found[0]


def test_one_of_them_alone_says_nothing_and_too_little_of_both_says_so() -> None:
    lock = evidence("TC-LOCK-001", "deposit burst 1", 900, 400)
    assert diagnoses({"TC-LOCK-001": lock}) == ()
    few = evidence("TC-LATENCY-001", "deposit", 10, 3)
    (told,) = diagnoses({"TC-LOCK-001": lock, "TC-LATENCY-001": few})
    assert told.startswith("deposit: too few samples")

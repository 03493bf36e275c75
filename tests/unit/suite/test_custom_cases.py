"""The example's judge says all three things; entry points are found."""

from importlib import metadata
from pathlib import Path
from types import ModuleType

import pytest

from proofload.api import Evidence, Outcome
from proofload.cases.case import PlannedCase
from proofload.core.clock import Anchor
from proofload.judge.verdict import Verdict
from proofload.plan.reader import parse_target
from proofload.record.exchange import Ending, Exchange, Fault
from proofload.record.history import History
from proofload.suite import custom_cases as own
from proofload.suite.catalogue import _CASES, CATALOGUE

EXAMPLE = Path(__file__).parents[3] / "examples" / "own_case.py"
TARGET = parse_target("version: 1\naddress: http://127.0.0.1:1\noperations: {balance: {path: /}}\n", "t", {})


@pytest.fixture(autouse=True)
def restore() -> object:
    before = dict(_CASES)
    yield
    _CASES.clear()
    _CASES.update(before)


def evidence(*bodies: bytes) -> Evidence:
    rows = [
        Exchange(
            i, "SHOP-001/reads", "balance", i, "127.0.0.2", i, i, i, i + 1, i + 1, Ending.ANSWERED, Fault.NONE, 200, 0,
            0, f"r{i}", {}, body,
        )
        for i, body in enumerate(bodies)
    ]  # fmt: skip
    return Evidence("SHOP-001", TARGET, History.of(rows), Anchor(0, 0, 0), ())


@pytest.mark.parametrize(
    ("bodies", "outcome"),
    [
        ([b"1"] * 40, Outcome.PASS),
        ([b"1"] * 39 + [b"2"], Outcome.FAIL),
        ([b"1"] * 5, Outcome.INCONCLUSIVE),
        ([], Outcome.INCONCLUSIVE),
    ],
)
def test_the_example_says_all_three_things(bodies: list[bytes], outcome: Outcome) -> None:
    assert own.join([EXAMPLE]) == ["SHOP-001"]
    case = CATALOGUE["SHOP-001"]
    assert Verdict.of(case.id, case.findings(evidence(*bodies))).outcome is outcome
    assert PlannedCase.of(case, TARGET).missing == ""


def test_entry_points_join(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("shop.load")
    vars(module).update(vars(own._run(EXAMPLE)))

    class Point:
        value = "shop.load"

        def load(self) -> ModuleType:
            return module

    monkeypatch.setattr(metadata, "entry_points", lambda group: [Point()] if group == "proofload.cases" else [])
    assert own.join([]) == []
    assert "SHOP-001" in CATALOGUE

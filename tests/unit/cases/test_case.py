"""A case is declared once: what it needs, its texts and its place beside others all come from the declaration."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.cases.tape import nothing, preset

from proofload.cases.case import Case, Category, PlannedCase, case, text_of
from proofload.cases.context import CaseContext
from proofload.cases.requirement import NOTHING, Missing, Requirement, declared
from proofload.core.errors import PlanError
from proofload.judge.evidence import Evidence
from proofload.judge.verdict import Finding, Outcome, held
from proofload.plan.target import Target
from proofload.suite.catalogue import CATALOGUE

PAIR = declared("operations.deposit") & declared("operations.orders")


@case(
    "SHOP-001",
    "Deposits beside orders",
    requires=PAIR,
    uses=lambda _: ["orders"],
    breaks=lambda _: ["order"],
    takes="3s",
)
async def beside(run: CaseContext, found: tuple[Target, Target]) -> None:
    """Both are served.

    Sends: one of each,
        side by side
    Passes when: both succeed
    Reading FAIL: the row that failed
    Least evidence: two answers
    """


def test_the_docstring_is_the_text_of_the_case() -> None:
    assert beside.text.purpose == "Both are served."
    assert beside.text.sends == "one of each, side by side"
    assert beside.text.passes_when == "both succeed"
    assert text_of("Alone: it holds.").purpose == "Alone: it holds."


def test_it_is_planned_by_what_is_found() -> None:
    planned = PlannedCase.of(beside, preset())
    assert planned.takes_ns == 3_000_000_000
    # Users sign up and log in at a service that nobody may break meanwhile.
    assert planned.uses == {"service:order", "service:auth"}
    assert planned.disturbs == {"service:order"}
    bare = preset().model_copy(update={"operations": {}})
    assert "operations.deposit" in PlannedCase.of(beside, bare).missing


def test_a_case_without_a_judge_says_how_to_give_it_one() -> None:
    evidence = nothing("SHOP-001", preset())
    with pytest.raises(PlanError, match=r"@beside.judge"):
        beside.findings(evidence)

    judged: Case[Any] = case("SHOP-002", "Judged", requires=NOTHING)(beside.drive)

    @judged.judge
    def judge(evidence: Evidence, target: Target) -> list[Finding]:
        return [held("shop.fine", "fine", examined=1)]

    assert [one.outcome for one in judged.findings(evidence)] == [Outcome.PASS]


def test_evidence_of_a_target_that_lacks_what_is_needed_decides_nothing() -> None:
    lacking: Case[Any] = case("SHOP-003", "Lacking", requires=declared("policies.audit"))(beside.drive)
    lacking.judge(lambda evidence, found: [])
    bare = preset().model_copy(update={"policies": preset().policies.model_copy(update={"audit": None})})
    (told,) = lacking.findings(nothing("SHOP-003", bare))
    assert told.outcome is Outcome.INCONCLUSIVE
    assert "policies.audit" in told.says


@pytest.mark.parametrize(("case_id", "takes"), [("shop", "1s"), ("SHOP-9", "1 fortnight")])
def test_what_does_not_fit_is_refused(case_id: str, takes: str) -> None:
    with pytest.raises(PlanError):
        case(case_id, "x", requires=NOTHING, takes=takes)


def test_requirements_name_what_is_missing_first() -> None:
    gone: Requirement[Target] = Requirement("gone", "policies.gone", lambda _: Missing("it is gone"))
    assert (NOTHING & gone).find(preset()) == Missing("it is gone")
    assert NOTHING.needing(gone).find(preset()) == Missing("it is gone")
    assert isinstance(NOTHING.needing(NOTHING).find(preset()), Target)
    assert PAIR.declare == "operations.deposit, operations.orders"


def test_every_case_of_ours_tells_everything_and_is_judged() -> None:
    for one in CATALOGUE.values():
        if one.category is Category.OWN:
            continue
        texts = (one.text.purpose, one.text.sends, one.text.passes_when, one.text.read_fail, one.text.least_evidence)
        assert all(texts), one.id
        assert one.is_judged, one.id
        assert "\n" not in one.text.purpose

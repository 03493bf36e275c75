"""TC-RES-004 says PASS, FAIL and INCONCLUSIVE of orders and money, each where it must."""

from __future__ import annotations

import json

from tests.unit.cases.tape import MS, Tape, case_findings, nothing, outcome, preset, rules, why_missing

from proofload.judge.verdict import Outcome
from proofload.plan.target import Target
from proofload.record.fault_edge import Edge


def run(
    *,
    orders: int = 3,
    listed: int = 3,
    status: str = "confirmed",
    off: int = 0,
    cut: bool = True,
    proven: bool = True,
    deposited: int = 200,
    watch: int = 2,
) -> tuple[Outcome, set[str]]:
    """Judge two rounds in which two users bought, were cut off by a kill, and were told of it in the end."""
    tape = Tape("TC-RES-004")
    for number in (1, 2):
        for user in (1, 2):
            tape.add(f"deposits, round {number}", deposited, 4, user=10 * number + user, operation="deposit")
        for user in (1, 2):
            tape.add(f"orders, round {number}", 201, orders, user=10 * number + user, operation="order")
        tape.edge(Edge.APPLYING, "order", kind="kill")
        begun_ns = tape.at_ns
        for user in (1, 2) if cut else ():
            tape.at_ns = begun_ns - 50 * MS
            tape.add(f"orders, round {number}", 502, user=10 * number + user, operation="order", takes_ns=60 * MS)
        tape.edge(Edge.APPLIED, "order", kind="kill", proven=proven)
        tape.edge(Edge.UNDOING, "order", kind="kill")
        tape.edge(Edge.UNDONE, "order", kind="kill")
        book = [{"order_id": "o", "total_cents": 250, "status": "confirmed"}] * (listed - 1)
        book += [{"order_id": "o", "total_cents": 250, "status": status}]
        paid = sum(250 for one in book if one["status"] == "confirmed")
        for user in (1, 2):
            for body in ({"orders": book}, {"balance_cents": 4000 - paid + off}):
                step, who = f"books 2, round {number}", 10 * number + user
                tape.add(step, 200, user=who, body=json.dumps(body).encode())
    found = case_findings("TC-RES-004", tape.evidence(preset(), facts={"watch": watch}))
    return outcome(found), rules(found)


def test_books_that_agree_pass() -> None:
    assert run() == (Outcome.PASS, set())
    assert run(listed=4) == (Outcome.PASS, set()), "an order that was cut off may stand, if it was paid"
    assert run(listed=4, status="cancelled") == (Outcome.PASS, set()), "or not, if it was not"


def test_money_without_an_order_and_orders_without_money_fail() -> None:
    assert run(off=-250) == (Outcome.FAIL, {"res.partial_order"})
    assert run(off=250) == (Outcome.FAIL, {"res.partial_order"})


def test_an_acknowledged_order_that_is_gone_fails() -> None:
    assert run(listed=2) == (Outcome.FAIL, {"res.order_lost"})


def test_what_is_never_settled_fails() -> None:
    outcome_of, broken = run(listed=4, status="pending")
    assert (outcome_of, broken) == (Outcome.FAIL, {"res.unsettled"})


def test_nobody_cut_off_no_proof_or_no_answer_decides_nothing() -> None:
    assert run(cut=False) == (Outcome.INCONCLUSIVE, set())
    assert run(proven=False) == (Outcome.INCONCLUSIVE, set())
    assert run(deposited=0, off=-250) == (Outcome.INCONCLUSIVE, set()), "how much was paid in is not known"
    assert run(watch=3) == (Outcome.INCONCLUSIVE, set()), "the books were never read to the end"
    assert outcome(case_findings("TC-RES-004", nothing("TC-RES-004", preset()))) is Outcome.INCONCLUSIVE


def test_a_target_without_orders_or_a_way_to_kill_is_skipped() -> None:
    target = preset()
    assert why_missing("TC-RES-004", target) == ""
    bare = {"version": 1, "address": "http://127.0.0.1:1", "operations": {"read": {"path": "/read"}}}
    assert "policies.orders" in why_missing("TC-RES-004", Target.model_validate(bare))
    assert "can't be killed" in why_missing("TC-RES-004", target.model_copy(update={"faults": {}}))

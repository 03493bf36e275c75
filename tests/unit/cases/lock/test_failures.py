"""TC-LOCK-002 to 004 say PASS, FAIL, INCONCLUSIVE and SKIPPED, each where it must."""

from __future__ import annotations

import json

from tests.unit.cases.tape import MS, S, Tape, case_findings, nothing, outcome, preset, rules, why_missing

from proofload.judge.verdict import Outcome
from proofload.plan.policies import Policies
from proofload.record.fault_edge import Edge

TARGET = preset()
CONTENDED = b'{"code": "LOCK_CONTENTION"}'
BROKE = b'{"code": "INSUFFICIENT_FUNDS"}'


def told(balance: int) -> bytes:
    return json.dumps({"balance_cents": balance}).encode()


def refused(*, free: bool = True, users: int = 3, last: int | None = None) -> tuple[Outcome, set[str]]:
    tape, names = Tape("TC-LOCK-002"), {}
    for kind, operation in (("withdraw", "withdraw"), ("order", "order")):
        step = f"{kind} refused"
        names[step] = [f"{kind} {user}" for user in range(users)]
        for user in range(users):
            tape.add(step, 200, operation="balance", user=user + 1, body=told(0))
            tape.add(step, 409, operation=operation, user=user + 1, body=BROKE)
            tape.at_ns += 400 * MS
            paid = 1000 if free else 0
            body = told(1000) if free else CONTENDED
            tape.add(step, 200 if free else 503, operation="deposit", user=user + 1, body=body)
            tape.add(step, 200, operation="balance", user=user + 1, body=told(paid if last is None else last))
    found = case_findings("TC-LOCK-002", tape.evidence(TARGET, facts={"users": names}))
    return outcome(found), rules(found)


def test_a_lock_after_an_operation_that_failed() -> None:
    assert refused() == (Outcome.PASS, set())
    assert refused(free=False) == (Outcome.FAIL, {"lock.not_released"})
    assert "lock.money_not_conserved" in refused(last=0)[1]
    assert refused(users=0)[0] is Outcome.INCONCLUSIVE
    assert outcome(case_findings("TC-LOCK-002", nothing("TC-LOCK-002", TARGET))) is Outcome.INCONCLUSIVE


def gone(*, free: bool = True, lost: bool = False, proven: bool = True, cut: bool = True) -> tuple[Outcome, set[str]]:
    """Two users are cut off by a kill and try again; two more pay in twice at once after a pause."""
    tape = Tape("TC-LOCK-003")
    names = {step: ["a", "b"] for step in ("killed first", "killed paying", "killed after", "killed last")}
    names |= {"stalled first": ["c"], "stalled paying": ["c", "c"], "stalled last": ["c"]}
    for user in (1, 2):
        tape.add("killed first", 200, operation="balance", user=user, body=told(0))
    tape.add("stalled first", 200, operation="balance", user=5, body=told(0))
    tape.edge(Edge.APPLYING, "user", kind="pause", proven=proven)
    tape.edge(Edge.APPLIED, "user", kind="pause", proven=proven)
    tape.edge(Edge.UNDOING, "user", kind="pause")
    tape.edge(Edge.UNDONE, "user", kind="pause")
    for i in range(20):
        tape.add("stalled paying", 200, operation="deposit", user=6, body=told(2000 * i + 1000), takes_ns=100 * MS)
        body = told(2000 * i + (1000 if lost and i == 19 else 2000))
        tape.add("stalled paying", 200, operation="deposit", user=7, body=body, takes_ns=100 * MS)
    for i in range(20):
        for user in (11, 12):
            tape.add("killed paying", 200, operation="deposit", user=user, body=told(1000 * i + 1000))
    tape.edge(Edge.APPLYING, "user", kind="kill")
    begun_ns = tape.at_ns
    for user in (11, 12) if cut else ():
        tape.at_ns = begun_ns - 50 * MS
        tape.add("killed paying", 502, operation="deposit", user=user, takes_ns=60 * MS)
    tape.edge(Edge.APPLIED, "user", kind="kill", proven=proven)
    tape.edge(Edge.UNDOING, "user", kind="kill")
    tape.edge(Edge.UNDONE, "user", kind="kill")
    tape.at_ns += 3 * S
    for user in (21, 22):
        body = told(21000) if free else CONTENDED
        tape.add("killed after", 200 if free else 503, operation="deposit", user=user, body=body)
    for user in (31, 32):
        tape.add("killed last", 200, operation="balance", user=user, body=told(21000 if free else 20000))
    tape.add("stalled last", 200, operation="balance", user=35, body=told(39000 if lost else 40000))
    found = case_findings("TC-LOCK-003", tape.evidence(TARGET, facts={"users": names}))
    return outcome(found), rules(found)


def test_holders_that_die_or_hang() -> None:
    assert gone() == (Outcome.PASS, set())
    assert gone(free=False) == (Outcome.FAIL, {"lock.not_released"})
    assert gone(lost=True) == (Outcome.FAIL, {"lock.money_not_conserved", "lock.not_linearizable"})
    assert gone(proven=False) == (Outcome.INCONCLUSIVE, set())
    assert gone(cut=False)[0] is Outcome.INCONCLUSIVE, "nobody was under way when the service died"


def repeated(*, orders: tuple[str, str] = ("o1", "o1"), status: int = 201) -> tuple[Outcome, set[str]]:
    tape = Tape("TC-LOCK-004")
    for order in orders:
        tape.add("key 1", status, operation="order", body=json.dumps({"order_id": order}).encode())
    tape.add("key at once", 201, operation="order", body=b'{"order_id": "o2"}')
    tape.add("key at once", 503, 4, operation="order", body=CONTENDED)
    if status == 201:
        tape.add("key at once again", 200, operation="order", body=b'{"order_id": "o2"}')
    found = case_findings("TC-LOCK-004", tape.evidence(TARGET))
    return outcome(found), rules(found)


def test_an_order_that_is_sent_twice() -> None:
    assert repeated() == (Outcome.PASS, set())
    assert repeated(orders=("o1", "o3")) == (Outcome.FAIL, {"lock.idempotency_ignored"})
    assert repeated(status=503) == (Outcome.INCONCLUSIVE, set())


def test_they_are_skipped_where_nothing_is_declared() -> None:
    bare = TARGET.model_copy(update={"policies": Policies()})
    assert "no user lock" in why_missing("TC-LOCK-002", bare)
    assert "no user lock" in why_missing("TC-LOCK-003", bare)
    assert "nothing of orders" in why_missing("TC-LOCK-004", bare)
    assert why_missing("TC-LOCK-002", TARGET) == ""
    assert why_missing("TC-LOCK-003", TARGET) == ""
    assert why_missing("TC-LOCK-004", TARGET) == ""
    unbreakable = TARGET.model_copy(update={"faults": {}})
    assert "killed and paused" in why_missing("TC-LOCK-003", unbreakable)

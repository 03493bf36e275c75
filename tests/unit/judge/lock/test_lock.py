"""The lock judge: each rule held, broken and not to be told, on hand-made histories."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from proofload.judge.lock import AccountBalance, Movement, judge_idempotency, judge_lock
from proofload.judge.verdict import Finding, Outcome
from proofload.plan.policies import LockPolicy
from proofload.record.exchange import Ending, Exchange, Fault
from proofload.record.fault_edge import FaultSpan
from proofload.record.history import History

MS = 1_000_000
POLICY = LockPolicy(name="deposit", operation="deposit", kind="deposit", holds_at_least="100ms", expires_after="2s")
CONTENDED = {"code": "LOCK_CONTENTION"}


class Book:
    """Collects exchanges and the movements that they asked for."""

    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []
        self.movements: list[Movement] = []

    def add(
        self,
        sent_ms: float,
        done_ms: float,
        status: int = 200,
        body: object = None,
        *,
        user: str = "u",
        kind: str = "deposit",
        amount: int = 5,
        told: int | None = None,
    ) -> int:
        row, sent, done = len(self.exchanges), round(sent_ms * MS), round(done_ms * MS)
        ending, fault = (Ending.ANSWERED, Fault.NONE) if status else (Ending.UNKNOWN, Fault.TIMEOUT)
        content = json.dumps({} if body is None else body).encode()
        self.exchanges.append(
            Exchange(
                *(row, "w", kind, 1, "127.0.0.1", row, sent, sent, done, done),
                *(ending, fault, status, 1, 1, f"r{row}", {}, content),
            )
        )
        if kind != "read":
            self.movements.append(Movement(row, user, kind, amount, told))
        return row

    def judge(self, final: int, *, first: int = 100, policy: LockPolicy = POLICY, **more: object) -> dict[str, Finding]:
        accounts = more.pop("accounts", [AccountBalance("u", first, final)])
        found = judge_lock(policy, History.of(self.exchanges), self.movements, accounts, **more)  # type: ignore[arg-type]
        return {one.rule: one for one in found}


def burst(book: Book, *statuses: int, at: float = 0.0, user: str = "u") -> list[int]:
    rows = []
    for number, status in enumerate(statuses):
        body = CONTENDED if status == 503 else None
        rows.append(book.add(at + number, at + (120 if status == 200 else 10) + number, status, body, user=user))
    return rows


def failed(found: dict[str, Finding]) -> set[str]:
    return {rule for rule, one in found.items() if one.outcome is Outcome.FAIL}


def test_one_of_n_wins_and_the_money_is_there() -> None:
    book = Book()
    rows = [burst(book, 200, 503, 503, at=0), burst(book, 200, 503, 503, at=1000)]
    book.add(2000, 2001, 200, user="v")
    book.add(2000, 2001, 200, user="w")
    found = book.judge(110, bursts=rows)
    assert {rule: one.outcome for rule, one in found.items() if one.outcome is not Outcome.PASS} == {
        "lock.not_released": Outcome.SKIPPED
    }
    assert found["lock.two_succeeded"].examined == 2


def test_a_lost_update_is_found_and_shown() -> None:
    book = Book()
    burst(book, 200, 200)
    found = book.judge(105)
    assert failed(found) == {"lock.money_not_conserved"}
    assert "100 first + 10 deposited − 0 withdrawn = 110, not 105" in found["lock.money_not_conserved"].shown
    assert found["lock.money_not_conserved"].rows == (0, 1)


def test_unanswered_operations_count_either_way_but_only_whole() -> None:
    book = Book()
    burst(book, *[200] * 40)
    book.add(5000, 6000, 0, amount=7)
    for final, expected in ((300, False), (307, False), (304, True), (314, True)):
        assert ("lock.money_not_conserved" in failed(book.judge(final))) is expected, final


def test_too_many_unanswered_operations_hide_too_much() -> None:
    book = Book()
    burst(book, 200, 200)
    book.add(500, 600, 0)
    assert book.judge(110)["lock.money_not_conserved"].outcome is Outcome.INCONCLUSIVE


def test_a_balance_read_too_early_is_not_judged() -> None:
    book = Book()
    book.add(0, 100)
    book.add(0, 90)
    row = book.add(95, 99, kind="read")
    found = book.judge(105, accounts=[AccountBalance("u", 100, 105, row)])
    assert found["lock.money_not_conserved"].outcome is Outcome.INCONCLUSIVE
    assert found["lock.not_linearizable"].outcome is Outcome.PASS


def test_answers_that_no_order_explains() -> None:
    book = Book()
    book.add(0, 10, told=105)
    book.add(20, 30, told=105)
    found = book.judge(105)
    assert failed(found) == {"lock.money_not_conserved", "lock.not_linearizable"}
    assert found["lock.not_linearizable"].rows == (0, 1)


def test_a_refusal_for_lack_of_funds_must_be_true() -> None:
    refusal = {"code": "INSUFFICIENT_FUNDS"}
    book = Book()
    book.add(0, 10)
    book.add(20, 30, 409, refusal, kind="withdraw", amount=90)
    assert failed(book.judge(105)) == {"lock.not_linearizable"}
    book.movements[1] = replace(book.movements[1], amount=200)
    assert failed(book.judge(105)) == set()


def test_contention_needs_a_holder_of_the_same_user() -> None:
    book = Book()
    book.add(0, 100)
    book.add(400, 410, 503, CONTENDED)
    assert failed(book.judge(105)) == {"lock.contention_without_holder"}
    book.add(405, 500, user="v")
    assert failed(book.judge(105)) == {"lock.users_contend"}
    book.add(390, 480, 409, {"code": "INSUFFICIENT_FUNDS"}, kind="withdraw", amount=900)
    assert failed(book.judge(105)) == set()


def test_a_server_may_release_just_after_it_answered() -> None:
    book = Book()
    book.add(0, 100)
    book.add(150, 160, 503, CONTENDED)
    assert failed(book.judge(105)) == set()
    assert failed(book.judge(105, release_grace_ns=0)) == {"lock.contention_without_holder"}


def test_a_lock_that_an_error_or_a_lost_holder_leaves_behind() -> None:
    book = Book()
    book.add(0, 100, 500, {"code": "INTERNAL"})
    book.add(400, 410, 503, CONTENDED)
    assert failed(book.judge(100)) == {"lock.not_released"}
    lost = Book()
    lost.add(0, 1000, 0)
    lost.add(2500, 2510, 503, CONTENDED)
    assert failed(lost.judge(100)) == set()
    lost.add(9000, 9010, 503, CONTENDED)
    found = lost.judge(100)
    assert failed(found) == {"lock.not_released"}
    assert found["lock.not_released"].rows == (0, 2)
    clean = Book()
    clean.add(0, 100, 500, {"code": "INTERNAL"})
    clean.add(400, 410)
    assert clean.judge(105)["lock.not_released"].outcome is Outcome.PASS


def test_contention_while_a_fault_may_hold_is_excused() -> None:
    book = Book()
    book.add(0, 100)
    book.add(400, 410, 503, CONTENDED)
    span = FaultSpan("stop", "redis", 300 * MS, 350 * MS, 450 * MS, 500 * MS, True, True)
    assert failed(book.judge(105, faults=[span])) == set()


@pytest.mark.parametrize(
    ("status", "body", "wrong"),
    [
        (500, {"code": "INTERNAL"}, True),
        (409, {"code": "CONFLICT"}, True),
        (423, {}, True),
        (200, CONTENDED, True),
        (500, CONTENDED, True),
        (503, {}, True),
        (503, CONTENDED, False),
        (503, {"code": "OVERLOADED"}, False),
        (429, {"code": "RATE_LIMITED"}, False),
        (504, {"code": "TIMEOUT"}, False),
    ],
)
def test_the_status_of_contention(status: int, body: object, wrong: bool) -> None:
    book = Book()
    for number in range(12):
        book.add(1000 + number * 300, 1100 + number * 300)
    book.add(0, 100)
    book.add(1, 10, status, body)
    book.add(2, 11, 503, CONTENDED)
    assert failed(book.judge(165)) == ({"lock.wrong_status"} if wrong else set())


def test_two_that_succeed_at_once_where_the_hold_outlasts_the_skew() -> None:
    book = Book()
    rows = burst(book, 200, 200, 503)
    found = book.judge(110, bursts=[rows])
    assert failed(found) == {"lock.two_succeeded"}
    assert found["lock.two_succeeded"].rows == (0, 1)


def test_two_may_succeed_one_after_the_other_and_then_nothing_is_told() -> None:
    book = Book()
    rows = [book.add(0, 110), book.add(1, 230), book.add(2, 10, 503, CONTENDED)]
    assert book.judge(110, bursts=[rows])["lock.two_succeeded"].outcome is Outcome.INCONCLUSIVE
    undeclared = POLICY.model_copy(update={"holds_at_least": None})
    both = Book()
    rows = burst(both, 200, 200, 503)
    found = both.judge(110, policy=undeclared, bursts=[rows])
    assert found["lock.two_succeeded"].outcome is Outcome.INCONCLUSIVE
    assert "not declared" in found["lock.two_succeeded"].says


def test_a_queue_where_the_policy_is_to_reject() -> None:
    book = Book()
    rows = [book.add(number, 105 * (number + 1)) for number in range(4)]
    found = book.judge(120, bursts=[rows])
    assert found["lock.waits_silently"].outcome is Outcome.INCONCLUSIVE
    again = [book.add(5000 + number, 5000 + 105 * (number + 1)) for number in range(4)]
    assert failed(book.judge(140, bursts=[rows, again])) == {"lock.waits_silently"}
    waiting = POLICY.model_copy(update={"on_contention": "wait"})
    assert failed(book.judge(140, policy=waiting, bursts=[rows, again])) == set()


def test_nothing_that_reached_the_lock_is_inconclusive() -> None:
    book = Book()
    for number in range(10):
        book.add(number, number + 1, 429, {"code": "RATE_LIMITED"})
    found = book.judge(100)
    assert found["lock.not_reached"].outcome is Outcome.INCONCLUSIVE
    assert found["lock.money_not_conserved"].outcome is Outcome.INCONCLUSIVE
    assert Book().judge(100, accounts=[])["lock.not_linearizable"].outcome is Outcome.INCONCLUSIVE


def test_one_key_makes_one_thing() -> None:
    times = (0, 0, 1, 1)
    one = Exchange(0, "w", "order", 1, "", 1, *times, Ending.ANSWERED, Fault.NONE, 200, 1, 1, "")
    history = History.of([one] * 4)
    assert judge_idempotency(history, [[0, 1], [2, 3]], {0: "a", 1: "a", 2: "b", 3: "c"}).outcome is Outcome.FAIL
    assert judge_idempotency(history, [[0, 1], [2, 3]], {0: "a", 1: "a", 2: "b"}).outcome is Outcome.PASS
    assert judge_idempotency(history, [[0, 1]], {0: "a"}).outcome is Outcome.INCONCLUSIVE

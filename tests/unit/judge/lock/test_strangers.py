"""Locks as strangers build them: codes in any place, other controls' answers, money with a point, locks that wait."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from tests.unit.judge.lock.test_lock import CONTENDED, MS, POLICY, Book, failed

from proofload.judge.answers import AnswerClassifier
from proofload.judge.lock import balance_in, why_no_balance
from proofload.judge.lock.counts import judge_counts
from proofload.judge.verdict import Outcome
from proofload.plan.policies import LockMetrics, LockPolicy
from proofload.plan.target import Target
from proofload.record.history import History
from proofload.record.ledger import Reading, Sample

UNCODED = POLICY.model_copy(update={"code": None})
WAITING = POLICY.model_copy(update={"on_contention": "wait"})


def known(**policies):
    policies.setdefault("locks", [{"name": "deposit", "operation": "deposit", "code": None}])
    return AnswerClassifier.of(
        Target.model_validate(
            {
                "version": 1,
                "address": "http://127.0.0.1:1",
                "operations": {"deposit": {"path": "/deposit", "service": "bank"}},
                "policies": policies,
            }
        )
    )


CIRCUIT = {"service": "bank", "operation": "deposit", "code_when_open": "CIRCUIT_OPEN"}


def crowded(status, body, *, policy=POLICY):
    """Return a book of one surely held lock, with an answer in the midst of it."""
    book = Book()
    for number in range(12):
        book.add(1000 + number * 300, 1100 + number * 300)
    book.add(0, 100)
    book.add(1, 10, status, body)
    if policy.code is not None:
        book.add(2, 11, 503, {"code": policy.code})
    return book


@pytest.mark.parametrize(
    "body",
    [
        {"detail": "LOCK_CONTENTION"},
        {"errors": [{"code": "LOCK_CONTENTION"}]},
        {"errorCode": "LOCK_CONTENTION"},
        {"error_code": "LOCK_CONTENTION"},
        {"meta": {"why": "LOCK_CONTENTION: try again"}},
        "LOCK_CONTENTION",
    ],
)
def test_the_code_may_be_anywhere(body):
    found = crowded(503, body).judge(165)
    assert failed(found) == set()
    assert found["lock.wrong_status"].outcome is Outcome.PASS
    assert found["lock.wrong_status"].examined == 2


def test_a_numeric_code():
    numeric = POLICY.model_copy(update={"code": "4711"})
    found = crowded(503, {"code": 4711}, policy=numeric).judge(165, policy=numeric)
    assert found["lock.wrong_status"].outcome is Outcome.PASS


def test_the_place_of_the_code_may_be_declared():
    placed = POLICY.model_copy(update={"code_field": "errors.0.code"})
    book = Book()
    book.add(0, 100)
    book.add(1, 10, 503, {"errors": [{"code": "LOCK_CONTENTION"}]})
    found = book.judge(105, policy=placed)
    assert found["lock.wrong_status"].outcome is Outcome.PASS
    book.add(2, 11, 503, {"hint": "no LOCK_CONTENTION"})
    found = book.judge(105, policy=placed)
    assert found["lock.wrong_status"].outcome is Outcome.INCONCLUSIVE


def test_a_code_that_cannot_be_read_accuses_nobody():
    page = crowded(503, None)
    page.exchanges[13] = replace(page.exchanges[13], body=b"<html>Service Unavailable</html>")
    found = page.judge(165)
    assert failed(found) == set()
    assert found["lock.wrong_status"].outcome is Outcome.INCONCLUSIVE
    assert failed(crowded(503, {}).judge(165)) == {"lock.wrong_status"}


def test_another_controls_answer_is_no_contention():
    answers = known(circuit_breaker=[CIRCUIT], rate_limit=[{"limit": 9, "window": "1s", "probe": "deposit"}])
    for status, body in ((503, {"code": "CIRCUIT_OPEN"}), (429, {"code": "SLOW_DOWN"})):
        book = Book()
        rows = [book.add(number, 10 + number, status, body) for number in range(8)]
        assert "lock.contention_without_holder" in failed(book.judge(100, policy=POLICY.model_copy(
            update={"code": None, "status": status}), bursts=[rows]))  # fmt: skip
        found = book.judge(100, policy=UNCODED, bursts=[rows], answers=answers)
        assert failed(found) == set()
        assert found["lock.not_reached"].outcome is Outcome.INCONCLUSIVE


def test_a_refusal_that_may_be_another_controls_is_not_certain():
    book = Book()
    book.add(0, 100)
    book.add(400, 410, 503, {})
    found = book.judge(105, policy=UNCODED, answers=known(circuit_breaker=[{**CIRCUIT, "code_when_open": None}]))
    assert failed(found) == set()
    doubted = found["lock.contention_without_holder"]
    assert doubted.outcome is Outcome.INCONCLUSIVE
    assert "503 may be contention or an open circuit or a failure" in doubted.says
    assert "declare a code" in doubted.says


def test_contention_by_its_code_is_certain_beside_others():
    answers = known(locks=[{"name": "deposit", "operation": "deposit"}], circuit_breaker=[CIRCUIT])
    book = Book()
    book.add(0, 100)
    book.add(400, 410, 503, CONTENDED)
    assert failed(book.judge(105, answers=answers)) == {"lock.contention_without_holder"}
    kept = Book()
    kept.add(0, 100)
    kept.add(10, 20, 503, CONTENDED)
    assert kept.judge(105, answers=answers)["lock.contention_without_holder"].outcome is Outcome.PASS


def test_a_burst_with_an_uncoded_refusal_still_passes():
    book = Book()
    rows = [book.add(0, 120), book.add(1, 10, 503, {}), book.add(2, 11, 503, {})]
    found = book.judge(105, policy=UNCODED, bursts=[rows], answers=known())
    assert found["lock.two_succeeded"].outcome is Outcome.PASS
    assert found["lock.contention_without_holder"].outcome is Outcome.PASS


@pytest.mark.parametrize(
    ("balance", "decimals", "value"),
    [
        ("997.00", 2, 99_700),
        ("997.00", 0, 997),
        (997, 2, 99_700),
        (0.1, 1, 1),
        (1234567890123.07, 2, 123_456_789_012_307),
        (" -3.50 ", 2, -350),
        ("1e3", 0, 1000),
    ],
)
def test_balances_are_read_exactly(balance, decimals, value):
    policy = LockPolicy(name="x", operation="x", balance_decimals=decimals)
    assert balance_in(policy, json.dumps({"balance": balance}).encode()) == value
    assert why_no_balance(policy, json.dumps({"balance": balance}).encode()) == ""


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b'{"balance": "997.50"}', "declare balance_decimals, such as 2"),
        (b'{"balance": 1.5}', "declare balance_decimals, such as 1"),
        (b'{"balance": "a lot"}', 'balance is "a lot", which is no amount'),
        (b'{"balance": true}', "no amount"),
        (b'{"balance": NaN}', "no amount"),
        (b'{"balance": "Infinity"}', "no amount"),
        (b'{"balance": 1e999999}', "no amount"),
        (b'{"amount": 3}', "holds nothing at balance: declare balance_field"),
        (b"oops", "holds nothing at balance"),
        (None, "no answer"),
    ],
)
def test_why_a_balance_was_not_read(body, why):
    policy = LockPolicy(name="x", operation="x")
    assert balance_in(policy, body) is None
    assert why in why_no_balance(policy, body)


def queue(book, *, hold=110, count=4, at=0.0):
    return [book.add(at + number, at + hold * (number + 1)) for number in range(count)]


def test_a_lock_that_waits():
    book = Book()
    found = book.judge(120, policy=WAITING, bursts=[queue(book)])
    assert found["lock.two_succeeded"].outcome is Outcome.PASS
    assert found["lock.refused_in_place_of_waiting"].outcome is Outcome.PASS


def test_a_lock_that_should_wait_and_lets_two_in_or_refuses():
    book = Book()
    assert failed(book.judge(120, policy=WAITING, bursts=[queue(book, hold=30)])) == {"lock.two_succeeded"}
    book = Book()
    rows = [*queue(book, count=2), book.add(3, 10, 503, CONTENDED)]
    assert failed(book.judge(110, policy=WAITING, bursts=[rows])) == {"lock.refused_in_place_of_waiting"}
    patient = Book()
    rows = [*queue(patient, count=2), patient.add(3, 2500, 503, CONTENDED)]
    found = patient.judge(110, policy=WAITING, bursts=[rows])
    assert found["lock.refused_in_place_of_waiting"].outcome is Outcome.INCONCLUSIVE


def test_a_lock_that_waits_is_not_told_without_its_hold():
    book = Book()
    unknown = WAITING.model_copy(update={"holds_at_least": None})
    found = book.judge(120, policy=unknown, bursts=[queue(book)])
    assert found["lock.two_succeeded"].outcome is Outcome.INCONCLUSIVE
    assert "not declared" in found["lock.two_succeeded"].says
    alone = Book()
    found = alone.judge(105, policy=WAITING, bursts=[[alone.add(0, 110)]])
    assert found["lock.refused_in_place_of_waiting"].outcome is Outcome.INCONCLUSIVE


def test_counts_leave_other_controls_answers_out():
    book = Book()
    book.add(0, 100)
    for number in range(3):
        book.add(200 + number, 210 + number, 503, {"code": "CIRCUIT_OPEN"})
    policy = UNCODED.model_copy(update={"metrics": LockMetrics(contended="contentions_total")})
    before, after = (
        Reading("bank", name, at, at, (Sample("contentions_total", {}, 0.0),)) for name, at in (("b", 0), ("a", MS))
    )
    exchanges = list(History.of(book.exchanges))
    alone = judge_counts(policy, exchanges, before, after, exclusive=True)[0]
    assert alone.outcome is Outcome.FAIL
    answers = known(circuit_breaker=[CIRCUIT])
    told = judge_counts(policy, exchanges, before, after, exclusive=True, answers=answers)[0]
    assert told.outcome is not Outcome.FAIL

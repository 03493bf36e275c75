"""The delivery judge says PASS only where the load was really there, and takes PASS away from what rests on less."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proofload.judge.delivery import DeliveryBounds, judge_delivery, judge_generators, rest_on
from proofload.judge.verdict import Finding, Outcome
from proofload.record.delivery import Delivery, GeneratorDelivery, Lag
from proofload.record.exchange import NEVER_NS, Ending, Exchange, Fault
from proofload.record.history import History

MS = 1_000_000

SENT = Exchange(0, "w", "op", 1, "127.0.0.1", 1, 0, 10, 20, MS, Ending.ANSWERED, Fault.NONE, 200, 1, 1, "")
DROPPED = replace(
    SENT, sent_ns=NEVER_NS, first_byte_ns=NEVER_NS, done_ns=0, ending=Ending.DROPPED, fault=Fault.NO_USER_FREE, status=0
)
REFUSED = replace(DROPPED, ending=Ending.NOT_SENT, fault=Fault.CONNECT_REFUSED)


def outcomes(history: History, bounds: DeliveryBounds | None = None) -> dict[str, str]:
    return {one.rule: one.outcome.name for one in judge_delivery(history, bounds=bounds)}


def test_everything_sent_and_answered_passes() -> None:
    assert set(outcomes(History.of([SENT] * 100)).values()) == {"PASS"}


def test_no_request_at_all_is_inconclusive() -> None:
    assert set(outcomes(History.empty()).values()) == {"INCONCLUSIVE"}


@pytest.mark.parametrize(("dropped", "expected"), [(1, "PASS"), (2, "INCONCLUSIVE"), (90, "INCONCLUSIVE")])
def test_more_than_one_percent_dropped_is_inconclusive(dropped: int, expected: str) -> None:
    assert outcomes(History.of([SENT] * (100 - dropped) + [DROPPED] * dropped))["delivery.dropped"] == expected


def test_refused_connections_count_against_the_load_unless_looked_for() -> None:
    history = History.of([SENT] * 90 + [REFUSED] * 10)
    assert outcomes(history)["delivery.unreached"] == "INCONCLUSIVE"
    assert outcomes(history, DeliveryBounds(unreached_per_mille=None))["delivery.unreached"] == "PASS"


def test_a_target_that_answers_nothing_is_inconclusive() -> None:
    assert outcomes(History.of([REFUSED] * 10))["delivery.answered"] == "INCONCLUSIVE"


def test_a_late_generator_is_inconclusive() -> None:
    late = replace(SENT, sent_ns=60 * MS, first_byte_ns=61 * MS, done_ns=62 * MS)
    assert outcomes(History.of([SENT] * 98 + [late] * 2))["delivery.send_lag"] == "INCONCLUSIVE"
    assert outcomes(History.of([SENT] * 99 + [late]))["delivery.send_lag"] == "PASS"


def test_what_rests_on_missing_load_loses_its_pass_and_may_keep_its_fail() -> None:
    passed, failed = Finding("a", Outcome.PASS, "kept", 9), Finding("b", Outcome.FAIL, "broken", 9)
    skipped = Finding("c", Outcome.SKIPPED, "none", 0)
    missing = judge_delivery(History.of([SENT] * 10 + [DROPPED] * 10))
    outcome = [one.outcome for one in rest_on([passed, failed, skipped], missing)]
    assert outcome == [Outcome.INCONCLUSIVE, Outcome.FAIL, Outcome.SKIPPED]
    assert [one.outcome for one in rest_on([failed], missing, fail_survives=False)] == [Outcome.INCONCLUSIVE]
    whole = judge_delivery(History.of([SENT] * 10))
    assert rest_on([passed, failed, skipped], whole) == [passed, failed, skipped]


def test_only_the_chosen_rows_are_looked_at() -> None:
    history = History.of([SENT] * 10 + [DROPPED] * 10)
    rows = history.rows_where(history.frame["status"] == 200)
    assert {one.outcome for one in judge_delivery(history, rows=rows)} == {Outcome.PASS}


def test_a_generator_that_was_the_limit_died_or_was_stopped_is_named() -> None:
    dead = GeneratorDelivery(2, 10, 0.9, 0.0, Lag(), died="signal 9")
    assert judge_generators([Delivery(planned=5, sent=5)]) == []
    for one, told in (
        (Delivery(bottleneck=True, reasons=("loop lag 80 ms",)), "loop lag 80 ms"),
        (Delivery(bottleneck=True), "the generator was the limit"),
        (Delivery(generators=(dead,)), "generator 2 died: signal 9"),
        (Delivery(stopped=True), "stopped"),
    ):
        found = judge_generators([one])
        assert [finding.outcome for finding in found] == [Outcome.INCONCLUSIVE]
        assert told in found[0].says


CROSSED = replace(SENT, ending=Ending.UNKNOWN, fault=Fault.REUSED_CONNECTION_CLOSED, status=0)
NO_DESCRIPTOR = replace(REFUSED, fault=Fault.NO_DESCRIPTOR)


@pytest.mark.parametrize(
    ("lost", "expected"),
    [
        pytest.param([], None, id="nothing"),
        pytest.param([CROSSED], "PASS", id="a few crossed a close"),
        pytest.param([CROSSED] * 20, "INCONCLUSIVE", id="many crossed a close"),
        pytest.param([NO_DESCRIPTOR], "INCONCLUSIVE", id="this machine ran out"),
    ],
)
def test_what_is_lost_on_our_side_is_told_and_never_the_targets(lost: list[Exchange], expected: str | None) -> None:
    found = outcomes(History.of([SENT] * 200 + lost))
    assert found.get("delivery.own_connections") == expected


def test_what_is_lost_on_our_side_is_said_in_one_sentence() -> None:
    found = judge_delivery(History.of([SENT] * 10 + [CROSSED] * 2 + [NO_DESCRIPTOR] * 3))
    (says,) = [one.says for one in found if one.rule == "delivery.own_connections"]
    assert says == (
        "of 15 requests 3 could not connect, for this machine ran out of file descriptors or ports, and 2 met a"
        " kept-alive connection that the target was just closing, and can't be repeated"
    )

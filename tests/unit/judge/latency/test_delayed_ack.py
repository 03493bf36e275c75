"""The 40 ms of Nagle and delayed acknowledgements are told from a service that takes 40 ms."""

from __future__ import annotations

import pytest

from proofload.judge.latency.delayed_ack import judge_delayed_ack
from proofload.judge.verdict import Outcome
from proofload.record.exchange import NEVER_NS, Ending, Exchange, Fault
from proofload.record.history import History

MS = 1_000_000


def exchange(connection: int, at: int, took_ms: float, status: int = 200) -> Exchange:
    sent, done = at * MS, round((at + took_ms) * MS)
    return Exchange(
        0,
        "w",
        "read",
        1,
        "127.0.0.1",
        connection,
        sent,
        sent,
        done,
        done,
        Ending.ANSWERED,
        Fault.NONE,
        status,
        1,
        1,
        "",
    )


def history(first_ms: float, later_ms: list[float], *, connections: int = 5, each: int = 12) -> History:
    rows = [exchange(connection, 0, first_ms) for connection in range(connections)]
    for turn in range(1, each):
        rows += [
            exchange(connection, turn * 100, later_ms[(turn + connection) % len(later_ms)])
            for connection in range(connections)
        ]
    return History.of(rows)


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        pytest.param(history(1, [41, 42, 43.5, 40.2]), Outcome.FAIL, id="40 ms on each later request"),
        pytest.param(history(1, [41, 42, 43, 44, 1]), Outcome.FAIL, id="on four of five"),
        pytest.param(history(1, [1, 2, 1.5]), Outcome.PASS, id="quick"),
        pytest.param(history(42, [41, 42, 43]), Outcome.PASS, id="a service that takes 42 ms always"),
        pytest.param(history(25, [41, 42, 43]), Outcome.PASS, id="slow first requests too"),
        pytest.param(history(1, [38, 1, 60, 44, 90]), Outcome.PASS, id="times all over the place"),
        pytest.param(history(1, [60, 61]), Outcome.PASS, id="60 ms is something else"),
        pytest.param(history(1, [42], connections=2, each=40), Outcome.INCONCLUSIVE, id="too few first requests"),
        pytest.param(history(1, [42], connections=3, each=4), Outcome.INCONCLUSIVE, id="too few later requests"),
        pytest.param(History.empty(), Outcome.INCONCLUSIVE, id="nothing"),
    ],
)
def test_each_outcome(found: History, wanted: Outcome) -> None:
    assert judge_delayed_ack(found).outcome is wanted


def test_the_finding_shows_a_quick_first_and_a_slow_later_request() -> None:
    said = judge_delayed_ack(history(1, [42]))
    assert "read: 100% of 55 requests on reused connections took 38 to 46 ms, and first requests 1ms" in said.says
    assert (said.figures["median_ns"], said.figures["first_median_ns"]) == (42 * MS, MS)
    assert len(said.shown) == 2


def test_what_was_not_sent_is_no_first_request() -> None:
    refused = exchange(0, 0, 1)
    lost = Exchange(**{
        **{name: getattr(refused, name) for name in Exchange.__slots__},
        "sent_ns": NEVER_NS, "ending": Ending.NOT_SENT, "fault": Fault.CONNECT_REFUSED, "status": 0,
    })  # fmt: skip
    assert judge_delayed_ack(History.of([lost] * 50)).outcome is Outcome.INCONCLUSIVE

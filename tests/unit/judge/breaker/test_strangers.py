"""Breakers that strangers wrote: answers alike, a limiter in front, shares of failures, the tripping call hidden."""

from __future__ import annotations

import numpy as np
import pytest
from tests.unit.judge.breaker.test_breaker import SPAN, outcome, rules

from proofload.judge.answers import AnswerClassifier
from proofload.judge.breaker import (
    OPENING,
    RECOVERY,
    REOPENING,
    BackendHits,
    CallKind,
    CircuitContext,
    calls_of,
    judge_breaker,
    judge_isolation,
    judge_never_trips,
)
from proofload.judge.verdict import Outcome, worst
from proofload.plan.policies import CircuitBreakerPolicy
from proofload.plan.target import Target
from proofload.record.exchange import Ending, Exchange, Fault
from proofload.record.fault_edge import FaultSpan
from proofload.record.history import History

MS, SECOND = 1_000_000, 1_000_000_000
OPEN = b'{"code":"CIRCUIT_OPEN"}'
SVC = b'{"code":"SVC_001"}'
PASS, FAIL, UNSURE = Outcome.PASS, Outcome.FAIL, Outcome.INCONCLUSIVE


def policy(**changes):
    return CircuitBreakerPolicy(**{"service": "shop", "operation": "buy", "open_for": "5s", **changes})


def history(*said, gap_ns=10 * MS, took_ns=MS, headers=None):
    """Return calls one after the other; each is a status, with a body, a time it took, a time it was sent."""
    records, at = [], gap_ns
    for number, one in enumerate(said):
        status, body, took, sent = (*(one if isinstance(one, tuple) else (one,)), None, None, None)[:4]
        kept = body if body is not None else OPEN if status == 503 else b"{}"
        at = at if sent is None else sent
        done = at + (took or took_ns)
        ending, fault = (Ending.ANSWERED, Fault.NONE) if status else (Ending.UNKNOWN, Fault.TIMEOUT)
        records.append(
            Exchange(
                *(number, "w", "buy", 0, "127.0.0.2", 0, at, at, done, done, ending, fault, status),
                *(0, 0, "", {} if headers is None or status != 503 else headers, kept),
            )
        )
        at = done + gap_ns
    return History.of(records)


def judged(told, *, expect=OPENING, hits=(), spans=(SPAN,), answers=None, **changes):
    stage = CircuitContext(policy(**changes), told, spans, tuple(hits), answers=answers)
    return judge_breaker(stage, range(len(told)), expect=expect)


def each_counted(told, *reached):
    """Return the service's count read around each call."""
    sent, done = told.numbers("sent_ns"), told.numbers("done_ns")
    return [BackendHits(int(s) - MS, int(d) + MS, n, n) for s, d, n in zip(sent, done, reached, strict=True)]


def blind(status, *, body=b"{}", good=3, calls=20):
    return history(*[200] * good, *[(status, body)] * calls)


# The open circuit and the dead service answer alike (FOUND A1, B16).


@pytest.mark.parametrize(
    ("told", "changes"),
    [
        (blind(503), {"code_when_open": None}),
        (blind(502), {"code_when_open": None, "status_when_open": 502}),
        (blind(503, body=SVC), {"code_when_open": "SVC_001"}),
        (history(200, 200, (503, b"upstream 17"), *[(503, b"upstream 18")] * 9), {"code_when_open": None}),
    ],
)
def test_answers_alike_accuse_nobody_and_say_what_to_declare(told, changes):
    found = judged(told, **changes)
    assert rules(found) == set()
    assert outcome(found, "cb.opens_early") is UNSURE
    says = next(one.says for one in found if one.rule == "cb.opens_late")
    assert "code_when_open" in says
    assert "services.shop.metrics" in says


@pytest.mark.parametrize("reached", range(1, 21))
def test_the_services_own_count_tells_answers_alike_apart(reached):
    told = blind(503)
    counts = each_counted(told, *[1] * 3, *[1] * reached, *[0] * (20 - reached))
    found = judged(told, hits=counts, code_when_open=None)
    if reached == 5:
        assert worst(one.outcome for one in found) is PASS
    elif reached < 5:
        assert rules(found) == {"cb.opens_early"}
        assert f"after {reached} failures" in next(one.says for one in found if one.outcome is FAIL)
    else:
        assert rules(found) <= {"cb.opens_late", "cb.never_opens"}
        assert len(rules(found)) == 1


@pytest.mark.parametrize(
    ("reached", "early", "late"), [(3, FAIL, None), (4, FAIL, None), (5, PASS, PASS), (15, PASS, UNSURE)]
)
def test_a_gateway_may_retry_so_many_hits_prove_one_call(reached, early, late):
    told = blind(503)
    done = told.numbers("done_ns")
    during = BackendHits(int(done[2]) + 1, int(done[-1]) + MS, reached, reached)
    found = judged(told, hits=[during], code_when_open=None)
    assert outcome(found, "cb.opens_early") is early
    assert not rules(found) & {"cb.opens_late", "cb.never_opens"}
    if late is not None:
        assert outcome(found, "cb.opens_late") is late


def test_hits_of_a_service_that_could_not_count_prove_nothing():
    told = blind(503)
    dead = BackendHits(int(told.numbers("done_ns")[2]) + 1, int(told.numbers("done_ns")[-1]), 0, 0)
    assert rules(judged(told, hits=[dead], code_when_open=None)) == set()


@pytest.mark.parametrize(("failures", "early"), [(5, PASS), (3, UNSURE), (4, UNSURE)])
def test_order_tells_enough_to_pass_and_never_to_accuse(failures, early):
    told = history(200, 200, *[502] * failures, *[(503, b"busy")] * 9)
    found = judged(told, code_when_open=None)
    assert rules(found) == set()
    assert outcome(found, "cb.opens_early") is early
    texts = history(200, 200, *[(503, b"refused")] * failures, *[(503, b"no healthy upstream")] * 9)
    found = judged(texts, code_when_open=None)
    assert rules(found) == set()
    assert outcome(found, "cb.opens_early") is early


def test_a_text_that_only_the_open_circuit_gives_is_a_code():
    texts = history(200, 200, *[(503, b"refused")] * 3, *[(503, b"no healthy upstream")] * 9)
    assert rules(judged(texts, code_when_open="no healthy upstream")) == {"cb.opens_early"}


def test_a_late_circuit_whose_failures_look_otherwise_is_still_found():
    told = history(200, 200, *[502] * 8, *[(503, b"busy")] * 9)
    assert rules(judged(told, code_when_open=None)) == {"cb.opens_late"}


def test_outside_of_every_fault_an_uncoded_503_is_not_the_circuits_for_certain():
    told = history(*[404] * 12, (503, b"{}"), 200)
    stage = CircuitContext(policy(code_when_open=None), told)
    assert judge_never_trips(stage, range(len(told)), "4xx")[0].outcome is UNSURE
    coded = history(*[404] * 12, 503, 200)
    assert judge_never_trips(CircuitContext(policy(), coded), range(14), "4xx")[0].outcome is FAIL
    assert judge_isolation(stage, range(len(told)))[0].outcome is UNSURE


# Controls in front of the circuit (A2, A16).

TARGET = Target.model_validate(
    {
        "version": 1,
        "address": "http://127.0.0.1:1",
        "operations": {"buy": {"path": "/buy", "service": "shop"}},
        "policies": {
            "rate_limit": [{"limit": 20, "window": "5s", "probe": "buy"}],
            "locks": [{"name": "buying", "operation": "buy", "code": "HELD"}],
            "circuit_breaker": [{"service": "shop", "operation": "buy"}],
        },
    }
)


@pytest.mark.parametrize("answer", [(429, b"{}"), (503, b'{"code":"HELD"}')])
def test_answers_of_other_controls_are_neither_let_through_nor_counted(answer):
    known = AnswerClassifier.of(TARGET)
    told = history(200, *[502] * 3, answer, *[502] * 2, 503, 503, *[answer] * 9, 503)
    found = judged(told, answers=known)
    assert rules(found) == set()
    never = judged(history(200, *[502] * 5, *[answer] * 9), answers=known)
    assert rules(never) == set()
    assert outcome(never, "cb.reached_while_open") is UNSURE
    late = judged(history(200, *[502] * 5, answer, 502, 502, answer, 503), answers=known)
    assert rules(late) == {"cb.opens_late"}


def test_a_429_of_a_limiter_nobody_declared_is_no_proof_either():
    told = history(200, *[502] * 5, 503, 503, *[429] * 9, 503)
    assert rules(judged(told)) == set()
    assert CallKind.FAILURE not in calls_of(CircuitContext(policy(), told), range(8, 17)).kind


def test_what_the_service_answers_itself_while_open_is_let_through():
    told = history(200, *[502] * 5, 503, 404, 503)
    found = judged(told, answers=AnswerClassifier.of(TARGET))
    assert rules(found) == {"cb.opens_late", "cb.reached_while_open"}
    overloaded = TARGET.model_copy(
        update={"policies": TARGET.policies.model_validate({"overload": {"operation": "buy", "health": "/h"}})}
    )
    down = history(200, *[(503, b'{"code":"DOWN"}')] * 5, 503, 503)
    assert rules(judged(down, answers=AnswerClassifier.of(overloaded))) == set()
    assert outcome(judged(down, answers=AnswerClassifier.of(overloaded)), "cb.opens_late") is PASS


# A share of failures (A3).

RATIO = {"ratio": 0.5, "ratio_window": "10s", "minimum_calls": 10}


@pytest.mark.parametrize(
    "said",
    [
        [200] * 5 + [502] * 5 + [503] * 9,  # >=, counted from the first call
        [200] * 5 + [502] * 6 + [503] * 9,  # >
        [200] * 9 + [502] * 9 + [503] * 9,
        [200] * 9 + [502] * 10 + [503] * 9,
        [200] * 12 + [502] * 10 + [503] * 9,  # a window that began with the fault
        [200] * 12 + [502] * 16 + [503] * 9,  # one that began amid the failures
        [200] * 5 + [502] * 4 + [503] * 9,  # the tenth call was answered by the circuit that it opened
    ],
)
def test_a_share_of_failures_has_several_honest_readings(said):
    found = judged(history(*said), **RATIO)
    assert rules(found) == set()
    assert outcome(found, "cb.opens_early") is PASS


def test_a_tripping_call_that_is_not_hidden_is_one_failure_too_few():
    said = [200] * 5 + [502] * 4 + [503] * 9
    assert rules(judged(history(*said), **RATIO, tripping_call="service")) == {"cb.opens_early"}


def test_a_share_that_is_not_reached_and_one_long_passed():
    early = judged(history(*[200] * 9, 502, 502, *[503] * 9), **RATIO)
    assert rules(early) == {"cb.opens_early"}
    says = next(one.says for one in early if one.outcome is FAIL)
    assert "2 failures among 11 calls: 50 % of 10 calls or more in 10s must fail to open it" in says
    assert "in a row" not in says
    late = judged(history(*[200] * 5, *[502] * 30, *[503] * 9), **RATIO)
    assert rules(late) == {"cb.opens_late"}
    never = judged(history(*[200] * 5, *[502] * 40), **RATIO)
    assert rules(never) == {"cb.never_opens"}


def test_just_the_share_for_ever_opens_one_breaker_and_not_another():
    assert rules(judged(history(*[200, 502] * 40), **RATIO)) == set()
    assert rules(judged(history(*[200, 502] * 5, *[503] * 9), **RATIO)) == set()
    assert rules(judged(history(*[200, 502, 502] * 15), **RATIO)) == {"cb.never_opens"}


def test_a_share_of_the_latest_calls():
    ring = {"ratio": 0.5, "ratio_calls": 10, "minimum_calls": 10}
    assert rules(judged(history(*[200] * 20, *[502] * 5, *[503] * 9), **ring)) == set()
    assert rules(judged(history(*[200] * 20, *[502] * 6, *[503] * 9), **ring)) == set()
    assert rules(judged(history(*[200] * 20, *[502] * 12, *[503] * 9), **ring)) == {"cb.opens_late"}
    assert rules(judged(history(*[200] * 20, 502, 502, *[503] * 9), **ring)) == {"cb.opens_early"}


def test_a_share_over_an_unknown_window_can_be_too_early_but_never_late():
    unknown = {"ratio": 0.5, "minimum_calls": 10}
    assert rules(judged(history(*[200] * 9, *[502] * 60, *[503] * 9), **unknown)) == set()
    found = judged(history(*[200] * 9, *[502] * 60), **unknown)
    assert outcome(found, "cb.opens_late") is UNSURE
    assert "ratio_window" in next(one.says for one in found if one.rule == "cb.opens_late")


# The call that trips the circuit, answered by the circuit (A4).


@pytest.mark.parametrize(
    ("declared", "visible", "early", "late"),
    [
        ("service", 5, PASS, PASS),
        ("service", 4, FAIL, None),
        ("service", 6, None, FAIL),
        ("circuit", 4, PASS, PASS),
        ("circuit", 3, FAIL, None),
        ("circuit", 5, None, FAIL),
        (None, 3, FAIL, None),
        (None, 4, UNSURE, PASS),
        (None, 5, PASS, PASS),
        (None, 6, None, FAIL),
    ],
)
def test_who_answers_the_tripping_call(declared, visible, early, late):
    found = judged(history(200, 200, *[502] * visible, *[503] * 9), tripping_call=declared)
    for rule, expected in (("cb.opens_early", early), ("cb.opens_late", late)):
        if expected is not None:
            assert outcome(found, rule) is expected, rule


def test_a_failure_that_the_circuit_should_have_answered_itself():
    assert rules(judged(history(200, 200, *[502] * 5), tripping_call="circuit")) == {"cb.opens_late"}
    assert rules(judged(history(200, 200, *[502] * 5), tripping_call="service")) == set()


@pytest.mark.parametrize(
    ("visible", "hidden", "broken"),
    [(4, 1, set()), (4, 0, {"cb.opens_early"}), (3, 1, {"cb.opens_early"}), (5, 1, {"cb.opens_late"}), (5, 0, set())],
)
def test_the_services_own_count_settles_the_tripping_call(visible, hidden, broken):
    told = history(200, 200, *[502] * visible, *[503] * 9)
    counts = each_counted(told, 1, 1, *[1] * visible, hidden, *[0] * 8)
    assert rules(judged(told, hits=counts)) == broken


@pytest.mark.parametrize(("took", "early"), [(200 * MS, PASS), (2 * MS, FAIL), (50 * MS, UNSURE)])
def test_its_time_settles_the_tripping_call_where_failures_are_slow(took, early):
    told = history(200, 200, *[(504, None, 200 * MS)] * 4, (503, None, took), *[503] * 9)
    assert outcome(judged(told), "cb.opens_early") is early


def test_a_failed_trial_that_the_circuit_answers_is_no_missing_trial():
    down = FaultSpan("stop", "shop", 0, 0, 8 * SECOND, 8 * SECOND, held=True, mended=True)
    # Opened at 0.1 s; a trial failed at 6 s, answered by the circuit, which is open again until 11 s.
    told = history(
        200, 200, *[502] * 4, *[503] * 4, (503, None, MS, 6 * SECOND), (503, None, MS, 9 * SECOND),
        (503, None, MS, 10 * SECOND), (200, None, MS, 12 * SECOND), 200, 200, 200,
    )  # fmt: skip
    assert rules(judged(told, spans=(down,), expect=RECOVERY)) == set()
    assert rules(judged(told, spans=(down,), expect=RECOVERY, tripping_call="service")) != set()
    stuck = history(*[200] * 2, *[502] * 5, *[503] * 4, *[(503, None, MS, at * SECOND) for at in range(9, 40)])
    assert "cb.never_half_opens" in rules(judged(stuck, spans=(down,), expect=RECOVERY))


# Trials that time out (B5).


def trials(*after, spans=(SPAN,)):
    opened = [200, 200, *[502] * 5, 503, 503]
    return judged(history(*opened, *after), spans=spans, expect=(*REOPENING,))


@pytest.mark.parametrize("answer", [504, 502])
def test_a_trial_that_times_out_is_a_failed_one(answer):
    first = (answer, None, 300 * MS, 6 * SECOND)
    honest = trials(first, *[503] * 6)
    assert rules(honest) == set()
    assert outcome(honest, "cb.reopens_without_period") is PASS
    counted_as_success = trials(first, *[(answer, None, 300 * MS)] * 5)
    assert rules(counted_as_success) & {"cb.reopens_without_period", "cb.closes_early"}


def test_a_trial_that_nobody_answered_is_not_told():
    found = trials((0, None, 300 * MS, 6 * SECOND), *[503] * 6)
    assert rules(found) == set()
    assert outcome(found, "cb.reopens_without_period") is UNSURE


# Several kinds of 4xx (B8).


def test_each_4xx_is_tried_often_enough():
    mixed = history(*[400] * 10, *[404] * 10, *[422] * 10, 200)
    stage = CircuitContext(policy(), mixed)
    assert judge_never_trips(stage, range(31), "4xx", each=(400, 404, 422))[0].outcome is PASS
    few = judge_never_trips(stage, range(25), "4xx", each=(400, 404, 422))[0]
    assert few.outcome is UNSURE
    assert "5 of status 422" in few.says
    counted = history(*[400] * 10, *[404] * 10, *[422] * 5, 503, 200)
    broken = judge_never_trips(CircuitContext(policy(), counted), range(27), "4xx", each=(400, 404, 422))[0]
    assert broken.outcome is FAIL
    assert "422" in broken.says


# Retry-After (B7).


def opened(headers, tail=9):
    return history(200, 200, *[502] * 5, *[503] * tail, headers=headers)


@pytest.mark.parametrize(
    ("headers", "missing", "untrue"),
    [
        ({"retry-after": "60"}, PASS, PASS),
        ({"retry-after": "58"}, PASS, PASS),
        ({"retry-after": "1"}, PASS, FAIL),
        ({"retry-after": "3600"}, PASS, FAIL),
        ({"retry-after": "soon"}, FAIL, None),
        ({"retry-after": "Thu, 01 Jan 2026 00:01:00 GMT"}, PASS, UNSURE),
        ({"x-other": "1", "retry-after": ""}, FAIL, None),
    ],
)
def test_retry_after_while_open(headers, missing, untrue):
    found = judged(opened(headers), open_for="60s")
    assert outcome(found, "cb.retry_after_missing") is missing
    if untrue is not None:
        assert outcome(found, "cb.retry_after_untrue") is untrue


@pytest.mark.parametrize(("told", "untrue"), [("5", PASS), ("1", UNSURE), ("3600", UNSURE)])
def test_retry_after_of_a_circuit_that_opened_somewhere_in_seconds(told, untrue):
    hung = [(0, b"{}", 5 * SECOND, SECOND + number * MS) for number in range(5)]
    after = [(503, OPEN, MS, 6 * SECOND + (10 + number) * MS) for number in range(6)]
    found = judged(history(*hung, *after, headers={"retry-after": told}))
    assert outcome(found, "cb.retry_after_untrue") is untrue


def test_retry_after_that_is_absent_is_told_only_where_headers_were_kept():
    told = opened(None)
    assert outcome(judged(told), "cb.retry_after_missing") is UNSURE  # skipped
    assert not [one for one in judged(told, retry_after=None) if "retry" in one.rule]
    kept = CircuitContext(policy(), told, (SPAN,), headers_kept=True)
    assert outcome(judge_breaker(kept, range(len(told)), expect=OPENING), "cb.retry_after_missing") is FAIL


# Rejected calls that the service received (B3).


def test_rejected_calls_that_reach_the_service():
    told = history(200, 200, *[502] * 5, *[503] * 9)
    done = told.numbers("done_ns")
    open_now = BackendHits(int(done[7]) + 1, int(done[-1]), 8, 8)
    assert rules(judged(told, hits=[open_now])) == {"cb.rejected_reached_backend"}
    every = BackendHits(0, int(done[-1]), 15, 15)
    found = judged(told, hits=[every])
    assert outcome(found, "cb.rejected_reached_backend") is UNSURE
    assert "retries" in next(one.says for one in found if one.rule == "cb.rejected_reached_backend")
    quiet = BackendHits(int(done[7]) + 1, int(done[-1]), 0, 0)
    assert outcome(judged(told, hits=[quiet]), "cb.rejected_reached_backend") is PASS


def test_every_call_keeps_its_place():
    told = history(200, (429, b"{}"), 502, 503, 404)
    calls = calls_of(CircuitContext(policy(), told), range(5))
    kinds = [CallKind(int(kind)).name for kind in calls.kind]
    assert kinds == ["SUCCESS", "NEUTRAL", "FAILURE", "REJECTED", "NEUTRAL"]
    assert calls.through().tolist() == [True, False, True, False, True]
    assert calls.aside.tolist() == [False, True, False, False, False]
    assert np.array_equal(calls.row, np.arange(5))

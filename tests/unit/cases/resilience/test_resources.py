"""TC-RES-002, TC-RES-003 and TC-INT-008 say PASS, FAIL and INCONCLUSIVE, each where they must."""

from __future__ import annotations

import json

import pytest
from tests.unit.cases.tape import MS, S, Tape, case_findings, line, nothing, outcome, preset, rules, why_missing

from proofload.cases.metrics_and_audit import READ_AT
from proofload.judge.verdict import Outcome
from proofload.plan.target import Target
from proofload.record.ledger import Ledgers, Reading, Sample

BARE = Target.model_validate({"version": 1, "address": "http://127.0.0.1:1", "operations": {"read": {"path": "/read"}}})
SOURCES = ("gateway", "auth", "user", "order")


def reading(label: str, source: str, at_ns: int, **values: float) -> Reading:
    samples = tuple(Sample(name, {}, value) for name, value in values.items())
    return Reading(source, label, at_ns, at_ns + MS, samples)


def files(
    *, leaks: str = "", fills: int = 8, broken: int = 0, each: int = 200, read: bool = True
) -> tuple[Outcome, set[str]]:
    tape = Tape("TC-RES-002")
    for operation in ("profile", "balance", "orders"):
        tape.add(f"warm burst {operation}", 500 if broken else 200, broken or 60, operation=operation)
        for number in (1, 2):
            tape.add(f"load {number} {operation}", 200, each, operation=operation)
            tape.add(f"denied {number} {operation}", 401, 10, operation=operation)
    readings = [reading("before", source, 0, process_open_fds=80) for source in SOURCES]
    for number in (1, 2) if read else (1,):
        grown = {source: 80 + fills + (number * each if source == leaks else 0) for source in SOURCES}
        label = f"after {number}"
        readings += [reading(label, source, number * S, process_open_fds=grown[source]) for source in SOURCES]
    evidence = tape.evidence(preset(), ledgers=Ledgers(tuple(readings)))
    found = case_findings("TC-RES-002", evidence)
    return outcome(found), rules(found)


def test_files_that_are_closed_again_pass() -> None:
    assert files() == (Outcome.PASS, set())
    assert files(fills=90) == (Outcome.PASS, set()), "a pool fills up once; a leak goes on"


@pytest.mark.parametrize("source", SOURCES)
def test_files_that_stay_open_fail(source: str) -> None:
    assert files(leaks=source) == (Outcome.FAIL, {"res.connection_leak"})


def test_a_pool_that_breaks_requests_when_it_is_used_up_fails() -> None:
    assert files(broken=5) == (Outcome.FAIL, {"res.exhausted"})


def test_gauges_that_were_not_read_and_too_few_requests_decide_nothing() -> None:
    assert files(read=False) == (Outcome.INCONCLUSIVE, set())
    assert files(each=20) == (Outcome.INCONCLUSIVE, set())
    assert outcome(case_findings("TC-RES-002", nothing("TC-RES-002", preset()))) is Outcome.INCONCLUSIVE


def pressed(
    *, grows_mb: int = 1, busy: float = 0.02, off: int = 0, unanswered: int = 0, read: bool = True
) -> tuple[Outcome, set[str]]:
    tape = Tape("TC-RES-003")
    for number in (1, 2):
        for user in range(12):
            tape.add(f"pressure {number}", 200, 3, user=100 * number + user, operation="profile")
            tape.add(f"pressure {number}", 200, 6, user=100 * number + user, operation="deposit")
    tape.add("pressure 2", 0, unanswered, user=200, operation="deposit")
    for user in range(12):
        body = json.dumps({"balance_cents": 12_000 + (off if user == 0 else 0)}).encode()
        tape.add("balance", 200, user=300 + user, operation="balance", body=body)
    readings, mb = [], 1e6
    for place, label in enumerate(("calm", "round 1", "round 2") if read else ("calm",)):
        for source in SOURCES:
            idle = 0.02 if label == "calm" else busy
            memory = (100 + (grows_mb if label == "round 2" else 0)) * mb
            for half, seconds in (("begun", 0), ("ended", 1)):
                values = {
                    "process_resident_memory_bytes": memory,
                    "process_cpu_seconds_total": 10 + 5 * place + idle * seconds,
                }
                readings.append(reading(f"{label} {half}", source, (10 * place + seconds) * S, **values))
    found = case_findings("TC-RES-003", tape.evidence(preset(), ledgers=Ledgers(tuple(readings))))
    return outcome(found), rules(found)


def test_a_target_that_is_itself_again_passes() -> None:
    assert pressed() == (Outcome.PASS, set())
    assert pressed(unanswered=1, off=1000) == (Outcome.PASS, set()), "a deposit without an answer may be there"


def test_memory_cpu_and_money_that_do_not_come_back_fail() -> None:
    assert pressed(grows_mb=40) == (Outcome.FAIL, {"res.memory_grows"})
    assert pressed(busy=0.9) == (Outcome.FAIL, {"res.cpu_stays_busy"})
    assert pressed(off=-1000) == (Outcome.FAIL, {"res.data_lost"})
    assert pressed(off=1000) == (Outcome.FAIL, {"res.data_lost"})


def test_gauges_that_were_not_read_decide_nothing() -> None:
    assert pressed(read=False) == (Outcome.INCONCLUSIVE, set())
    assert outcome(case_findings("TC-RES-003", nothing("TC-RES-003", preset()))) is Outcome.INCONCLUSIVE


def rush(*, missing: int = 0, refused: int = 150, read_ns: int = 100 * S) -> tuple[Outcome, set[str]]:
    tape = Tape("TC-INT-008")
    tape.add("rush 1", 200, 100, together=True)
    tape.add("rush 1", 429, refused, together=True)
    entries = []
    for number, one in enumerate(one for one in tape.exchanges if one.status == 429):
        fields = {"time": "2023-11-14T22:13:22+00:00", "event": "rate_limited", "ip": one.source, "service": "gateway"}
        fields |= {"request_id": one.request_id, "outcome": "denied"}
        if number >= missing:
            entries.append(line(number + 1, json.dumps(fields), fields))
    ledgers = Ledgers(audit=tuple(entries))
    found = case_findings("TC-INT-008", tape.evidence(preset(), ledgers=ledgers, facts={READ_AT: read_ns}))
    return outcome(found), rules(found)


def test_a_rush_of_which_every_refusal_is_recorded_passes() -> None:
    assert rush() == (Outcome.PASS, set())


@pytest.mark.parametrize("missing", [1, 150])
def test_a_refusal_that_is_not_recorded_fails(missing: int) -> None:
    assert rush(missing=missing) == (Outcome.FAIL, {"audit.missing"})


def test_a_rush_that_was_none_or_a_log_read_too_early_decides_nothing() -> None:
    assert rush(refused=20) == (Outcome.INCONCLUSIVE, set())
    assert rush(missing=1, read_ns=S) == (Outcome.INCONCLUSIVE, set())
    assert outcome(case_findings("TC-INT-008", nothing("TC-INT-008", preset()))) is Outcome.INCONCLUSIVE


def test_what_is_not_declared_is_skipped() -> None:
    assert (
        why_missing("TC-RES-002", preset())
        == why_missing("TC-RES-003", preset())
        == why_missing("TC-INT-008", preset())
        == ""
    )
    assert "open_files" in why_missing("TC-RES-002", BARE)
    assert "memory" in why_missing("TC-RES-003", BARE)
    assert "rate_limit" in why_missing("TC-INT-008", BARE)

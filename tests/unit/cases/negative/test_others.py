"""TC-NEG-007, 008, 010 and TC-RL-003, 004: PASS, FAIL, INCONCLUSIVE, and SKIPPED where there is nothing to test."""

from __future__ import annotations

import json
from functools import partial

import pytest
from tests.unit.cases.tape import MS, S, Tape, case_findings, line, nothing, outcome, preset, rules, why_missing

from proofload.judge.audit import digests_of
from proofload.judge.verdict import Outcome
from proofload.plan.policies import Policies
from proofload.record.ledger import AuditEntry, Ledgers, Reading, Sample

TARGET = preset()
BARE = TARGET.model_copy(update={"policies": Policies(), "users": None})
CONTENDED = b'{"code": "LOCK_CONTENTION"}'


def strangers(*, contended: int = 0, side_by_side: bool = True) -> Tape:
    tape = Tape("TC-NEG-007")
    for policy in TARGET.policies.locks:
        for i in (1, 2):
            began = tape.at_ns
            for user in range(8):
                refused = user < contended
                status, body = (503, CONTENDED) if refused else (200, b"{}")
                tape.at_ns = began if side_by_side else tape.at_ns + S
                takes = 5 * MS if refused else 120 * MS
                tape.add(
                    f"{policy.name} at once {i}",
                    status,
                    operation=policy.operation,
                    user=user,
                    body=body,
                    takes_ns=takes,
                )
            tape.at_ns = max(tape.at_ns, began) + S
    return tape


def test_different_users() -> None:
    assert outcome(case_findings("TC-NEG-007", strangers().evidence(TARGET))) is Outcome.PASS
    assert "lock.users_contend" in rules(case_findings("TC-NEG-007", strangers(contended=7).evidence(TARGET)))
    assert outcome(case_findings("TC-NEG-007", strangers(side_by_side=False).evidence(TARGET))) is Outcome.INCONCLUSIVE
    assert outcome(case_findings("TC-NEG-007", nothing("TC-NEG-007", TARGET))) is Outcome.INCONCLUSIVE
    assert "no user lock" in why_missing("TC-NEG-007", BARE)
    assert why_missing("TC-NEG-007", TARGET) == ""


CANARY, REAL = "Canary1!0011-password", "a-real-password-of-a-user"
FACTS = {"canaries": [CANARY], "digests": list(digests_of([REAL]))}


def errors(body: bytes = b'{"code": "INVALID_CREDENTIALS"}', count: int = 6) -> Tape:
    tape = Tape("TC-NEG-008")
    tape.add("wrong password", 401, count, operation="login", body=body)
    return tape


def log(details: str = "reason") -> Ledgers:
    entries = []
    for number in range(1, 7):
        fields = {"event": "login_failed", "details": details}
        entries.append(line(number, json.dumps(fields), fields))
    return Ledgers((), tuple(entries))


@pytest.mark.parametrize("secret", [CANARY, REAL])
def test_secrets_in_errors_and_in_the_log(secret: str) -> None:
    judge = partial(case_findings, "TC-NEG-008")
    assert outcome(judge(errors().evidence(TARGET, facts=FACTS, ledgers=log()))) is Outcome.PASS
    echoed = json.dumps({"detail": [{"input": {"password": secret}}]}).encode()
    leaking = judge(errors(echoed).evidence(TARGET, facts=FACTS, ledgers=log()))
    assert rules(leaking) == {"http.secret_in_error"}
    assert secret not in repr(leaking)
    logged = judge(errors().evidence(TARGET, facts=FACTS, ledgers=log(f"tried {secret}")))
    assert rules(logged) == {"audit.secret"}
    assert secret not in repr(logged)


def test_a_log_that_is_in_loki_alone_is_looked_at_too() -> None:
    declared = TARGET.policies.audit
    assert declared is not None
    there = declared.model_copy(update={"files": (), "loki": "http://127.0.0.1:3100", "loki_query": '{job="x"}'})
    target = TARGET.model_copy(update={"policies": TARGET.policies.model_copy(update={"audit": there})})
    judge = partial(case_findings, "TC-NEG-008")
    assert rules(judge(errors().evidence(target, facts=FACTS, ledgers=log(f"tried {REAL}")))) == {"audit.secret"}
    assert outcome(judge(errors().evidence(target, facts=FACTS, ledgers=log()))) is Outcome.PASS
    # It was declared, and nothing of it was read.
    assert outcome(judge(errors().evidence(target, facts=FACTS))) is Outcome.INCONCLUSIVE


def test_secrets_not_looked_for_are_no_pass() -> None:
    judge = partial(case_findings, "TC-NEG-008")
    assert outcome(judge(errors(count=2).evidence(TARGET, facts=FACTS, ledgers=log()))) is Outcome.INCONCLUSIVE
    assert outcome(judge(errors().evidence(TARGET, facts=FACTS, ledgers=Ledgers()))) is Outcome.INCONCLUSIVE
    unread = Ledgers((), (), {"audit.error": "gone"})
    assert outcome(judge(errors().evidence(TARGET, facts=FACTS, ledgers=unread))) is Outcome.INCONCLUSIVE
    assert outcome(judge(nothing("TC-NEG-008", TARGET, ledgers=log()))) is Outcome.INCONCLUSIVE
    assert "no log-in" in why_missing("TC-NEG-008", BARE)
    assert why_missing("TC-NEG-008", TARGET) == ""


READ_NS = 100 * S
LOGIN, PROFILE = ("/api/v1/auth/login", "POST"), ("/api/v1/auth/profile", "GET")


def served() -> Tape:
    tape = Tape("TC-NEG-010", 10 * S)
    for user in range(5):
        for i in range(6):
            tape.add("log in", 200, operation="login", user=user, source="127.64.0.9", request_id=f"in-{user}-{i}")
        tape.add("read", 200, 20, operation="profile", user=user + 10)
    return tape


def books(*, lost_counts: int = 0, lost_events: int = 0) -> Ledgers:
    def reading(label: str, at_ns: int, logins: int, reads: int) -> Reading:
        samples = tuple(
            Sample(
                "http_requests_total", {"service": "gateway", "route": route, "method": method, "status": "200"}, value
            )
            for (route, method), value in ((LOGIN, logins), (PROFILE, reads))
        )
        return Reading("gateway", label, at_ns, at_ns + MS, samples)

    entries: list[AuditEntry] = []
    for number in range(30 - lost_events):
        user, i = divmod(number, 6)
        fields = {"time": "2023-11-14T22:13:30.5Z", "event": "login_succeeded", "user": f"u{user}", "ip": "127.64.0.9"}
        fields |= {"request_id": f"in-{user}-{i}", "service": "auth", "outcome": "success"}
        entries.append(line(number + 1, json.dumps(fields), fields))
    readings = (reading("before", 9 * S, 100, 100), reading("after", READ_NS, 130 - lost_counts, 200))
    return Ledgers(readings, tuple(entries))


def test_whoever_is_served_is_in_the_books() -> None:
    facts = {"names": [f"u{i}" for i in range(5)]}

    def judged(**lost: int) -> list[object]:
        return list(case_findings("TC-NEG-010", served().evidence(TARGET, facts=facts, ledgers=books(**lost))))

    assert outcome(judged()) is Outcome.PASS  # type: ignore[arg-type]
    assert rules(judged(lost_counts=5)) == {"mon.missing"}  # type: ignore[arg-type]
    assert rules(judged(lost_events=1)) == {"audit.missing"}  # type: ignore[arg-type]
    assert (
        outcome(case_findings("TC-NEG-010", nothing("TC-NEG-010", TARGET, ledgers=Ledgers()))) is Outcome.INCONCLUSIVE
    )
    assert "no metrics page" in why_missing("TC-NEG-010", BARE)
    assert why_missing("TC-NEG-010", TARGET) == ""


def own(*, admitted: int = 90, elsewhere: int = 200, sent: int = 95) -> Tape:
    tape = Tape("TC-RL-003")
    name = "user service"
    for step, source in (("own", "127.64.0.1"), ("burst", "127.64.0.2")):
        tape.add(f"{name} {step}", 200, min(admitted, sent), operation="balance", source=source)
        tape.add(f"{name} {step}", 429, max(0, sent - admitted), operation="balance", source=source)
        if step == "own":
            tape.add(f"{name} elsewhere", elsewhere, 3, operation="profile", source=source)
    tape.add(f"{name} quiet", 200, 3, operation="balance", source="127.64.0.3")
    return tape


def test_a_services_own_limit() -> None:
    assert outcome(case_findings("TC-RL-003", own().evidence(TARGET))) is Outcome.PASS
    assert "rl.over_admission" in rules(case_findings("TC-RL-003", own(admitted=95).evidence(TARGET)))
    assert "rl.wrongful_rejection" in rules(case_findings("TC-RL-003", own(admitted=89).evidence(TARGET)))
    assert rules(case_findings("TC-RL-003", own(elsewhere=429).evidence(TARGET))) == {"rl.service_limit_leaks"}
    assert outcome(case_findings("TC-RL-003", own(sent=40).evidence(TARGET))) is Outcome.INCONCLUSIVE
    limits = TARGET.policies.rate_limit
    only_gateway = TARGET.model_copy(update={"policies": Policies(rate_limit=limits[:1])})
    as_high = limits[1].model_copy(update={"limit": 100})
    never_met = TARGET.model_copy(update={"policies": Policies(rate_limit=(limits[0], as_high))})
    assert "no limit of a single service" in why_missing("TC-RL-003", only_gateway)
    assert "never met first" in why_missing("TC-RL-003", never_met)
    assert why_missing("TC-RL-003", TARGET) == ""


def crowd(*, admitted: int = 100, greedy: int = 6, quiet: int = 200) -> Tape:
    tape = Tape("TC-RL-004")
    for i in range(greedy):
        tape.add("greedy", 200, admitted, source=f"127.64.1.{i}", user=i)
        tape.add("greedy", 429, 105 - admitted, source=f"127.64.1.{i}", user=i)
    for i in range(3):
        tape.add("quiet", quiet, 50, source=f"127.64.2.{i}", user=10 + i)
    return tape


def test_clients_in_parallel() -> None:
    assert outcome(case_findings("TC-RL-004", crowd().evidence(TARGET))) is Outcome.PASS
    assert "rl.over_admission" in rules(case_findings("TC-RL-004", crowd(admitted=101).evidence(TARGET)))
    assert "rl.key_leak" in rules(case_findings("TC-RL-004", crowd(quiet=429).evidence(TARGET)))
    assert outcome(case_findings("TC-RL-004", crowd(greedy=2).evidence(TARGET))) is Outcome.INCONCLUSIVE
    assert "no rate limit" in why_missing("TC-RL-004", BARE)

"""TC-AUDIT-001 on logs made by hand: every declared event, brought about and told; and what could not be tried."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.cases.tape import Ledgers, S, Tape, case_findings, line, outcome, preset, rules

from proofload.cases.metrics_and_audit import DIGESTS, READ_AT, wrong_password
from proofload.cases.reads import guarded
from proofload.judge.audit import digests_of
from proofload.judge.verdict import Finding, Outcome
from proofload.plan.operation import Operation
from proofload.plan.target import Target

TARGET = preset()
USERS = tuple(f"load_test_user_{n}" for n in range(5))
PASSWORD = "s3cretWord-aA1!"
FACTS = {
    "names": {"login failed": list(USERS), "login": list(USERS)},
    "canaries": ["canary-77-password"],
    DIGESTS: list(digests_of([PASSWORD])),
    READ_AT: 100 * S,
}
STEPS = (
    ("login", "login_succeeded", 200, 4),
    ("login failed", "login_failed", 401, 12),
    ("access denied", "access_denied", 401, 12),
    ("limited", "rate_limited", 429, 20),
)


def changed(**audit: Any) -> Target:
    policy = TARGET.policies.audit
    assert policy is not None
    policies = TARGET.policies.model_copy(update={"audit": policy.model_copy(update=audit)})
    return TARGET.model_copy(update={"policies": policies})


def captured(
    target: Target = TARGET,
    *,
    statuses: dict[str, int] | None = None,
    lost: int = 0,
    given_ids: str = "",
    details: str = "ok",
) -> list[Finding]:
    tape, entries = Tape("TC-AUDIT-001"), []
    for step, event, usual, count in STEPS:
        status = (statuses or {}).get(step, usual)
        for user in range(5):
            for _ in range(count):
                number = len(tape.exchanges)
                tape.add(step, status, operation="login", user=user + 1)
                named = USERS[user] if step.startswith("login") else ""
                fields: dict[str, object] = {"time": f"2023-11-14T22:13:{20 + tape.at_ns // S:02}Z", "event": event}
                fields |= {"user": named, "ip": "127.64.0.1", "service": "auth", "outcome": "x", "details": details}
                fields |= {"request_id": f"{given_ids}{number * 7919:x}" if given_ids else f"r{number}"}
                if status == usual and number >= lost:
                    entries.append(line(len(entries) + 1, json.dumps(fields), fields))
    return case_findings("TC-AUDIT-001", tape.evidence(target, facts=FACTS, ledgers=Ledgers(audit=tuple(entries))))


def unsure(found: list[Finding]) -> dict[str, str]:
    return {one.rule: one.says for one in found if one.outcome is Outcome.INCONCLUSIVE}


def test_a_log_that_holds_every_event_passes_and_one_that_lacks_one_fails() -> None:
    assert outcome(captured()) is Outcome.PASS
    assert rules(captured(lost=1)) == {"audit.missing"}


def test_a_log_in_answered_422_is_no_failed_log_in_and_that_is_said() -> None:
    told = unsure(captured(statuses={"login failed": 422}))
    assert told.keys() == {"audit.untried"}
    assert "login_failed 0 times" in told["audit.untried"]
    assert "answered 60 × 422, expected 401 or 403" in told["audit.untried"]


def test_each_declared_event_that_nothing_brings_about_is_named_with_what_is_lacking() -> None:
    operations = {name: one.model_copy(update={"auth": "none"}) for name, one in TARGET.operations.items()}
    without_guard = TARGET.model_copy(update={"operations": operations})
    told = unsure(captured(without_guard, statuses={"access denied": 200}))
    assert "no operation that needs a token is declared" in told["audit.untried"]
    policy = TARGET.policies.audit
    assert policy is not None
    told = unsure(captured(changed(events={**policy.events, "password_changed": "password_changed"})))
    assert "password_changed: nothing declared brings it about" in told["audit.untried"]
    # What other cases bring about is theirs to tell.
    assert "order_created" not in told["audit.untried"]
    assert "circuit_opened" not in told["audit.untried"]


def test_ids_that_match_nothing_are_told_and_a_real_password_is_found_though_it_is_not_kept() -> None:
    assert "audit.request_id" in unsure(captured(given_ids="gw-"))
    assert rules(captured(changed(request_ids="ours"), given_ids="gw-")) == {"audit.request_id"}
    leaking = captured(details=f"tried {PASSWORD} again")
    assert rules(leaking) == {"audit.secret"}
    assert PASSWORD not in repr(leaking)


@given(st.text("abzXYZ019-_aA1!", min_size=1, max_size=20))
def test_a_wrong_password_keeps_every_rule_of_the_right_one(password: str) -> None:
    wrong = wrong_password(password)
    assert wrong != password
    if any(sign.isalnum() for sign in password):
        kinds = [(sign.islower(), sign.isupper(), sign.isdigit()) for sign in password]
        assert [(sign.islower(), sign.isupper(), sign.isdigit()) for sign in wrong] == kinds
        assert sum(one != other for one, other in zip(password, wrong, strict=True)) == 1


def test_what_needs_a_token_is_a_read_where_there_is_one_and_anything_without_fields_otherwise() -> None:
    assert guarded(TARGET) == "balance"

    def only(**operations: dict[str, Any]) -> str | None:
        made = {name: Operation(name=name, **more) for name, more in operations.items()}
        return guarded(TARGET.model_copy(update={"operations": made}))

    open_field = {"path": "/u/${user.name}", "auth": "bearer"}
    pay = {"path": "/pay", "method": "POST", "auth": "bearer", "effect": "lasting", "json": {"amount": 1}}
    assert only(a=open_field, pay=pay) == "pay"
    assert only(pay=pay, z={"path": "/z", "method": "POST", "auth": "bearer"}) == "z"
    assert only(a=open_field, free={"path": "/free"}) is None


@pytest.mark.parametrize(
    ("case", "step", "event", "status", "operation"),
    [
        ("TC-AUDIT-004", "denied", "access_denied", 401, "balance"),
        ("TC-INT-008", "rush 1", "rate_limited", 429, "profile"),
        ("TC-NEG-010", "log in", "login_succeeded", 200, "login"),
        ("TC-INT-002", "one by one", "rate_limited", 429, "profile"),
    ],
)
def test_every_case_that_reads_the_log_tells_a_secret_in_it_and_ids_that_match_nothing(
    case: str, step: str, event: str, status: int, operation: str
) -> None:
    def judged(details: str = "", prefix: str = "r", **audit: Any) -> list[Finding]:
        tape = Tape(case)
        tape.add(step, status, 150, operation=operation)
        entries = []
        for number in range(150):
            fields = {"event": event, "request_id": f"{prefix}{number}", "ip": "127.64.0.1", "details": details}
            entries.append(line(number + 1, json.dumps(fields), fields))
        evidence = tape.evidence(changed(**audit), facts={**FACTS, "names": []}, ledgers=Ledgers(audit=tuple(entries)))
        return [one for one in case_findings(case, evidence) if one.rule.startswith("audit.")]

    assert not rules(judged())
    assert "audit.secret" in rules(judged(details=f"tried {PASSWORD}"))
    assert rules(judged(prefix="gw-", request_ids="ours")) == {"audit.request_id"}

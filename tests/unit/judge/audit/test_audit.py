"""The audit judge: each defect of a log is named by its own rule, and an honest log passes them all."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from proofload.core.clock import Anchor
from proofload.judge.audit import AuditEvidence, ExpectedEvent, Forgery, expect, judge_audit
from proofload.judge.verdict import Finding, Outcome
from proofload.plan.policies import AuditPolicy
from proofload.record.exchange import Ending, Exchange, Fault
from proofload.record.history import History
from proofload.record.ledger import AuditEntry, Ledgers

S = 1_000_000_000
ANCHOR = Anchor(0, 1_700_000_000 * S, 0)
EVIDENCE = AuditEvidence(read_ns=100 * S, anchor=ANCHOR, secrets=("Passw0rd!x", "tok/en+value"))
POLICY = AuditPolicy(events={"login_failed": "auth.login.failure"}, fields={"request_id": "rid"})
COUNT = 20


def history() -> History:
    made = []
    for n in range(COUNT):
        times = (n * S, n * S, n * S + 5, n * S + 10)
        made.append(
            Exchange(0, "w", "login", n, "127.0.0.9", 1, *times, Ending.ANSWERED, Fault.NONE, 401, 1, 1, f"r{n}")
        )
    return History.of(made)


def expected() -> list[ExpectedEvent]:
    users = {n: f"load_test_user_{n}" for n in range(COUNT)}
    return expect(history(), range(COUNT), "login_failed", users=users, ip=True)


def entry(n: int, **changed: object) -> AuditEntry:
    fields: dict[str, object] = {
        "time": ANCHOR.to_wall_ns(n * S + 5) / 1e9,
        "event": "auth.login.failure",
        "user": f"load_test_user_{n}",
        "ip": "127.0.0.9",
        "rid": f"r{n}",
        "service": "auth",
        **changed,
    }
    return AuditEntry("audit.log", n + 1, json.dumps(fields), fields, 50 * S)


def honest() -> list[AuditEntry]:
    return [entry(n) for n in range(COUNT)]


def judge(entries: list[AuditEntry], **more: object) -> dict[str, Finding]:
    wanted = more.pop("expected", None) or expected()
    evidence = more.pop("evidence", EVIDENCE)
    found = judge_audit(POLICY, Ledgers(audit=tuple(entries)), wanted, evidence, **more)  # type: ignore[arg-type]
    return {one.rule: one for one in found}


def failed(found: dict[str, Finding]) -> set[str]:
    return {rule for rule, one in found.items() if one.outcome is Outcome.FAIL}


def test_an_honest_log_passes_every_rule() -> None:
    found = judge(honest(), needed=COUNT)
    assert {one.outcome for one in found.values()} <= {Outcome.PASS, Outcome.SKIPPED}
    assert found["audit.missing"].examined == COUNT


def broken_line(entries: list[AuditEntry]) -> list[AuditEntry]:
    entries.insert(3, AuditEntry("audit.log", 4, '{"time": 1, "eve{"time": 2}', None, 50 * S))
    return entries


def swapped(entries: list[AuditEntry]) -> list[AuditEntry]:
    return [replace(one, line=COUNT - one.line) for one in entries]


def replaced(n: int, **changed: object) -> Callable[[list[AuditEntry]], list[AuditEntry]]:
    def change(entries: list[AuditEntry]) -> list[AuditEntry]:
        return [*entries[:n], entry(n, **changed), *entries[n + 1 :]]

    return change


DEFECTS: dict[str, Callable[[list[AuditEntry]], list[AuditEntry]]] = {
    "audit.missing": lambda entries: entries[:7] + entries[8:],
    "audit.duplicated": lambda entries: [*entries, replace(entries[3], line=99)],
    "audit.field_missing": replaced(4, ip=""),
    "audit.wrong_user": replaced(4, user="load_test_user_5"),
    "audit.wrong_ip": replaced(4, ip="10.0.0.1"),
    "audit.broken_line": broken_line,
    "audit.order": swapped,
    "audit.wrong_time": replaced(4, time="2023-11-14T23:13:24"),
    # Read at 30 s and at 90 s: what came with the second reading was not there at the first.
    "audit.late": lambda entries: [replace(one, read_ns=(30 if n < 10 else 90) * S) for n, one in enumerate(entries)],
}


@pytest.mark.parametrize("rule", DEFECTS)
def test_each_defect_is_named_by_its_own_rule(rule: str) -> None:
    entries = DEFECTS[rule](honest())
    assert failed(judge(entries)) == {rule}


@pytest.mark.parametrize(
    "leak",
    [
        {"details": "got Passw0rd!x"},
        {"password": "anything"},
        {"details": {"password": "anything"}},
        {"details": "tok%2Fen%2Bvalue"},
        {"details": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.SflKxwRJSMeKKF2QT4"},
    ],
)
def test_a_secret_is_found_in_any_form_and_never_shown(leak: dict[str, object]) -> None:
    found = judge(replaced(4, **leak)(honest()))
    assert failed(found) == {"audit.secret"}
    told = " ".join(line for one in found.values() for line in (*one.shown, one.says))
    assert not any(text in told for text in ("Passw0rd!x", "anything", "tok%2Fen", "SflKxw"))


def test_a_masked_secret_is_none() -> None:
    assert failed(judge(replaced(4, password="***", details={"secret": "[REDACTED]"})(honest()))) == set()


def test_a_forged_line_is_told_from_an_escaped_one() -> None:
    evidence = replace(EVIDENCE, forgeries=(Forgery("head41", "tail41"),))
    escaped = replaced(4, details='head41\n{"event": "tail41"}')(honest())
    assert failed(judge(escaped, evidence=evidence)) == set()
    forged = [*honest(), AuditEntry("audit.log", 31, '{"event": "tail41"}', {"event": "tail41"}, 50 * S)]
    assert failed(judge(forged, evidence=evidence)) == {"audit.forged"}
    carriage = honest()
    carriage[2] = replace(carriage[2], text=carriage[2].text.replace("auth", "au\rth"))
    assert failed(judge(carriage)) == {"audit.forged"}


def test_what_may_still_come_or_may_not_have_happened_is_not_missing() -> None:
    early = replace(EVIDENCE, read_ns=20 * S)
    assert judge(honest()[:-1], evidence=early)["audit.missing"].outcome is Outcome.INCONCLUSIVE
    unanswered = [replace(one, certain=one.row != 7) for one in expected()]
    assert failed(judge(honest()[:7] + honest()[8:], expected=unanswered)) == set()
    last = AuditEntry("audit.log", COUNT + 1, '{"time": 17', None, 50 * S)
    assert judge([*honest(), last])["audit.broken_line"].outcome is Outcome.INCONCLUSIVE


def test_an_unreadable_or_untried_log_is_inconclusive() -> None:
    found = judge_audit(POLICY, Ledgers(facts={"audit.error": "no such file"}), expected(), EVIDENCE)
    assert [one.outcome for one in found] == [Outcome.INCONCLUSIVE]
    assert judge_audit(POLICY, Ledgers(audit=tuple(honest())), [], EVIDENCE)[0].outcome is Outcome.INCONCLUSIVE


def test_entries_without_a_request_id_are_matched_by_event_and_user() -> None:
    assert failed(judge([entry(n, rid="") for n in range(COUNT)])) == {"audit.field_missing"}


def test_an_event_that_the_answer_contradicts_and_an_id_used_twice() -> None:
    wrong = [replace(one, event="login_ok") for one in expected()[:2]]
    told = [*honest(), replace(entry(1, event="login_ok"), line=40)]
    assert failed(judge(told, forbidden=wrong)) == {"audit.phantom"}
    shared = [replace(one, request_id="r3") if one.row == 4 else one for one in expected()]
    assert "audit.request_id_reused" in failed(judge(honest(), expected=shared))


def test_two_services_may_tell_of_one_event_each() -> None:
    assert (
        failed(judge([*honest(), *(replace(entry(n, service="gateway"), source="g.log") for n in range(COUNT))]))
        == set()
    )

"""Entries under ids that are not ours, and users, addresses and times in the target's own spelling."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofload.core.clock import Anchor
from proofload.judge.audit import AuditEvidence, ExpectedEvent, digests_of, expect, judge_audit, secrets_in
from proofload.judge.audit.envelopes import decode
from proofload.judge.audit.fields import parse_address
from proofload.judge.audit.secrets import forms_of
from proofload.judge.verdict import Finding, Outcome
from proofload.plan.policies import AuditPolicy
from proofload.record.exchange import Ending, Exchange, Fault
from proofload.record.history import History
from proofload.record.ledger import AuditEntry, Ledgers

S = 1_000_000_000
MS = 1_000_000
COUNT = 20
USERS = 4
ANCHOR = Anchor(0, 1_700_000_000 * S, 0)
EVIDENCE = AuditEvidence(read_ns=100 * S, anchor=ANCHOR)
Change = Callable[[int], dict[str, object]]


def expected() -> list[ExpectedEvent]:
    return [
        ExpectedEvent(
            n, "login_failed", f"run-{n}", n * S, n * S + 10 * MS, f"user{n % USERS}", f"127.0.0.{n % USERS + 1}"
        )
        for n in range(COUNT)
    ]


def entries(change: Change = lambda n: {}, order: list[int] | None = None) -> list[AuditEntry]:
    made = []
    for place, n in enumerate(order if order is not None else range(COUNT), 1):
        fields: dict[str, object] = {
            "time": ANCHOR.to_wall_ns(n * S + 5 * MS) / 1e9,
            "event": "login_failed",
            "user": f"user{n % USERS}",
            "ip": f"127.0.0.{n % USERS + 1}",
            "request_id": f"run-{n}",
            **change(n),
        }
        made.append(AuditEntry("audit.log", place, json.dumps(fields), fields, 50 * S))
    return made


def judge(
    found: list[AuditEntry],
    policy: AuditPolicy | None = None,
    wanted: list[ExpectedEvent] | None = None,
    **more: object,
) -> dict[str, Finding]:
    policy = policy or AuditPolicy(events={"login_failed": "login_failed"})
    findings = judge_audit(policy, Ledgers(audit=tuple(found)), wanted or expected(), EVIDENCE, **more)  # type: ignore[arg-type]
    return {one.rule: one for one in findings}


def outcomes(found: dict[str, Finding], outcome: Outcome) -> set[str]:
    return {rule for rule, one in found.items() if one.outcome is outcome}


def failed(found: dict[str, Finding]) -> set[str]:
    return outcomes(found, Outcome.FAIL)


def unsure(found: dict[str, Finding]) -> set[str]:
    return outcomes(found, Outcome.INCONCLUSIVE)


def overwritten(n: int) -> dict[str, object]:
    return {"request_id": f"gw-{n:08x}"}


OTHER_NAMES: dict[str, Change] = {
    "the same name": overwritten,
    "e-mail": lambda n: {**overwritten(n), "user": f"user{n % USERS}@example.com"},
    "an id for each user": lambda n: {**overwritten(n), "user": 1000 + n % USERS},
    "no user": lambda n: {**overwritten(n), "user": ""},
    "no user and no address": lambda n: {**overwritten(n), "user": None, "ip": None},
    "one trace id for all": lambda n: {"request_id": "trace-1"},
}


@pytest.mark.parametrize("kind", OTHER_NAMES)
def test_entries_under_other_ids_are_not_missing_and_their_loss_is(kind: str) -> None:
    policy = AuditPolicy(events={"login_failed": "login_failed"}, required_fields=("event",))
    written = entries(OTHER_NAMES[kind])
    found = judge(written, policy)
    assert failed(found) == set()
    assert unsure(found) >= {"audit.request_id"}
    assert found["audit.missing"].outcome is Outcome.PASS
    fewer = judge(written[:7] + written[9:], policy)
    assert failed(fewer) == {"audit.missing"}
    assert fewer["audit.missing"].figures["missing"] == 2
    assert fewer["audit.missing"].rows == (7, 8)


def test_whose_ids_are_promised_is_declared() -> None:
    for promise, outcome in (("ours", Outcome.FAIL), ("theirs", Outcome.PASS), (None, Outcome.INCONCLUSIVE)):
        policy = AuditPolicy(events={"login_failed": "login_failed"}, request_ids=promise)  # type: ignore[arg-type]
        found = judge(entries(overwritten), policy)
        assert found["audit.request_id"].outcome is outcome
        assert unsure(found) == ({"audit.request_id"} if promise is None else set())
        assert judge(entries(), policy)["audit.request_id"].outcome is Outcome.PASS


def test_events_of_others_do_not_stand_in_for_ours() -> None:
    # Strangers leave the same event, while one of ours is missing: by its id, or by the names.
    strange = entries(lambda n: {"request_id": f"other-{n}", "user": f"stranger{n}", "ip": "10.0.0.1"})
    assert failed(judge([*entries()[1:], *strange])) == {"audit.missing"}
    assert failed(judge([*entries(overwritten)[1:], *strange])) == {"audit.missing"}


def test_one_entry_under_another_id_among_many_of_ours_leaves_a_doubt() -> None:
    found = judge(entries(lambda n: overwritten(n) if n == 7 else {}))
    assert failed(found) == set()
    assert found["audit.missing"].outcome is Outcome.INCONCLUSIVE
    by_id = judge(entries(lambda n: {"user": 70 + n % USERS, **(overwritten(n) if n == 7 else {})}))
    assert by_id["audit.missing"].outcome is Outcome.INCONCLUSIVE
    assert failed(judge(entries(lambda n: overwritten(n) if n == 7 else {}, [n for n in range(COUNT) if n != 3]))) == {
        "audit.missing"
    }


def test_one_event_told_twice_under_one_id_of_the_target_is_duplicated() -> None:
    written = entries(overwritten)
    assert failed(judge([*written, written[3]])) == {"audit.duplicated"}
    two = [*written, *entries(lambda n: {**overwritten(n), "service": "auth"})]
    assert failed(judge(two)) == set()


def test_a_wrong_user_is_seen_under_other_ids_too() -> None:
    def swapped(n: int) -> dict[str, object]:
        return {**overwritten(n), **({"user": "user1", "ip": "127.0.0.2"} if n == 4 else {})}

    assert failed(judge(entries(swapped))) == {"audit.wrong_user"}


def test_an_answer_that_tells_its_own_id_may_be_logged_under_either() -> None:
    made = []
    for n in range(COUNT):
        times = (n * S, n * S, n * S + 5, n * S + 10)
        rest = (Ending.ANSWERED, Fault.NONE, 401, 1, 1, f"ours-{n}")
        made.append(Exchange(0, "w", "login", 1, "127.0.0.1", 1, *times, *rest, {"x-request-id": f"theirs-{n}"}))
    wanted = expect(History.of(made), range(COUNT), "login_failed")
    for whose in ("ours", "theirs"):
        written = entries(lambda n, whose=whose: {"request_id": f"{whose}-{n}"})  # type: ignore[misc]
        assert failed(judge(written, wanted=wanted)) == set()
        assert len(judge(written, wanted=wanted)["audit.request_id"].rows) == 0
        assert failed(judge(written[1:], wanted=wanted)) == {"audit.missing"}


def test_what_an_answer_contradicts_can_not_be_found_under_other_ids() -> None:
    forbidden = [ExpectedEvent(0, "login_ok", "run-0", 0, 10)]
    policy = AuditPolicy(events={"login_failed": "login_failed", "login_ok": "login_ok"})
    assert judge(entries(overwritten), policy, forbidden=forbidden)["audit.phantom"].outcome is Outcome.INCONCLUSIVE
    assert judge(entries(), policy, forbidden=forbidden)["audit.phantom"].outcome is Outcome.PASS
    told = [*entries(), *entries(lambda n: {"event": "login_ok"}, [0])]
    assert failed(judge(told, policy, forbidden=forbidden)) == {"audit.phantom"}


NAMES: dict[str, tuple[Change, Outcome]] = {
    "e-mail": (lambda n: {"user": f"user{n % USERS}@example.com"}, Outcome.PASS),
    "other case": (lambda n: {"user": f"USER{n % USERS}"}, Outcome.PASS),
    "domain": (lambda n: {"user": f"CORP\\user{n % USERS}"}, Outcome.PASS),
    "stable ids": (lambda n: {"user": 70 + n % USERS}, Outcome.PASS),
    "one id for two users": (lambda n: {"user": 70 + n % USERS // 2}, Outcome.FAIL),
    "one id for all": (lambda n: {"user": "anonymous"}, Outcome.FAIL),
    "one stray id": (lambda n: {"user": 70 + (n % USERS if n != 6 else 0)}, Outcome.FAIL),
    "one wrong e-mail": (lambda n: {"user": f"user{n % USERS if n != 6 else 0}@example.com"}, Outcome.FAIL),
    "another id each time": (lambda n: {"user": f"session-{n}"}, Outcome.INCONCLUSIVE),
}


@pytest.mark.parametrize("kind", NAMES)
def test_users_may_go_by_any_one_name_of_the_target(kind: str) -> None:
    change, outcome = NAMES[kind]
    found = judge(entries(change))
    assert found["audit.wrong_user"].outcome is outcome
    assert failed(found) == ({"audit.wrong_user"} if outcome is Outcome.FAIL else set())


def test_one_user_with_another_id_is_not_enough_to_tell() -> None:
    wanted = [one for one in expected() if one.user == "user1"]
    assert judge(entries(lambda n: {"user": "u-77"}), wanted=wanted)["audit.wrong_user"].outcome is Outcome.INCONCLUSIVE
    ours = [replace(one, user="load_test_1") for one in wanted]
    assert failed(judge(entries(lambda n: {"user": "load_test_2"}), wanted=ours)) == {"audit.wrong_user"}


def test_a_declared_form_of_names_is_the_only_right_one() -> None:
    policy = AuditPolicy(events={"login_failed": "login_failed"}, user_format="${user.name}@example.com")
    assert failed(judge(entries(lambda n: {"user": f"user{n % USERS}@example.com"}), policy)) == set()
    assert failed(judge(entries(), policy)) == {"audit.wrong_user"}


def test_wrong_users_of_one_event_are_not_hidden_by_ids_in_another() -> None:
    policy = AuditPolicy(events={"login_failed": "login_failed", "login_ok": "login_ok"})
    more = [ExpectedEvent(n, "login_ok", f"run-{n}", n * S, n * S + 10 * MS, f"user{n % USERS}") for n in range(COUNT)]
    ids = entries(lambda n: {"event": "login_ok", "user": 70 + n % USERS, "service": "users"})
    assert failed(judge([*entries(), *ids], policy, [*expected(), *more])) == set()
    wrong = entries(lambda n: {"user": "user0"} if n == 6 else {})
    assert failed(judge([*wrong, *ids], policy, [*expected(), *more])) == {"audit.wrong_user"}


@pytest.mark.parametrize(
    ("form", "outcome"),
    [
        ("::ffff:{}", Outcome.PASS),
        ("{}:5432", Outcome.PASS),
        ("{}, 10.0.0.1", Outcome.PASS),
        ("/{}:99", Outcome.PASS),
        ("for={};proto=http", Outcome.PASS),
        ("0:0:0:0:0:ffff:{}", Outcome.PASS),
        ("[::ffff:{}]:80", Outcome.PASS),
        ("10.0.0.7", Outcome.FAIL),
        ("10.0.0.7, {}", Outcome.FAIL),
        ("sha256:ab12", Outcome.INCONCLUSIVE),
    ],
)
def test_addresses_are_compared_as_addresses(form: str, outcome: Outcome) -> None:
    found = judge(entries(lambda n: {"ip": form.format(f"127.0.0.{n % USERS + 1}")}))
    assert found["audit.wrong_ip"].outcome is outcome
    assert failed(found) == ({"audit.wrong_ip"} if outcome is Outcome.FAIL else set())


def test_an_ipv6_address_has_many_spellings() -> None:
    assert len({parse_address(text) for text in ("2001:db8::1", "2001:0DB8:0:0:0:0:0:1", "[2001:db8::1]:443")}) == 1
    assert parse_address("fe80::1%eth0") == parse_address("fe80::1")
    assert parse_address("2001:db8::2") != parse_address("2001:db8::1")
    assert [parse_address(text) for text in (None, "", "-", "localhost", "1.2.3", "12345")] == [None] * 6


TIMES: dict[str, Callable[[int], object]] = {
    "seconds": lambda ns: ns / 1e9,
    "whole seconds": lambda ns: ns // S,
    "milliseconds": lambda ns: ns // MS,
    "microseconds": lambda ns: ns // 1_000,
    "nanoseconds": lambda ns: ns,
    "quoted seconds": lambda ns: f"{ns / 1e9:.3f}",
    "quoted milliseconds": lambda ns: str(ns // MS),
    "UTC with Z": lambda ns: f"2023-11-14T22:{13 + (20 + ns // S % 100) // 60}:{(20 + ns // S % 100) % 60:02}.005Z",
    "UTC without a zone": lambda ns: (
        f"2023-11-14 22:{13 + (20 + ns // S % 100) // 60}:{(20 + ns // S % 100) % 60:02},005"
    ),
    "with a zone": lambda ns: f"2023-11-15T03:{43 + (20 + ns // S % 100) // 60}:{(20 + ns // S % 100) % 60:02}+05:30",
    "web server": lambda ns: f"14/Nov/2023:22:{13 + (20 + ns // S % 100) // 60}:{(20 + ns // S % 100) % 60:02} +0000",
}


@pytest.mark.parametrize("kind", TIMES)
def test_times_are_read_in_the_usual_forms(kind: str) -> None:
    found = judge(entries(lambda n: {"time": TIMES[kind](ANCHOR.to_wall_ns(n * S + 5 * MS))}))
    assert failed(found) == set()
    assert found["audit.wrong_time"].outcome is Outcome.PASS
    assert found["audit.wrong_time"].examined == COUNT


@pytest.mark.parametrize(
    "time", ["soon", float("nan"), float("inf"), True, "", [], {}, "99999999999999999999999999", -5]
)
def test_what_is_no_time_is_not_compared(time: object) -> None:
    assert "audit.times_reversed" not in failed(judge(entries(lambda n: {"time": time})))


def at(ns: int) -> dict[str, object]:
    return {"time": ANCHOR.to_wall_ns(ns) / 1e9}


def test_reversed_times_of_requests_well_apart_are_proof() -> None:
    found = judge(entries(lambda n: at((n ^ 1) * S + 5 * MS)))
    assert failed(found) == {"audit.times_reversed"}
    assert found["audit.times_reversed"].rows[:2] == (0, 1)
    # A clock that is off for all is no matter here, and neither are whole seconds.
    assert failed(judge(entries(lambda n: at(n * S + 60 * S)))) == set()
    assert failed(judge(entries(lambda n: at(n * S)))) == set()
    # Two services, each with its own clock.
    two = entries(lambda n: {**at(n * S + (n % 2) * 5 * S), "service": f"s{n % 2}"})
    assert "audit.times_reversed" not in failed(judge(two))
    assert judge(entries(order=[0]), wanted=expected()[:1])["audit.times_reversed"].outcome is Outcome.INCONCLUSIVE


def test_requests_that_are_close_may_bear_their_times_in_any_order() -> None:
    close = [
        ExpectedEvent(n, "login_failed", f"run-{n}", n * 50 * MS, n * 50 * MS + 10 * MS, f"user{n % USERS}")
        for n in range(COUNT)
    ]
    found = judge(entries(lambda n: at((n ^ 1) * 50 * MS + 5 * MS)), wanted=close)
    assert failed(found) == set()
    assert found["audit.times_reversed"].outcome is Outcome.PASS


def test_times_of_a_flush_are_told_from_a_clock_that_is_off() -> None:
    flushed = judge(entries(lambda n: at((n // 5 * 5 + 5) * S)))
    assert failed(flushed) == {"audit.time_of_flush"}
    # One entry that came late, and a clock that is off for all, are none.
    assert failed(judge(entries(lambda n: at(n * S + (3 * S if n == COUNT - 1 else 0))))) == set()
    assert failed(judge(entries(lambda n: at(n * S + 4 * S)))) == set()
    assert judge(entries(order=[0]), wanted=expected()[:1])["audit.time_of_flush"].outcome is Outcome.INCONCLUSIVE


def test_each_declared_event_needs_its_own_minimum() -> None:
    policy = AuditPolicy(events={"login_failed": "login_failed", "access_denied": "denied"})
    found = judge(entries(), policy, each=5)
    assert unsure(found) == {"audit.untried"}
    assert "access_denied 0 times" in found["audit.untried"].says
    assert judge(entries(), each=5)["audit.untried"].outcome is Outcome.PASS
    assert judge(entries(), each=COUNT + 1)["audit.untried"].outcome is Outcome.INCONCLUSIVE
    assert "audit.untried" not in judge(entries(), policy)


def test_secrets_are_found_by_their_digests_and_never_kept_or_shown() -> None:
    token = "opaque/TOKEN+0123456789"
    digests = digests_of([token, "short"])
    assert not any(token in one for one in digests)
    leaks = (f"Bearer {token}", "got opaque%2FTOKEN%2B0123456789.", "x" + token + "y")
    for leak in leaks:
        written = entries(lambda n, leak=leak: {"details": leak} if n == 3 else {})  # type: ignore[misc]
        assert secrets_in(written, digests) == [written[3]]
        evidence = AuditEvidence(100 * S, ANCHOR, digests=digests)
        policy = AuditPolicy(events={"login_failed": "login_failed"})
        found = {one.rule: one for one in judge_audit(policy, Ledgers(audit=tuple(written)), expected(), evidence)}
        assert failed(found) == {"audit.secret"}
        assert not any("0123456789" in text for text in found["audit.secret"].shown)
    assert secrets_in(entries(lambda n: {"details": token[:-1]}), digests) == []


@given(st.lists(st.text("ab\x00é:", max_size=40), max_size=6), st.text("ab\x00é:", min_size=6, max_size=8))
def test_a_secret_is_found_wherever_it_stands_in_one_line_and_not_over_two(texts: list[str], secret: str) -> None:
    written = [AuditEntry("audit.log", place, text, None, S) for place, text in enumerate([*texts, f"x{secret}"], 1)]
    wanted = [one for one in written if any(form in one.text for form in forms_of(secret))]
    assert secrets_in(written, digests_of([secret])) == wanted
    apart = [AuditEntry("audit.log", place, half, None, S) for place, half in enumerate((secret[:5], secret[5:]), 1)]
    assert secrets_in(apart, digests_of([secret])) == []


def test_one_line_that_is_read_twice_is_two_entries() -> None:
    one = entries(overwritten)[3]
    assert decode(AuditPolicy(), [one, one])[0] is not decode(AuditPolicy(), [one, one])[1]

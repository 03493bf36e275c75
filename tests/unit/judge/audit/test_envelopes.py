"""Logs of strangers: in envelopes, in other formats, with banners; read where they can be, never accused where not."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from pydantic import ValidationError

from proofload.core.clock import Anchor
from proofload.judge.audit import AuditEvidence, ExpectedEvent, judge_audit
from proofload.judge.audit.envelopes import decode
from proofload.judge.audit.fields import parse_time_ns
from proofload.judge.verdict import Finding, Outcome
from proofload.plan.policies import AuditPolicy
from proofload.record.ledger import AuditEntry, Ledgers, value_at

S = 1_000_000_000
COUNT = 20
ANCHOR = Anchor(0, 1_700_000_000 * S, 0)
EVIDENCE = AuditEvidence(read_ns=100 * S, anchor=ANCHOR)
POLICY = AuditPolicy(events={"login_failed": "login_failed"})


def expected() -> list[ExpectedEvent]:
    return [ExpectedEvent(n, "login_failed", f"r{n}", n * S, n * S + 10, f"user{n}", "127.0.0.9") for n in range(COUNT)]


def record(n: int) -> dict[str, object]:
    time = ANCHOR.to_wall_ns(n * S + 5) / 1e9
    return {"time": time, "event": "login_failed", "user": f"user{n}", "ip": "127.0.0.9", "request_id": f"r{n}"}


def line(n: int) -> str:
    return json.dumps(record(n))


def as_read(lines: list[str]) -> tuple[AuditEntry, ...]:
    """Return entries as the reader of files makes them: it knows JSON only."""
    return tuple(AuditEntry("audit.log", n, text, parsed(text), 50 * S) for n, text in enumerate(lines, 1))


def parsed(text: str) -> dict[str, object] | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def judge(lines: list[str], policy: AuditPolicy = POLICY) -> dict[str, Finding]:
    return {one.rule: one for one in judge_audit(policy, Ledgers(audit=as_read(lines)), expected(), EVIDENCE)}


def failed(found: dict[str, Finding]) -> set[str]:
    return {rule for rule, one in found.items() if one.outcome is Outcome.FAIL}


def docker(text: str) -> str:
    return json.dumps({"log": text + "\n", "stream": "stdout", "time": "2023-11-14T22:13:20.1Z"})


ENVELOPES: dict[str, Callable[[str], str]] = {
    "docker json-file": docker,
    "containerd": lambda text: f"2023-11-14T22:13:20.123456789Z stdout F {text}",
    "journald": lambda text: json.dumps({"MESSAGE": text, "_PID": "7", "__REALTIME_TIMESTAMP": "1700000000000000"}),
    "journald, as bytes": lambda text: json.dumps({"MESSAGE": list(text.encode()), "_PID": "7"}),
    "fluentd": lambda text: json.dumps({"log": text, "kubernetes": {"pod": "gw"}}),
    "filebeat": lambda text: json.dumps({"@timestamp": "2023-11-14T22:13:20Z", "message": text}),
    "fluent-bit, merged": lambda text: json.dumps({"date": 1.0, "log_processed": json.loads(text)}),
    "docker compose": lambda text: f"auth-1  | {text}",
    "syslog": lambda text: f"Nov 14 22:13:20 host auth[7]: {text}",
    "byte order mark": lambda text: "\ufeff" + text,
    "colours": lambda text: f"\x1b[32m{text}\x1b[0m",
    "a JSON array": lambda text: text + ",",
    "carriage return": lambda text: text + "\r",
}


@pytest.mark.parametrize("kind", ENVELOPES)
def test_lines_are_taken_out_of_the_usual_envelopes(kind: str) -> None:
    lines = [ENVELOPES[kind](line(n)) for n in range(COUNT)]
    found = judge(lines)
    assert {one.outcome for one in found.values()} <= {Outcome.PASS, Outcome.SKIPPED}
    assert found["audit.missing"].examined == COUNT
    assert failed(judge(lines[1:])) == {"audit.missing"}


def test_lines_that_a_container_cut_are_put_together() -> None:
    cut = [
        f"2023-11-14T22:13:20Z stdout {'P' if last else 'F'} {part}"
        for part, last in ((line(0)[:30], 1), (line(0)[30:], 0))
    ]
    assert failed(judge([*cut, *(ENVELOPES["containerd"](line(n)) for n in range(1, COUNT))])) == set()
    halves = [json.dumps({"log": part, "stream": "stdout"}) for part in (line(0)[:30], line(0)[30:] + "\n")]
    assert failed(judge([*halves, *(docker(line(n)) for n in range(1, COUNT))])) == set()


def test_banners_and_blank_lines_are_no_entries_but_a_torn_object_is_a_broken_line() -> None:
    lines = [line(n) for n in range(COUNT)]
    found = judge(["Server listening on :8080", "", "  ", *lines, "[INFO] reloaded", lines[0]][:-1])
    assert failed(found) == set()
    assert "2 lines hold no part of one" in found["audit.broken_line"].says
    torn = (lines[3][:40], lines[3][40:], lines[3][:40] + lines[4], '{"time": 1, "eve{"time": 2}')
    for text in torn:
        assert failed(judge([*lines[:5], text, *lines[5:]])) == {"audit.broken_line"}


def test_a_secret_or_control_sign_inside_an_envelope_is_still_found() -> None:
    leak = json.dumps({**record(3), "password": "Passw0rd"})
    lines = [docker(line(n) if n != 3 else leak) for n in range(COUNT)]
    assert failed(judge(lines)) == {"audit.secret"}
    one_coloured = [line(n) for n in range(COUNT)]
    one_coloured.insert(2, "\x1b[31m client text")
    assert failed(judge(one_coloured)) == {"audit.forged"}


def logfmt(n: int) -> str:
    return " ".join(f'{name}="{value}"' if name == "user" else f"{name}={value}" for name, value in record(n).items())


def syslog(n: int, *, as_data: bool) -> str:
    fields = record(n)
    data = " ".join(f'{name}="{value}"' for name, value in fields.items()) if as_data else ""
    body = "done" if as_data else line(n)
    return f"<134>1 2023-11-14T22:13:{20 + n}Z gw auth 7 login_failed {f'[audit@1 {data}]' if as_data else '-'} {body}"


def text(n: int) -> str:
    return " ".join(f"[{value}]" for value in record(n).values())


FORMATS: dict[str, tuple[dict[str, str], Callable[[int], str]]] = {
    "logfmt": ({"format": "logfmt"}, logfmt),
    "rfc5424 with JSON": ({"format": "rfc5424"}, lambda n: syslog(n, as_data=False)),
    "rfc5424 with structured data": ({"format": "rfc5424"}, lambda n: syslog(n, as_data=True)),
    "text": (
        {
            "format": "text",
            "pattern": r"\] \[".join(f"(?P<{name}>[^][]+)" for name in record(0)),
        },
        text,
    ),
}


@pytest.mark.parametrize("name", FORMATS)
def test_other_formats_are_read_where_they_are_declared(name: str) -> None:
    declared, written = FORMATS[name]
    policy = AuditPolicy(events={"login_failed": "login_failed"}, **declared)  # type: ignore[arg-type]
    lines = [written(n) for n in range(COUNT)]
    for wrap in (lambda one: one, docker, ENVELOPES["containerd"]):
        wrapped = [wrap(one) for one in ["starting", *lines]]
        found = judge(wrapped, policy)
        assert failed(found) == set()
        assert found["audit.missing"].outcome is Outcome.PASS
        assert failed(judge(wrapped[:-1], policy)) == {"audit.missing"}


@pytest.mark.parametrize("name", ["logfmt", "rfc5424 with structured data", "text"])
def test_a_log_in_another_format_than_declared_is_said_not_accused(name: str) -> None:
    found = judge([FORMATS[name][1](n) for n in range(COUNT)])
    assert failed(found) == set()
    assert found["audit.missing"].outcome is Outcome.INCONCLUSIVE
    assert "0 of 20 lines are JSON objects: check policies.audit.format" in found["audit.missing"].says
    if name != "text":
        assert f"look like {name.split(maxsplit=1)[0]}" in found["audit.missing"].says


def test_fields_or_events_that_no_entry_has_are_said_with_what_there_is() -> None:
    lines = [json.dumps({"kind": "login_failed", "who": f"user{n}"}) for n in range(COUNT)]
    found = judge(lines)
    assert failed(found) == set()
    assert "none of 20 entries has the field 'event'; found keys: kind, who" in found["audit.missing"].says
    lines = [json.dumps({**record(n), "event": "AUTH_FAIL"}) for n in range(COUNT)]
    found = judge(lines)
    assert failed(found) == set()
    assert "AUTH_FAIL (20)" in found["audit.missing"].says
    # A few events of another kind are no other name for twenty.
    assert failed(judge(lines[:9])) == {"audit.missing"}
    # An empty log is declared rightly, and holds nothing.
    assert failed(judge([])) == {"audit.missing"}


def test_a_pattern_is_checked_when_it_is_declared() -> None:
    for wrong in ({"format": "text"}, {"pattern": "(?P<event>x)"}, {"format": "text", "pattern": "("}):
        with pytest.raises(ValidationError, match="pattern"):
            AuditPolicy(**wrong)  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match="named group"):
        AuditPolicy(format="text", pattern="x")


@pytest.mark.parametrize(
    ("fields", "path", "value"),
    [
        ({"event.action": 1}, "event.action", 1),
        ({"event": {"action": 1}}, "event.action", 1),
        ({"event": {"action.name": 1}}, "event.action.name", 1),
        ({"event.action": {"name": 1}}, "event.action.name", 1),
        ({"event.action": None, "event": {"action": 1}}, "event.action", 1),
        ({"events": [{"name": 1}]}, "events.0.name", 1),
        ({"events": [1]}, "events.1", None),
        ({"events": [1]}, "events.x", None),
        ({"event": "text"}, "event.0", None),
        ({"event": None}, "event", None),
        ({}, "event", None),
        (None, "event", None),
    ],
)
def test_a_field_is_found_wherever_its_dots_lead(fields: object, path: str, value: object) -> None:
    assert value_at(fields, path) == value


def test_every_rule_reads_nested_fields() -> None:
    policy = AuditPolicy(
        events={"login_failed": "login_failed"},
        fields={
            "event": "event.action",
            "request_id": "http.request.id",
            "user": "user.name",
            "ip": "source.ip",
            "time": "@timestamp",
        },
    )

    def ecs(n: int, name: str = "") -> str:
        time = parse_time_ns(record(n)["time"])
        return json.dumps(
            {
                "@timestamp": time,
                "event": {"action": "login_failed"},
                "http": {"request": {"id": f"r{n}"}},
                "user": {"name": name or f"user{n}"},
                "source.ip": "127.0.0.9",
            }
        )

    lines = [ecs(n) for n in range(COUNT)]
    assert {one.outcome for one in judge(lines, policy).values()} <= {Outcome.PASS, Outcome.SKIPPED}
    assert failed(judge([ecs(0, "user1"), *lines[1:]], policy)) == {"audit.wrong_user"}
    assert failed(judge([*lines, lines[0]], policy)) == {"audit.duplicated"}


def test_lines_keep_their_place_and_source_when_decoded() -> None:
    (entry,) = decode(POLICY, [AuditEntry("a.log", 9, docker(line(0)), {}, 1)])
    assert (entry.source, entry.line, entry.text) == ("a.log", 9, line(0))

"""TC-AUDIT-002 to 004 say PASS, FAIL, INCONCLUSIVE and SKIPPED, each where it must."""

from __future__ import annotations

from collections.abc import Sequence

from tests.unit.cases.tape import MS, S, Tape, case_findings, line, nothing, outcome, preset, rules, why_missing

from proofload.cases.metrics_and_audit import READ_AT
from proofload.judge.verdict import Finding, Outcome
from proofload.plan.policies import Policies
from proofload.record.fault_edge import Edge
from proofload.record.ledger import AuditEntry, Ledgers, Reading, Sample

TARGET = preset()
READ = {READ_AT: 100 * S}
CONTENDED = b'{"code": "LOCK_CONTENTION"}'
Told = tuple[Outcome, set[str]]


def told(found: Sequence[Finding]) -> Told:
    return outcome(list(found)), rules(list(found))


def entry(number: int, event: str, request_id: str, *, user: str = "a", service: str = "user") -> AuditEntry:
    fields = {"event": event, "request_id": request_id, "user": user, "service": service}
    return line(number, "{}", fields)


def correlated(
    *, lacks: str = "", phantom: bool = False, user: str = "load_test_a", odd: str = "fresh", error: str = ""
) -> Told:
    entries: list[AuditEntry] = []
    tape = Tape("TC-AUDIT-002")
    for operation in ("deposit", "order", "withdraw") * 5:
        request_id = f"r{len(tape.exchanges)}"
        tape.add("done", 200, operation=operation)
        for event in TARGET.policies.audit.tells[operation] if TARGET.policies.audit else ():
            if event != lacks:
                service = "order" if event == "order_created" else "user"
                entries.append(entry(len(entries) + 1, event, request_id, user=user, service=service))
    refused = f"r{len(tape.exchanges)}"
    tape.add("refused deposit", 503, operation="deposit", user=9, body=CONTENDED)
    if phantom:
        entries.append(entry(999, "balance_changed", refused))
    for i in range(4):
        tape.add("odd", 200, operation="deposit", user=10)
        entries.append(entry(1000 + i, "balance_changed", f"{odd}{i}"))
    ledgers = Ledgers((), tuple(entries), {"audit.error": error} if error else {})
    facts = {"names": ["load_test_a"], "canary": "canary77", **READ}
    return told(case_findings("TC-AUDIT-002", tape.evidence(TARGET, facts=facts, ledgers=ledgers)))


def test_events_over_several_services() -> None:
    assert correlated() == (Outcome.PASS, set())
    assert correlated(lacks="order_created") == (Outcome.FAIL, {"audit.missing"})
    assert correlated(phantom=True) == (Outcome.FAIL, {"audit.phantom"})
    assert correlated(user="load_test_b") == (Outcome.FAIL, {"audit.wrong_user"})
    assert correlated(odd="canary77 two words") == (Outcome.FAIL, {"audit.request_id_unchecked"})
    assert correlated(error="no such file") == (Outcome.INCONCLUSIVE, set())


def killed(*, lost: int = 0, proven: bool = True, count: int = 12) -> Told:
    entries: list[AuditEntry] = []
    tape = Tape("TC-AUDIT-003")
    for i in range(count):
        tape.add("failing", 401, operation="login")
        if i < count - lost:
            entries.append(entry(i + 1, "login_failed", f"r{i}"))
    tape.edge(Edge.APPLYING, "auth", kind="kill")
    tape.add("failing", 502, operation="login", takes_ns=50 * MS)
    tape.edge(Edge.APPLIED, "auth", kind="kill", proven=proven)
    tape.edge(Edge.UNDOING, "auth", kind="kill")
    tape.edge(Edge.UNDONE, "auth", kind="kill")
    return told(case_findings("TC-AUDIT-003", tape.evidence(TARGET, facts=READ, ledgers=Ledgers((), tuple(entries)))))


def test_a_service_that_is_killed() -> None:
    assert killed() == (Outcome.PASS, set())
    assert killed(lost=3) == (Outcome.FAIL, {"audit.missing"})
    assert killed(lost=3, proven=False) == (Outcome.INCONCLUSIVE, set())
    assert killed(count=2)[0] is Outcome.INCONCLUSIVE


def flooded(
    *, lost: int = 0, rose: int = 2400, count: int = 2400, error: str = "", counter: str = "audit_events_total"
) -> Told:
    tape = Tape("TC-AUDIT-004")
    tape.add("denied", 401, count, operation="balance")
    entries = [entry(i + 1, "access_denied", f"r{i}") for i in range(count - lost)]

    def reading(label: str, value: float) -> Reading:
        events = tuple(Sample(counter, {"event": one}, value) for one in ("access_denied", "login_failed"))
        return Reading("gateway", label, 0, 1, () if error else events, error)

    readings = (reading("before", 10), reading("after", 10 + rose))
    return told(
        case_findings("TC-AUDIT-004", tape.evidence(TARGET, facts=READ, ledgers=Ledgers(readings, tuple(entries))))
    )


def test_thousands_of_events() -> None:
    assert flooded() == (Outcome.PASS, set())
    assert flooded(lost=2) == (Outcome.FAIL, {"audit.missing"})
    assert flooded(rose=2398) == (Outcome.FAIL, {"audit.not_counted"})
    assert flooded(rose=4800) == (Outcome.FAIL, {"audit.not_counted"})
    assert flooded(error="refused")[0] is Outcome.INCONCLUSIVE
    assert flooded(counter="events_total") == (Outcome.INCONCLUSIVE, set())
    assert flooded(count=300, rose=300)[0] is Outcome.INCONCLUSIVE


def test_they_abstain_or_are_skipped() -> None:
    for case in ("TC-AUDIT-002", "TC-AUDIT-003", "TC-AUDIT-004"):
        assert outcome(case_findings(case, nothing(case, TARGET))) is Outcome.INCONCLUSIVE
    bare = TARGET.model_copy(update={"policies": Policies()})
    for case in ("TC-AUDIT-002", "TC-AUDIT-003", "TC-AUDIT-004"):
        assert why_missing(case, TARGET) == ""
        assert "no audit log" in why_missing(case, bare)
    assert "can't be killed" in why_missing("TC-AUDIT-003", TARGET.model_copy(update={"faults": {}}))

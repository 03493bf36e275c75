"""TC-E2E-001 and 002 say PASS, FAIL, INCONCLUSIVE and SKIPPED, each where it must."""

from __future__ import annotations

from tests.unit.cases.tape import S, Tape, case_findings, line, nothing, outcome, preset, rules, why_missing

from proofload.cases.end_to_end import journeys as journey
from proofload.cases.metrics_and_audit import READ_AT
from proofload.judge.verdict import Outcome
from proofload.plan.policies import Policies
from proofload.record.ledger import AuditEntry, Ledgers, Reading, Sample

TARGET = preset()
LIMITED = b'{"code": "RATE_LIMITED"}'
Told = tuple[Outcome, set[str]]


ORDERS = TARGET.policies.orders
assert ORDERS is not None


def walked(*, status: int = 200, users: int = 8) -> Told:
    tape = Tape("TC-E2E-001")
    names = ["register", "login", *journey.steps_of_journey(TARGET, ORDERS)]
    for user in range(users):
        for place, name in enumerate(names):
            answer = status if user == 3 and name == "order" else 200
            tape.add("journey", answer, operation=name, user=user + 1)
            if answer != 200:
                break
            assert place < len(names)
    found = case_findings("TC-E2E-001", tape.evidence(TARGET, facts={"steps": len(names)}))
    return outcome(found), rules(found)


def test_journeys() -> None:
    assert walked() == (Outcome.PASS, set())
    assert walked(status=409) == (Outcome.FAIL, {"int.journey_incomplete"})
    assert walked(status=500) == (Outcome.FAIL, {"int.journey_incomplete"})
    assert walked(status=503) == (Outcome.INCONCLUSIVE, set()), "the machine may be too busy"
    assert walked(status=0)[0] is Outcome.INCONCLUSIVE
    assert walked(users=5)[0] is Outcome.INCONCLUSIVE


def together(*, polite: int = 200, admitted: int = 100, uncounted: int = 0, lost: str = "") -> Told:
    tape = Tape("TC-E2E-002", at_ns=10 * S)
    entries: list[AuditEntry] = []
    for user in range(6):
        source = f"127.64.1.{user + 1}"
        tape.add("working", 200, 19, operation="balance", user=user + 1, source=source)
        tape.add("working", polite if user == 0 else 200, operation="orders", user=user + 1, source=source)
        tape.add("log in", 200, 4, operation="login", user=user + 11, source=f"127.64.2.{user + 1}")
    tape.add("beyond", 200, admitted, source="127.64.3.1", user=99)
    tape.add("beyond", 429, 120 - admitted, source="127.64.3.1", user=99, body=LIMITED)
    counts: dict[tuple[str, str, str], int] = {}
    for one in tape.exchanges:
        operation = TARGET.operations[one.operation]
        key = (operation.route or operation.path, operation.method, str(one.status))
        counts[key] = counts.get(key, 0) + 1
        event = {("log in", 200): "login_succeeded", ("beyond", 429): "rate_limited"}.get(
            (one.workload.partition("/")[2], one.status)
        )
        if event is not None and event != lost:
            fields = {"event": event, "request_id": one.request_id, "ip": one.source, "service": "gateway"}
            entries.append(line(len(entries) + 1, "{}", fields))

    def reading(label: str, at_ns: int, *, full: bool) -> Reading:
        samples = tuple(
            Sample(
                "http_requests_total",
                {"service": "gateway", "route": route, "method": method, "status": status},
                float(number - (uncounted if route.endswith("profile") and status == "200" else 0)) if full else 0.0,
            )
            for (route, method, status), number in counts.items()
        )
        return Reading("gateway", label, at_ns, at_ns + 1, samples)

    readings = (reading("before", S, full=False), reading("after", tape.at_ns + 5 * S, full=True))
    found = case_findings(
        "TC-E2E-002", tape.evidence(TARGET, facts={READ_AT: 100 * S}, ledgers=Ledgers(readings, tuple(entries)))
    )
    return outcome(found), rules(found)


def test_all_services_together() -> None:
    assert together() == (Outcome.PASS, set())
    assert "int.not_served" in together(polite=500)[1]
    assert together(polite=504)[0] is Outcome.INCONCLUSIVE
    assert "rl.over_admission" in together(admitted=110)[1]
    assert together(uncounted=10) == (Outcome.FAIL, {"mon.missing"})
    assert together(lost="rate_limited") == (Outcome.FAIL, {"audit.missing"})
    assert together(lost="login_succeeded") == (Outcome.FAIL, {"audit.missing"})


def test_they_abstain_or_are_skipped() -> None:
    assert outcome(case_findings("TC-E2E-001", nothing("TC-E2E-001", TARGET))) is Outcome.INCONCLUSIVE
    assert outcome(case_findings("TC-E2E-002", nothing("TC-E2E-002", TARGET))) is Outcome.INCONCLUSIVE
    assert why_missing("TC-E2E-001", TARGET) == ""
    assert why_missing("TC-E2E-002", TARGET) == ""
    bare = TARGET.model_copy(update={"policies": Policies()})
    assert "deposits and orders" in why_missing("TC-E2E-001", bare)
    assert "sign up" in why_missing("TC-E2E-002", TARGET.model_copy(update={"users": None}))

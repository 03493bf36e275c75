"""TC-MON-004 and TC-AUDIT-005 on evidence made by hand: they hold, they break, and an idle switch is seen."""

from __future__ import annotations

from tests.unit.cases.tape import MS, S, Tape, case_findings, line, nothing, outcome, preset, rules, why_missing

from proofload.judge.evidence import Evidence
from proofload.judge.verdict import Outcome
from proofload.plan.target import Target
from proofload.record.ledger import AuditEntry, Ledgers, Reading, Sample

BLOCKS = ("on", "off", "off", "on")


def played(
    case: str, adds: float, *, counts_when_off: bool = False, rounds: int = 16, status: int = 200, counts: bool = True
) -> tuple[Tape, list[Reading], list[AuditEntry]]:
    tape, total = Tape(case), 0.0
    entries: list[AuditEntry] = []

    def reading(label: str) -> Reading:
        return Reading("gateway", label, S, S, (Sample("http_requests_total", {"service": "gateway"}, total),))

    readings = [reading("before")]
    operation = "login" if case == "TC-AUDIT-005" else "profile"
    for i in range(1, rounds + 1):
        for place, block in enumerate(BLOCKS):
            for request in range(5):
                name = f"{i} {place} {request}"
                took = round(2 * MS * (1 + (adds if block == "on" else 0))) + request * 1000 + i * 500
                tape.add(block, status, takes_ns=took, request_id=name, tag=str(i), operation=operation)
                if counts and (block == "on" or counts_when_off):
                    total += 1
                    entries.append(line(len(entries) + 1, "{}", {"request_id": name}))
    readings.append(reading("after"))
    return tape, readings, entries


def metrics(adds: float, **more: bool | int) -> Evidence:
    tape, readings, _ = played("TC-MON-004", adds, **more)  # type: ignore[arg-type]
    return tape.evidence(preset(), ledgers=Ledgers(tuple(readings)))


def audit(adds: float, **more: bool | int) -> Evidence:
    tape, _, entries = played("TC-AUDIT-005", adds, **more)  # type: ignore[arg-type]
    return tape.evidence(preset(), ledgers=Ledgers(audit=tuple(entries)))


def test_a_small_cost_passes() -> None:
    assert outcome(case_findings("TC-MON-004", metrics(0.02))) is Outcome.PASS
    assert outcome(case_findings("TC-AUDIT-005", audit(0.02))) is Outcome.PASS


def test_a_large_cost_fails() -> None:
    assert rules(case_findings("TC-MON-004", metrics(0.4))) == {"mon.overhead"}
    assert rules(case_findings("TC-AUDIT-005", audit(0.4))) == {"audit.overhead"}


def test_a_switch_that_does_nothing_proves_nothing() -> None:
    for found in (
        case_findings("TC-MON-004", metrics(0.0, counts_when_off=True)),
        case_findings("TC-AUDIT-005", audit(0.0, counts_when_off=True)),
    ):
        assert outcome(found) is Outcome.INCONCLUSIVE
        assert "while the" in found[0].says
        assert "off" in found[0].says


def test_a_control_that_never_counts_proves_nothing_either() -> None:
    for found in (
        case_findings("TC-MON-004", metrics(0.0, counts=False)),
        case_findings("TC-AUDIT-005", audit(0.0, counts=False)),
    ):
        assert outcome(found) is Outcome.INCONCLUSIVE
        assert "on" in found[0].says


def test_requests_that_were_refused_say_nothing_of_the_cost() -> None:
    found = case_findings("TC-MON-004", metrics(0.0, status=429))
    assert outcome(found) is Outcome.INCONCLUSIVE
    assert "were not served" in found[0].says


def test_few_rounds_and_none_prove_nothing() -> None:
    assert outcome(case_findings("TC-MON-004", metrics(0.0, rounds=3))) is Outcome.INCONCLUSIVE
    for case_id in ("TC-MON-004", "TC-AUDIT-005"):
        assert outcome(case_findings(case_id, nothing(case_id, preset()))) is Outcome.INCONCLUSIVE


def without(part: str) -> Target:
    target = preset()
    declared = getattr(target.policies, part).model_copy(update={"switch": None})
    return target.model_copy(update={"policies": target.policies.model_copy(update={part: declared})})


def test_a_target_without_the_switch_is_skipped_and_told_why() -> None:
    assert why_missing("TC-MON-004", preset()) == ""
    assert why_missing("TC-AUDIT-005", preset()) == ""
    assert "policies.metrics.switch" in why_missing("TC-MON-004", without("metrics"))
    assert "policies.audit.switch" in why_missing("TC-AUDIT-005", without("audit"))

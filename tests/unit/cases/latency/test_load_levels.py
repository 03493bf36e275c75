"""TC-LATENCY-002 and -003 say PASS, FAIL and INCONCLUSIVE, each where they must."""

from __future__ import annotations

from collections.abc import Sequence

from tests.unit.cases.tape import MS, S, Tape, case_findings, nothing, outcome, preset, rules, why_missing

from proofload.judge.verdict import Outcome
from proofload.plan.target import Target
from proofload.record.ledger import Ledgers, Reading, Sample

READS = {"auth": "profile", "user": "balance", "order": "orders"}
ROUTES = {"profile": "/api/v1/auth/profile", "balance": "/api/v1/balance", "orders": "/api/v1/orders"}


def promised(**promises: object) -> Target:
    target = preset()
    assert target.policies.latency is not None
    latency = target.policies.latency.model_copy(update=promises)
    return target.model_copy(update={"policies": target.policies.model_copy(update={"latency": latency})})


def levels(
    target: Target | None = None,
    *,
    takes_ns: Sequence[int] = (2 * MS, 3 * MS, 9 * MS),
    status: int = 200,
    each: int = 400,
) -> tuple[Outcome, set[str]]:
    tape = Tape("TC-LATENCY-002")
    for rate, takes in zip((10, 40, 100), takes_ns, strict=True):
        for operation in READS.values():
            # Neighbours differ a little, or every percentile would be the same number.
            for number in range(each):
                tape.add(f"level {rate} {operation}", status, operation=operation, takes_ns=takes + number % 7)
    found = case_findings("TC-LATENCY-002", tape.evidence(target or preset()))
    return outcome(found), rules(found)


def test_percentiles_at_every_load_pass() -> None:
    assert levels() == (Outcome.PASS, set())
    assert levels(promised(p90_within=20 * MS)) == (Outcome.PASS, set())


def test_a_promise_broken_at_the_highest_load_only_fails() -> None:
    assert levels(promised(p90_within=5 * MS)) == (Outcome.FAIL, {"lat.over_bound"})


def test_too_few_answers_or_failed_ones_decide_nothing() -> None:
    assert levels(each=10)[0] is Outcome.INCONCLUSIVE
    assert levels(status=503)[0] is Outcome.INCONCLUSIVE
    assert outcome(case_findings("TC-LATENCY-002", nothing("TC-LATENCY-002", preset()))) is Outcome.INCONCLUSIVE


def reading(label: str, source: str, at_ns: int, count: int, mean_s: float) -> Reading:
    samples = []
    for route in ROUTES.values():
        labels = {"route": route, "method": "GET"}
        samples += [
            Sample("http_request_duration_seconds_count", labels, count),
            Sample("http_request_duration_seconds_sum", labels, count * mean_s),
            Sample("http_request_duration_seconds_bucket", {**labels, "le": "0.005"}, count * 0.95),
            Sample("http_request_duration_seconds_bucket", {**labels, "le": "+Inf"}, count),
        ]
    return Reading(source, label, at_ns, at_ns + MS, tuple(samples))


def routing(
    target: Target | None = None, *, counted: int = 200, sent: int = 200, gateway_s: float = 0.006, read: bool = True
) -> tuple[Outcome, set[str]]:
    tape = Tape("TC-LATENCY-003")
    for operation in READS.values():
        tape.add(f"route {operation}", 200, sent, operation=operation)
    means = {"gateway": gateway_s, **dict.fromkeys(READS, 0.002)}
    readings = [reading("before", source, 0, 0, 0.0) for source in means]
    readings += [reading("after", source, 100 * S, counted, mean) for source, mean in means.items() if read]
    evidence = tape.evidence(target or preset(), ledgers=Ledgers(tuple(readings)))
    found = case_findings("TC-LATENCY-003", evidence)
    return outcome(found), rules(found)


def test_what_the_gateway_adds_is_told_and_held_to_its_promise() -> None:
    assert routing() == (Outcome.PASS, set())
    assert routing(promised(routing_within=5 * MS)) == (Outcome.PASS, set())
    assert routing(promised(routing_within=3 * MS)) == (Outcome.FAIL, {"lat.routing_overhead"})


def test_histograms_of_other_requests_too_few_or_none_decide_nothing() -> None:
    assert routing(counted=201) == (Outcome.INCONCLUSIVE, set())
    assert routing(counted=50, sent=50) == (Outcome.INCONCLUSIVE, set())
    assert routing(read=False) == (Outcome.INCONCLUSIVE, set())
    assert outcome(case_findings("TC-LATENCY-003", nothing("TC-LATENCY-003", preset()))) is Outcome.INCONCLUSIVE


def test_what_is_not_declared_is_skipped() -> None:
    bare = Target.model_validate(
        {"version": 1, "address": "http://127.0.0.1:1", "operations": {"read": {"path": "/read"}}}
    )
    assert "read of a service" in why_missing("TC-LATENCY-002", bare)
    assert "histogram" in why_missing("TC-LATENCY-003", bare)
    assert why_missing("TC-LATENCY-002", preset()) == why_missing("TC-LATENCY-003", preset()) == ""

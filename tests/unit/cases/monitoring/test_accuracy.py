"""TC-MON-001 and TC-MON-005 on evidence made by hand: PASS, FAIL, INCONCLUSIVE, and SKIPPED."""

from __future__ import annotations

import math
from typing import Any

import pytest
from tests.unit.cases.tape import (
    MS,
    Ledgers,
    Reading,
    S,
    Tape,
    case_findings,
    nothing,
    outcome,
    preset,
    rules,
    why_missing,
)

from proofload.judge.verdict import Finding, Outcome
from proofload.plan.target import Target
from proofload.record.fault_edge import Edge
from proofload.record.ledger import Sample

TARGET = preset()
SERVED, CONTENDED = 120, 30
PROFILE = {"route": "/api/v1/auth/profile", "method": "GET", "service": "gateway"}
DEPOSIT = {"route": "/api/v1/balance/deposit", "method": "POST", "service": "gateway"}
TIMED = "http_request_duration_seconds"


def page(label: str, at_ns: int, served: float, contended: float, timed: float, slow: float = 0) -> Reading:
    samples = [
        Sample("http_requests_total", {**PROFILE, "status": "200"}, served),
        Sample("http_requests_total", {**DEPOSIT, "status": "503"}, contended),
    ]
    for labels, count in ((PROFILE, timed), (DEPOSIT, contended)):
        samples.append(Sample(f"{TIMED}_count", labels, count))
        edges = {0.005: count - slow, 1.0: count - slow, math.inf: count}
        samples += [Sample(f"{TIMED}_bucket", {**labels, "le": str(edge)}, held) for edge, held in edges.items()]
    return Reading("gateway", label, at_ns, at_ns + MS, tuple(samples))


def accuracy(
    served: float = SERVED, contended: float = CONTENDED, timed: float = SERVED, slow: float = 0
) -> list[Finding]:
    tape = Tape("TC-MON-001", at_ns=10 * S)
    tape.add("served profile", 200, SERVED)
    tape.add("contending 1", 503, CONTENDED, operation="deposit")
    readings = (
        page("quiet", S, 0, 0, 0),
        page("before", 5 * S, 0, 0, 0),
        page("after", 60 * S, served, contended, timed, slow),
    )
    return case_findings("TC-MON-001", tape.evidence(TARGET, ledgers=Ledgers(readings)))


def test_counts_and_times_that_agree_with_the_answers_pass() -> None:
    assert outcome(accuracy()) is Outcome.PASS


@pytest.mark.parametrize(
    ("counted", "broken"),
    [
        ({"contended": 0}, {"mon.missing", "mon.histogram_count_differs"}),
        ({"timed": 90}, {"mon.histogram_count_differs"}),
        ({"timed": 2 * SERVED}, {"mon.histogram_count_differs"}),
        ({"slow": 30}, {"mon.histogram_in_milliseconds"}),
        ({"served": 2 * SERVED}, {"mon.duplicated"}),
    ],
)
def test_each_kind_of_wrong_count_is_told_by_its_name(counted: dict[str, float], broken: set[str]) -> None:
    assert rules(accuracy(**counted)) == broken


def test_a_run_that_was_stopped_says_nothing_of_the_counts() -> None:
    assert outcome(case_findings("TC-MON-001", nothing("TC-MON-001", TARGET))) is Outcome.INCONCLUSIVE


def restarted(after: float = 60, *, between: float = 30, seen: bool = True, target: Target = TARGET) -> Any:
    tape = Tape("TC-MON-005", at_ns=10 * S)
    tape.add("first", 200, 30)
    tape.at_ns = 20 * S
    for edge in (Edge.APPLYING, Edge.APPLIED, Edge.UNDOING, Edge.UNDONE):
        tape.edge(edge, "gateway", proven=seen)
    tape.at_ns = 30 * S
    tape.add("then", 200, 30)
    readings = (
        page("before", S, 0, 0, 0),
        page("between", 15 * S, between, 0, between),
        page("after", 60 * S, after, 0, after),
    )
    return case_findings("TC-MON-005", tape.evidence(target, ledgers=Ledgers(readings)))


def test_counts_that_outlive_a_restart_pass_and_those_that_began_anew_fail() -> None:
    assert outcome(restarted()) is Outcome.PASS
    assert "mon.not_monotonic" in rules(restarted(29))
    assert "mon.missing" in rules(restarted(45))


def test_without_a_restart_that_was_seen_nothing_is_known() -> None:
    assert outcome(restarted(seen=False)) is Outcome.INCONCLUSIVE
    assert outcome(case_findings("TC-MON-005", nothing("TC-MON-005", TARGET))) is Outcome.INCONCLUSIVE


def test_a_target_that_does_not_promise_it_is_skipped_with_what_to_declare() -> None:
    assert why_missing("TC-MON-005", TARGET) == ""
    metrics = TARGET.policies.metrics
    assert metrics is not None
    policies = TARGET.policies.model_copy(update={"metrics": metrics.model_copy(update={"survives_restart": False})})
    assert "survives_restart" in why_missing("TC-MON-005", TARGET.model_copy(update={"policies": policies}))


BALANCE = {"route": "/api/v1/balance", "method": "GET", "service": "gateway"}
ORDER = {"route": "/api/v1/orders/{order_id}", "method": "GET", "service": "gateway"}


def told_apart(
    profile: int = 61, balance: int = 67, *, swapped: bool = False, raw: bool = False, ids: int = 2, status: int = 200
) -> list[Finding]:
    tape = Tape("TC-MON-001", at_ns=10 * S)
    tape.add("served profile", status, profile)
    tape.add("served balance", status, balance, operation="balance")
    tape.add("served no_such_order", 404, 71, operation="no_such_order")
    names = [f"ord_00000000-0000-0000-0000-{n:012}" for n in range(ids)]
    counted = [(PROFILE, balance if swapped else profile), (BALANCE, profile if swapped else balance)]
    paths = [f"/api/v1/orders/{name}" for name in names] if raw else [ORDER["route"]]
    samples = [Sample("http_requests_total", {**labels, "status": str(status)}, n) for labels, n in counted]
    samples += [
        Sample(
            "http_requests_total",
            {**ORDER, "route": path, "status": "404"},
            71 // len(paths) + (71 % len(paths)) * (not n),
        )
        for n, path in enumerate(paths)
    ]
    readings = (
        Reading("gateway", "quiet", S, S + MS, tuple(Sample(one.name, one.labels, 0) for one in samples)),
        Reading("gateway", "before", 5 * S, 5 * S + MS, tuple(Sample(one.name, one.labels, 0) for one in samples)),
        Reading("gateway", "after", 60 * S, 60 * S + MS, tuple(samples)),
    )
    metrics = TARGET.policies.metrics
    assert metrics is not None
    policies = TARGET.policies.model_copy(update={"metrics": metrics.model_copy(update={"durations": None})})
    target = TARGET.model_copy(update={"policies": policies})
    facts = {"ids": {"no_such_order": names}}
    return case_findings("TC-MON-001", tape.evidence(target, facts=facts, ledgers=Ledgers(readings)))


def unsure(found: list[Finding]) -> set[str]:
    return rules(found, Outcome.INCONCLUSIVE)


def test_swapped_labels_of_two_routes_are_seen_for_each_was_sent_another_number_of_times() -> None:
    assert outcome(told_apart()) is Outcome.PASS
    assert rules(told_apart(swapped=True)) == {"mon.altered"}
    assert unsure(told_apart(67, 67)) == {"mon.told_apart"}


def test_raw_paths_in_labels_are_seen_by_two_ids_and_not_passed_by_one() -> None:
    assert rules(told_apart(raw=True)) == {"mon.raw_path_label"}
    assert unsure(told_apart(ids=1)) == {"mon.raw_path_label"}


def test_a_run_in_which_nothing_succeeded_says_so() -> None:
    assert unsure(told_apart(status=401)) == {"mon.succeeded"}


def test_a_histogram_is_judged_by_route_where_the_target_has_its_own_name_for_the_label() -> None:
    def called(samples: tuple[Sample, ...]) -> tuple[Sample, ...]:
        other = {"route": "handler", "method": "verb"}
        return tuple(
            Sample(one.name, {other.get(name, name): value for name, value in one.labels.items()}, one.value)
            for one in samples
        )

    def judged(timed: float, contended: float) -> list[Finding]:
        tape = Tape("TC-MON-001", at_ns=10 * S)
        tape.add("served profile", 200, SERVED)
        tape.add("contending 1", 503, CONTENDED, operation="deposit")
        pages = [
            page("quiet", S, 0, 0, 0),
            page("before", 5 * S, 0, 0, 0),
            page("after", 60 * S, SERVED, CONTENDED, timed),
        ]
        slower = tuple(
            Sample(one.name, one.labels, contended)
            if one.name.endswith("_count") and one.labels["method"] == "POST"
            else one
            for one in pages[-1].samples
        )
        pages[-1] = Reading("gateway", "after", 60 * S, 60 * S + MS, slower)
        readings = tuple(
            Reading(one.source, one.label, one.asked_ns, one.answered_ns, called(one.samples)) for one in pages
        )
        return case_findings("TC-MON-001", tape.evidence(TARGET, ledgers=Ledgers(readings)))

    assert outcome(judged(SERVED, CONTENDED)) is Outcome.PASS
    # Right in the sum of both routes, and wrong in each.
    assert "mon.histogram_count_differs" in rules(judged(SERVED - 20, CONTENDED + 20))

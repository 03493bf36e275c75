"""Counters against the client's record: each rule held, broken, and not to be told."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from proofload.judge.reconcile import Foreign, Route, judge_histogram, judge_metrics, judge_request_ids
from proofload.judge.reconcile.histogram import bucket_of
from proofload.judge.verdict import Finding, Outcome
from proofload.plan.policies import MetricsPolicy
from proofload.record.exchange import Ending, Exchange, Fault
from proofload.record.fault_edge import FaultSpan
from proofload.record.history import History
from proofload.record.ledger import Reading, Sample

S = 1_000_000_000
POLICY = MetricsPolicy()
OPERATIONS = {"read": Route("/api/v1/balance", "GET"), "login": Route("/api/v1/auth/login", "POST")}
OK, LIMITED = ("/api/v1/balance", "GET", "200"), ("/api/v1/balance", "GET", "429")
OURS = Foreign(exclusive=True)

Counts = Mapping[tuple[str, str, str], int]


def exchange(at: int, status: int = 200, operation: str = "read", ending: Ending = Ending.ANSWERED) -> Exchange:
    fault = Fault.NONE if ending is Ending.ANSWERED else Fault.TIMEOUT
    known = status if ending is Ending.ANSWERED else 0
    return Exchange(
        0, "w", operation, 1, "127.0.0.1", 1, at, at, at + 1, at + 2_000_000, ending, fault, known, 1, 1, f"r{at}"
    )


def load(ok: int = 100, limited: int = 50, unknown: int = 0) -> History:
    made = [exchange(10 * S + n) for n in range(ok)]
    made += [exchange(20 * S + n, 429) for n in range(limited)]
    made += [exchange(30 * S + n, ending=Ending.UNKNOWN) for n in range(unknown)]
    return History.of(made)


def reading(at: int, counts: Counts, *, start: float = 1.0, extra: tuple[Sample, ...] = ()) -> Reading:
    series = tuple(
        Sample("http_requests_total", {"route": route, "method": method, "status": status}, float(count))
        for (route, method, status), count in counts.items()
    )
    started = (Sample("process_start_time_seconds", {}, start),)
    return Reading("gateway", "x", at, at + 1000, series + started + extra)


def judge(
    history: History, after: Counts, before: Counts | None = None, foreign: Foreign = OURS, **more: object
) -> dict[str, Finding]:
    readings = [reading(5 * S, before or {}), reading(60 * S, after)]
    return by_rule(judge_metrics(POLICY, history, readings, operations=OPERATIONS, foreign=foreign, **more))  # type: ignore[arg-type]


def by_rule(findings: list[Finding]) -> dict[str, Finding]:
    return {one.rule: one for one in findings}


def failed(findings: Mapping[str, Finding]) -> set[str]:
    return {rule for rule, one in findings.items() if one.outcome is Outcome.FAIL}


def test_equal_counts_pass_from_a_start_that_is_not_zero() -> None:
    found = judge(load(), {OK: 107, LIMITED: 50}, {OK: 7})
    assert {one.outcome for one in found.values()} == {Outcome.PASS}
    assert found["mon.missing"].examined == 150


def test_nothing_sent_and_nothing_read_are_inconclusive() -> None:
    assert judge(History.empty(), {})["mon.missing"].outcome is Outcome.INCONCLUSIVE
    unread = replace(reading(5 * S, {}), samples=(), error="refused")
    assert judge_metrics(POLICY, load(), [unread, unread], operations=OPERATIONS)[0].outcome is Outcome.INCONCLUSIVE
    assert judge_metrics(POLICY, load(), [unread], operations=OPERATIONS)[0].outcome is Outcome.INCONCLUSIVE


def test_rejections_that_leave_no_trace_are_missing_and_named() -> None:
    found = judge(load(), {OK: 100})
    assert failed(found) == {"mon.missing"}
    assert found["mon.missing"].shown == ("GET /api/v1/balance 429: answered 50, counted 0",)
    assert found["mon.missing"].rows == (100, 101, 102, 103, 104)


def test_within_the_declared_bound_passes_and_says_so() -> None:
    found = judge(load(ok=200), {OK: 199, LIMITED: 50})
    assert failed(found) == set()
    assert found["mon.missing"].figures["off"] == 1
    assert failed(judge(load(ok=200), {OK: 197, LIMITED: 50})) == {"mon.missing"}


def test_double_counting_is_named_even_where_others_may_use_the_target() -> None:
    assert failed(judge(load(), {OK: 200, LIMITED: 100}, foreign=Foreign())) == {"mon.duplicated"}
    assert failed(judge(load(), {OK: 130, LIMITED: 50})) == {"mon.duplicated"}
    assert judge(load(), {OK: 130, LIMITED: 50}, foreign=Foreign())["mon.duplicated"].outcome is Outcome.INCONCLUSIVE


def test_a_status_that_nobody_got_is_a_phantom_and_a_swapped_one_is_altered() -> None:
    assert failed(judge(load(), {OK: 100, LIMITED: 50, ("/api/v1/balance", "GET", "500"): 9})) == {"mon.phantom"}
    assert failed(judge(load(), {OK: 100, ("/api/v1/balance", "GET", "200 OK"): 50})) == {"mon.altered"}


def test_requests_in_flight_and_unanswered_ones_blur_the_count() -> None:
    assert judge(load(unknown=3), {OK: 102, LIMITED: 50})["mon.duplicated"].outcome is Outcome.INCONCLUSIVE
    late = History.of([*load(), exchange(60 * S - 1)])
    for counted in (100, 101):
        assert failed(judge(late, {OK: counted, LIMITED: 50})) == set()
    assert failed(judge(late, {OK: 104, LIMITED: 50})) == {"mon.duplicated"}


def test_a_quiet_time_bounds_the_traffic_of_others_or_shows_that_it_drowns_ours() -> None:
    calm = Foreign(quiet=(reading(0, {OK: 0}), reading(5_500 * S, {OK: 0})))
    assert failed(judge(load(), {OK: 130, LIMITED: 50}, foreign=calm)) == {"mon.duplicated"}
    busy = Foreign(quiet=(reading(0, {OK: 0}), reading(5 * S, {OK: 50})))
    assert judge(load(), {OK: 600, LIMITED: 50}, foreign=busy)["mon.missing"].outcome is Outcome.INCONCLUSIVE
    assert failed(judge(load(), {OK: 600, LIMITED: 0}, foreign=busy)) == {"mon.missing"}


def test_a_counter_that_falls_is_a_defect_unless_a_process_started_anew() -> None:
    pages = [
        reading(5 * S, {OK: 50}),
        reading(61 * S, {OK: 150, LIMITED: 50}),
        reading(62 * S, {OK: 80, LIMITED: 20}),
    ]
    one_worker = by_rule(judge_metrics(POLICY, load(), pages, operations=OPERATIONS, foreign=OURS))
    assert one_worker["mon.not_monotonic"].outcome is Outcome.FAIL
    restarted = [reading(5 * S, {OK: 500}), reading(61 * S, {OK: 40, LIMITED: 50}, start=2.0)]
    found = by_rule(judge_metrics(POLICY, load(), restarted, operations=OPERATIONS, foreign=OURS))
    assert found["mon.not_monotonic"].outcome is Outcome.INCONCLUSIVE
    assert found["mon.missing"].outcome is Outcome.INCONCLUSIVE
    span = FaultSpan("kill", "gateway", 10 * S, 10 * S, 11 * S, 11 * S, True, True)
    killed = judge_metrics(POLICY, load(), pages, operations=OPERATIONS, foreign=OURS, faults=[span])
    assert by_rule(killed)["mon.not_monotonic"].outcome is Outcome.INCONCLUSIVE


def test_labels_are_summed_filtered_renamed_and_may_be_classes() -> None:
    policy = MetricsPolicy(requests_total="hits", labels={"route": "path", "method": "verb", "status": "code"})

    def page(at: int, count: float) -> Reading:
        samples = tuple(
            Sample(
                "hits_total", {"path": "/api/v1/balance", "verb": "GET", "code": code, "service": name, "pid": pid}, n
            )
            for code, name, pid, n in (
                ("2xx", "gateway", "1", count),
                ("2xx", "gateway", "2", count),
                ("4xx", "gateway", "1", count),
                ("2xx", "user", "1", 7 * count),
            )
        )
        return Reading("gateway", "x", at, at, samples)

    readings = [page(5 * S, 0), page(60 * S, 50)]
    found = judge_metrics(policy, load(), readings, operations=OPERATIONS, where={"service": "gateway"}, foreign=OURS)
    assert {one.outcome for one in found} == {Outcome.PASS}


@pytest.mark.parametrize(
    "label", ["7", "ord_0f8fad5b-d9cb-469f-a165-70867728950e", "0f8fad5b-d9cb-469f-a165-70867728950e"]
)
def test_raw_paths_in_a_label_are_named(label: str) -> None:
    other = {(f"/orders/{label[:-1]}{n}", "GET", "200"): 1 for n in range(3)}
    assert "mon.raw_path_label" in failed(judge(load(), {OK: 100, LIMITED: 50, **other}))
    assert failed(judge(load(), {OK: 100, LIMITED: 50, ("/orders/{id}", "GET", "200"): 3})) == set()


def test_traffic_on_other_routes_is_named_and_health_may_not_count() -> None:
    health = ("/health", "GET", "200")
    found = judge(load(), {OK: 100, LIMITED: 50, health: 30}, foreign=Foreign(), uncounted_routes=["/health"])
    assert found["mon.foreign"].outcome is Outcome.INCONCLUSIVE
    assert found["mon.foreign"].shown == ("/health GET 200: 30",)
    assert failed(found) == {"mon.health_counted_as_traffic"}
    assert judge(load(), {OK: 100, LIMITED: 50, health: 30})["mon.foreign"].outcome is Outcome.PASS


def histogram(at: int, counts: Mapping[float, int]) -> Reading:
    name = "http_request_duration_seconds"
    text = {edge: "+Inf" if math.isinf(edge) else str(edge) for edge in counts}
    samples = [Sample(f"{name}_bucket", {"le": text[edge]}, float(count)) for edge, count in counts.items()]
    samples.append(Sample(f"{name}_count", {}, float(max(counts.values(), default=0))))
    return Reading("gateway", "x", at, at, tuple(samples))


def judge_buckets(counts: Mapping[float, int], exclusive: bool = True) -> dict[str, Finding]:
    history = load()
    return by_rule(
        judge_histogram(
            "http_request_duration_seconds",
            history,
            histogram(5 * S, {}),
            histogram(60 * S, counts),
            rows=np.arange(len(history)),
            where={},
            exclusive=exclusive,
        )
    )


def test_a_histogram_holds_one_observation_a_request_none_slower_than_its_client_saw() -> None:
    assert failed(judge_buckets({0.001: 120, 0.005: 150, math.inf: 150})) == set()
    assert failed(judge_buckets({0.001: 120, 0.005: 120, math.inf: 120})) == {"mon.histogram_count_differs"}
    assert failed(judge_buckets({0.001: 0, 0.005: 0, math.inf: 150})) == {"mon.histogram_in_milliseconds"}
    unsure = judge_buckets({0.001: 0, 0.005: 0, math.inf: 190}, exclusive=False)
    assert {one.outcome for one in unsure.values()} == {Outcome.INCONCLUSIVE, Outcome.SKIPPED}
    assert bucket_of({0.1: 50, 0.5: 99, math.inf: 100}, 999) == (0.5, math.inf)


def test_a_ledger_by_request_id() -> None:
    history = load(ok=20, limited=0, unknown=2)
    ids = [one.request_id for one in history]
    full = pl.DataFrame({"request_id": ids[:21], "status": [200] * 21})
    assert failed(by_rule(judge_request_ids(history, full, source="the log"))) == set()
    bad = pl.DataFrame({"request_id": [*ids[1:20], ids[5], "nobody"], "status": [500] + [200] * 20})
    found = by_rule(judge_request_ids(history, bad, source="the log"))
    assert failed(found) == {"audit.missing", "audit.duplicated", "audit.phantom", "audit.altered"}
    assert found["audit.missing"].rows == (0,)
    assert found["audit.duplicated"].rows == (5,)
    assert found["audit.altered"].rows == (1,)
    nothing = judge_request_ids(History.empty(), full.clear(), source="the log")
    assert nothing[0].outcome is Outcome.INCONCLUSIVE


NAME = "http_request_duration_seconds"


def timed(
    total_s: float | None,
    counts: Mapping[float, int] | None = None,
    labels: Mapping[str, str] | None = None,
    where: Mapping[str, str] | None = None,
    exclusive: bool = True,
) -> dict[str, Finding]:
    """Judge 150 answers that took their clients 0.3 s in all."""
    counts = counts or {0.001: 100, 0.005: 150, math.inf: 150}
    labels = labels or {}
    samples = [Sample(f"{NAME}_bucket", {"le": str(edge), **labels}, float(n)) for edge, n in counts.items()]
    samples.append(Sample(f"{NAME}_count", labels, float(max(counts.values()))))
    samples += [Sample(f"{NAME}_sum", labels, total_s)] if total_s is not None else []
    pages = [Reading("g", "x", 5 * S, 5 * S, ()), Reading("g", "x", 60 * S, 60 * S, tuple(samples))]
    rows = np.arange(150)
    return by_rule(judge_histogram(NAME, load(), *pages, rows=rows, where=where or {}, exclusive=exclusive))


def test_the_sum_of_durations_is_no_more_than_clients_waited_and_fits_the_buckets() -> None:
    assert {one.outcome for one in timed(0.2).values()} == {Outcome.PASS}
    for exclusive in (True, False):
        # In milliseconds; nothing added though fifty observations lie above 1 ms; more than the buckets can hold.
        for wrong in (200.0, 0.0, 0.4):
            assert failed(timed(wrong, exclusive=exclusive)) == {"mon.histogram_sum_wrong"}
    first_bucket = {0.005: 150, math.inf: 150}
    assert timed(0.0, first_bucket)["mon.histogram_sum_wrong"].outcome is Outcome.INCONCLUSIVE
    others = {0.001: 100, 0.005: 170, math.inf: 170}
    assert timed(200.0, others, exclusive=False)["mon.histogram_sum_wrong"].outcome is Outcome.INCONCLUSIVE
    assert timed(None)["mon.histogram_sum_wrong"].outcome is Outcome.SKIPPED


def test_labels_of_a_histogram_are_fitted_or_said_not_to_fit() -> None:
    where = {"route": "/orders/{id}", "method": "GET"}
    for labels in (
        {"route": "/orders/:id", "method": "get"},
        {"route": "/orders/<id>/"},
        {"method": "GET"},
        {"a": "b"},
    ):
        assert failed(timed(0.2, labels=labels, where=where)) == set()
    more = {0.001: 100, 0.005: 190, math.inf: 190}
    # Without the method, requests of other methods may be among them.
    assert failed(timed(0.2, more, labels={"route": "/orders/{id}"}, where=where)) == set()
    assert failed(timed(0.2, more, labels={"route": "/orders/{id}", "method": "GET"}, where=where)) == {
        "mon.histogram_count_differs"
    }
    unfit = timed(0.2, labels={"route": "get_order", "method": "GET"}, where=where)["mon.histogram_count_differs"]
    assert unfit.outcome is Outcome.INCONCLUSIVE
    assert "get_order" in unfit.says
    gone = judge_histogram(
        NAME, load(), *[reading(at * S, {}) for at in (5, 60)], rows=np.arange(9), where={}, exclusive=True
    )
    assert "policies.metrics.durations" in gone[0].says

"""Counters labelled in other ways than ours: summed over, read in their spelling, or said not to fit; never accused."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from proofload.judge.reconcile import Foreign, Route, judge_metrics
from proofload.judge.verdict import Finding, Outcome
from proofload.plan.policies import MetricsPolicy
from proofload.record.exchange import Ending, Exchange, Fault
from proofload.record.history import History
from proofload.record.ledger import Reading, Sample

S = 1_000_000_000
OPERATIONS = {"read": Route("/orders/{id}", "GET"), "write": Route("/orders", "POST")}
ANSWERS = (("read", 200, 80), ("read", 429, 40), ("write", 201, 30))
Row = tuple[Mapping[str, str], int]


def load(answers: tuple[tuple[str, int, int], ...] = ANSWERS) -> History:
    made = []
    for operation, status, count in answers:
        for _ in range(count):
            at = 10 * S + len(made)
            times = (at, at, at + 1, at + 2_000_000)
            made.append(
                Exchange(0, "w", operation, 1, "127.0.0.1", 1, *times, Ending.ANSWERED, Fault.NONE, status, 1, 1, "")
            )
    return History.of(made)


def judge(rows: list[Row], policy: MetricsPolicy | None = None, **more: object) -> dict[str, Finding]:
    policy = policy or MetricsPolicy()
    samples = tuple(Sample(policy.requests_total, labels, float(count)) for labels, count in rows)
    pages = [Reading("g", "x", at, at + 1000, found) for at, found in ((5 * S, ()), (60 * S, samples))]
    history = more.pop("history", None) or load()
    given = {"operations": OPERATIONS, "foreign": Foreign(exclusive=True), **more}
    return {one.rule: one for one in judge_metrics(policy, history, pages, **given)}  # type: ignore[arg-type]


def failed(found: Mapping[str, Finding]) -> set[str]:
    return {rule for rule, one in found.items() if one.outcome is Outcome.FAIL}


def unsure(found: Mapping[str, Finding]) -> set[str]:
    return {rule for rule, one in found.items() if one.outcome is Outcome.INCONCLUSIVE}


def rows(
    route: str = "/orders/{id}", get: str = "GET", ok: str = "200", made: str = "201", over: str = "429"
) -> list[Row]:
    return [
        ({"route": route, "method": get, "status": ok}, 80),
        ({"route": route, "method": get, "status": over}, 40),
        ({"route": "/orders", "method": "POST", "status": made}, 30),
    ]


def without(*labels: str, fewer: int = 0) -> list[Row]:
    summed: dict[tuple[tuple[str, str], ...], int] = {}
    for found, count in rows():
        key = tuple((name, value) for name, value in found.items() if name not in labels)
        summed[key] = summed.get(key, 0) + count
    first = next(iter(summed))
    summed[first] -= fewer
    return [(dict(key), count) for key, count in summed.items()]


ABSENT = (("method",), ("status",), ("method", "status"), ("route", "method"), ("route", "method", "status"))


@pytest.mark.parametrize("labels", ABSENT)
def test_a_label_that_is_not_there_is_summed_over_and_totals_are_still_judged(labels: tuple[str, ...]) -> None:
    found = judge(without(*labels))
    assert failed(found) == set()
    assert found["mon.labels"].outcome is Outcome.PASS
    assert all(label in found["mon.labels"].says for label in labels)
    if "route" not in labels:
        assert unsure(found) == set()
    assert failed(judge(without(*labels, fewer=9))) == {"mon.missing"}


def test_a_counter_without_routes_also_counts_our_own_readings_of_it() -> None:
    samples = without("route", "method")
    assert failed(judge([(labels, count + 2 * (labels["status"] == "200")) for labels, count in samples])) == set()


@pytest.mark.parametrize("label", ["route", "method", "status"])
def test_a_label_that_was_declared_and_is_not_there_is_said_and_nothing_is_accused(label: str) -> None:
    declared = MetricsPolicy(labels={"route": "route", "method": "method", "status": "status"})
    found = judge(without(label), declared)
    assert failed(found) == set()
    assert found["mon.labels"].outcome is Outcome.INCONCLUSIVE
    assert f"no label {label}" in found["mon.labels"].says
    assert "policies.metrics.labels" in found["mon.labels"].says


@pytest.mark.parametrize(
    "route",
    [
        "/orders/:id",
        "/orders/<id>",
        "/orders/<int:id>",
        "/orders/*",
        "/orders/{id}/",
        "/Orders/{orderId}",
        "orders/[id]",
        "http://gateway:8080/orders/{id}",
        "/orders/{id:[0-9]+}",
        "^/orders/(?P<id>[^/]+)/$",
        "/orders/17",
        "GET /orders/:x",
    ],
)
def test_routes_in_another_spelling_are_ours(route: str) -> None:
    found = judge(rows(route))
    assert failed(found) == set()
    assert found["mon.missing"].outcome is Outcome.PASS
    assert failed(judge(rows(route)[1:])) == {"mon.missing"}


def test_one_catch_all_route_is_compared_with_the_sum_of_what_goes_under_it() -> None:
    catch_all: list[Row] = [
        ({"route": "/*", "method": "GET", "status": "200"}, 80),
        ({"route": "/*", "method": "GET", "status": "429"}, 40),
        ({"route": "/*", "method": "POST", "status": "201"}, 30),
    ]
    assert {one.outcome for one in judge(catch_all).values()} == {Outcome.PASS}
    assert failed(judge(catch_all[:2])) == {"mon.missing"}


@pytest.mark.parametrize(
    ("method", "ok", "made", "over"),
    [
        ("get", "200", "201", "429"),
        ("GET", "2xx", "2xx", "4xx"),
        ("GET", "2XX", "2XX", "4XX"),
        ("GET", "2", "2", "4"),
        ("Get", "SUCCESS", "SUCCESS", "CLIENT_ERROR"),
        ("GET", "200 OK", "201 Created", "429"),
        ("GET", "200", "201", "4xx"),
    ],
)
def test_methods_and_statuses_in_another_spelling_are_ours(method: str, ok: str, made: str, over: str) -> None:
    found = judge(rows(get=method, ok=ok, made=made, over=over))
    assert {one.outcome for one in found.values()} == {Outcome.PASS}
    assert failed(judge(rows(get=method, ok=ok, made=made, over=over)[1:])) == {"mon.missing"}


def test_the_usual_names_of_labels_are_found_where_none_is_declared() -> None:
    names = {"route": "handler", "method": "verb", "status": "code"}
    renamed: list[Row] = [({names[name]: value for name, value in found.items()}, n) for found, n in rows()]
    assert {one.outcome for one in judge(renamed).values()} == {Outcome.PASS}
    port: list[Row] = [({**found, "endpoint": "http"}, n) for found, n in without("route")]
    assert "no label for the route" in judge(port)["mon.labels"].says


def test_all_missing_and_as_many_elsewhere_means_that_the_labels_do_not_fit() -> None:
    by_function: list[Row] = [
        ({"route": "get_order", "method": "GET", "status": "200"}, 80),
        ({"route": "get_order", "method": "GET", "status": "429"}, 40),
        ({"route": "create", "method": "POST", "status": "201"}, 30),
    ]
    found = judge(by_function)
    assert failed(found) == set()
    assert {"mon.labels"} <= unsure(found)
    assert "'get_order', expected our paths" in found["mon.labels"].says
    # The totals are equal, so nothing is missing; with fewer it can't be told.
    assert failed(judge(by_function[1:])) == set()
    assert judge(by_function[1:])["mon.missing"].outcome is Outcome.INCONCLUSIVE


def test_rejections_counted_on_a_route_of_their_own_are_not_missing() -> None:
    unmatched: list[Row] = [*rows()[:1], ({"route": "none", "method": "GET", "status": "429"}, 40), *rows()[2:]]
    found = judge(unmatched)
    assert failed(found) == set()
    assert {"mon.labels", "mon.missing"} <= unsure(found)
    assert "GET none 429" in found["mon.labels"].says
    few: list[Row] = [*rows()[:1], ({"route": "none", "method": "GET", "status": "429"}, 9), *rows()[2:]]
    assert failed(judge(few)) == {"mon.missing"}


def test_no_such_counter_names_the_counters_that_rose() -> None:
    found = judge([], MetricsPolicy(requests_total="hits_total"))
    assert "there is no counter hits_total" in found["mon.missing"].says
    other = Sample("requests_total", {}, 150.0)
    pages = [Reading("g", "x", at, at, samples) for at, samples in ((5 * S, ()), (60 * S, (other,)))]
    (one,) = judge_metrics(MetricsPolicy(), load(), pages, operations=OPERATIONS)
    assert one.outcome is Outcome.INCONCLUSIVE
    assert "requests_total (by 150)" in one.says
    selected = judge_metrics(MetricsPolicy(requests_total="requests"), load(), pages, operations={}, where={"a": "b"})
    assert "policies.metrics.only" in selected[0].says


def test_a_count_that_is_no_number_counts_nothing() -> None:
    more: list[Row] = [*rows(), ({"route": "/orders", "method": "POST", "status": "500"}, 0)]
    policy = MetricsPolicy()
    samples = tuple(Sample(policy.requests_total, labels, float(n) if n else float("nan")) for labels, n in more)
    pages = [Reading("g", "x", at, at, found) for at, found in ((5 * S, ()), (60 * S, samples))]
    found = judge_metrics(policy, load(), pages, operations=OPERATIONS, foreign=Foreign(exclusive=True))
    assert {one.outcome for one in found} == {Outcome.PASS}


def test_swapped_labels_of_two_routes_fail_where_the_counts_tell_them_apart() -> None:
    two = {"a": Route("/a", "GET"), "b": Route("/b", "GET")}

    def page(a: int, b: int) -> list[Row]:
        return [({"route": f"/{name}", "method": "GET", "status": "200"}, n) for name, n in (("a", a), ("b", b))]

    told = load((("a", 200, 60), ("b", 200, 90)))
    for foreign in (Foreign(exclusive=True), Foreign()):
        swapped = judge(page(90, 60), history=told, operations=two, tell_apart=True, foreign=foreign)
        assert failed(swapped) == {"mon.altered"}
    kept = judge(page(60, 90), history=told, operations=two, tell_apart=True)
    assert {one.outcome for one in kept.values()} == {Outcome.PASS}
    equal = load((("a", 200, 75), ("b", 200, 75)))
    assert unsure(judge(page(75, 75), history=equal, operations=two, tell_apart=True)) == {"mon.told_apart"}


def test_raw_paths_need_two_ids_of_one_route() -> None:
    def raw(*ids: str) -> list[Row]:
        split: list[Row] = [
            ({"route": f"/orders/{name}", "method": "GET", "status": "200"}, 80 // len(ids)) for name in ids
        ]
        return [*split, *rows()[1:]]

    assert failed(judge(raw("7", "8"))) == {"mon.raw_path_label"}
    names = {"read": ("alice", "bob")}
    assert failed(judge(raw("alice", "bob"), sent_ids=names)) == {"mon.raw_path_label"}
    assert judge(raw("7"))["mon.raw_path_label"].outcome is Outcome.INCONCLUSIVE
    assert judge(rows(), sent_ids={"read": ("7", "8")})["mon.raw_path_label"].outcome is Outcome.PASS
    assert judge(rows(), sent_ids={"read": ("7",)})["mon.raw_path_label"].outcome is Outcome.INCONCLUSIVE
    assert judge(without("route"))["mon.raw_path_label"].outcome is Outcome.SKIPPED


def test_counts_of_nothing_but_refusals_do_not_pass_silently() -> None:
    refused = load((("read", 401, 100), ("write", 401, 50)))
    counted: list[Row] = [
        ({"route": "/orders/{id}", "method": "GET", "status": "401"}, 100),
        ({"route": "/orders", "method": "POST", "status": "401"}, 50),
    ]
    found = judge(counted, history=refused)
    assert unsure(found) == {"mon.succeeded"}
    assert "0 of 150 answers were a success (150 × 401)" in found["mon.succeeded"].says
    assert judge(rows())["mon.succeeded"].says == "110 of 150 answers were a success"


def test_health_checks_can_not_be_told_from_traffic_without_routes() -> None:
    found = judge(without("route"), uncounted_routes=["/health"])
    assert found["mon.health_counted_as_traffic"].outcome is Outcome.INCONCLUSIVE
    health: list[Row] = [*rows(), ({"route": "/health/", "method": "GET", "status": "200"}, 9)]
    assert failed(judge(health, uncounted_routes=["/health"])) == {"mon.health_counted_as_traffic"}

"""Which counter a draft declares, and which labels: never one that is not there."""

from __future__ import annotations

import pytest

from proofload.discover.survey import counter_of
from proofload.plan.policies import MetricsPolicy
from proofload.record.ledger import Sample

PATH = "/orders/42?full=1"


def pages(*series: tuple[str, dict[str, str], float]) -> tuple[list[Sample], list[Sample]]:
    before = [Sample(name, labels, 3) for name, labels, _ in series]
    return before, [Sample(name, labels, 3 + rise) for name, labels, rise in series]


@pytest.mark.parametrize(
    ("labels", "told", "only"),
    [
        ({"route": "/orders/42", "method": "GET", "status": "200"}, {"route", "method", "status"}, {}),
        ({"handler": "/orders/{id}", "code": "2xx"}, {"route", "status"}, {}),
        ({"status_code": "200", "verb": "get", "view": "order_detail"}, {"method", "status"}, {}),
        ({"uri": "/orders/:id", "outcome": "SUCCESS", "service": "gw"}, {"route", "status"}, {"service": "gw"}),
        ({"path": "/orders/{id}", "status": "200", "status_class": "2xx"}, {"route", "status"}, {}),
    ],
)
def test_labels_that_are_there_are_named_and_no_others(
    labels: dict[str, str], told: set[str], only: dict[str, str]
) -> None:
    found = counter_of(*pages(("requests_total", labels, 5)), PATH, "/metrics")
    assert found is not None
    assert found.labels.keys() == told
    assert set(found.labels.values()) <= labels.keys()
    assert found.only == only
    # What is declared is what the judge asks for: a label that is not named is summed over.
    assert MetricsPolicy(labels=dict(found.labels)).labels == dict(found.labels)


def test_the_counter_with_the_most_labels_is_taken_and_none_that_rose_otherwise_or_tells_nothing() -> None:
    full = ("b_seconds_count", {"route": "/orders/{id}", "method": "GET", "code": "200"}, 5.0)
    found = counter_of(*pages(("a_total", {"code": "200"}, 5), full), PATH, "/metrics")
    assert found is not None
    assert found.name == "b_seconds_count"
    assert counter_of(*pages(("a_total", {"code": "200"}, 6)), PATH, "/metrics") is None
    assert counter_of(*pages(("a_total", {"worker": "1"}, 5)), PATH, "/metrics") is None

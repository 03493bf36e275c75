"""TC-MON-002 counts by the labels that a counter has, and sends what can be sent for each of its two looks."""

from __future__ import annotations

import pytest
from tests.unit.cases.tape import S, preset

from proofload.cases.monitoring.freshness import WATCHED, Watched, counted_between
from proofload.plan.operation import Operation
from proofload.plan.policies import MetricsPolicy
from proofload.record.ledger import Reading, Sample

READ = Operation(name="read", path="/orders/42", route="/orders/{id}")


def reading(label: str, labels: dict[str, str], ours: float, others: float) -> Reading:
    names = {name: "/other" if value == "/orders/{id}" else value for name, value in labels.items()}
    samples = (Sample("requests_total", labels, ours), Sample("requests_total", names, others))
    return Reading("prometheus", label, S, S, samples)


@pytest.mark.parametrize(
    ("labels", "declared", "counted"),
    [
        ({"route": "/orders/{id}", "method": "GET", "code": "200"}, None, 20),
        ({"handler": "/orders/{id}", "status": "2xx"}, None, 20),
        ({"path": "/orders/{id}", "verb": "get"}, {"route": "path", "method": "verb"}, 20),
    ],
)
def test_counts_of_the_operation_are_found_whatever_its_labels_are_called(
    labels: dict[str, str], declared: dict[str, str] | None, counted: int
) -> None:
    policy = MetricsPolicy(requests_total="requests_total", **({"labels": declared} if declared else {}))
    before, now = reading("before", labels, 3, 5), reading("now", labels, 23, 105)
    assert counted_between(policy, READ, before, now) == counted
    assert counted_between(policy, READ, before, reading("now", labels, 3, 105)) == 0


def test_a_counter_without_a_route_counts_all_that_rose() -> None:
    policy = MetricsPolicy(requests_total="requests_total", labels={"status": "code"})
    before, now = (
        Reading("prometheus", label, S, S, (Sample("requests_total", {"code": "200"}, count),))
        for label, count in (("before", 3.0), ("now", 23.0))
    )
    assert counted_between(policy, READ, before, now) == 20


def test_what_is_denied_may_be_no_read_and_what_is_counted_always_is_one() -> None:
    target = preset()
    assert target.policies.metrics is not None
    assert target.policies.audit is not None
    policies = target.policies.model_copy(
        update={
            "metrics": target.policies.metrics.model_copy(update={"prometheus": "http://127.0.0.1:9090"}),
            "audit": target.policies.audit.model_copy(update={"loki": "http://127.0.0.1:3100", "loki_query": "{}"}),
        }
    )

    def watched(**operations: Operation) -> Watched:
        found = WATCHED.find(target.model_copy(update={"policies": policies, "operations": operations}))
        assert isinstance(found, Watched)
        return found

    pay = Operation(name="pay", path="/pay", method="POST", auth="bearer", effect="lasting")
    free = Operation(name="free", path="/free")
    own = Operation(name="own", path="/own", auth="bearer")
    assert watched(pay=pay, free=free) == Watched("free", "pay", by_prometheus=True, by_loki=True)
    assert watched(pay=pay, free=free, own=own) == Watched("own", "own", by_prometheus=True, by_loki=True)

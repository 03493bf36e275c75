"""The counts side by side are read as the judge reads them: by fitted labels, and ids wherever entries keep them."""

from __future__ import annotations

import json

from tests.unit.cases.tape import MS, Ledgers, Reading, S, Tape, line, preset

from proofload.plan.target import Target
from proofload.record.ledger import Sample
from proofload.report.charts.ledgers import ledgers


def declared(**audit: object) -> Target:
    target = preset()
    assert target.policies.audit is not None
    assert target.policies.metrics is not None
    metrics = target.policies.metrics.model_copy(update={"only": {}})
    policy = target.policies.audit.model_copy(update=audit)
    return target.model_copy(
        update={"policies": target.policies.model_copy(update={"metrics": metrics, "audit": policy})}
    )


def test_labels_by_other_names_and_nested_ids_in_envelopes_are_counted() -> None:
    tape = Tape("TC-INT-002", at_ns=10 * S)
    tape.add("one by one", 200, 3)
    labels = {"handler": "/api/v1/auth/profile", "code": "200"}
    readings = [
        Reading("gateway", label, at_ns, at_ns + MS, (Sample("http_requests_total", labels, count),))
        for label, at_ns, count in (("before", S, 5), ("after", 60 * S, 8))
    ]
    entries = []
    for one in tape.exchanges:
        inner = json.dumps({"event": {"action": "rate_limited"}, "http": {"request": {"id": one.request_id}}})
        outer = {"log": f"{inner}\n", "stream": "stdout"}
        entries.append(line(len(entries) + 1, json.dumps(outer), outer))
    target = declared(fields={"event": "event.action", "request_id": "http.request.id"})
    (picture,) = ledgers(tape.evidence(target, ledgers=Ledgers(tuple(readings), tuple(entries))))
    assert picture.table == (("/api/v1/auth/profile 200", "3", "3", "3", "0"),)

"""The section of docs/proof.md on metrics and audit logs."""

from __future__ import annotations

from tests.prove.reconcile.metrics_and_audit import (
    AUDIT_DEFECTS,
    METRIC_DEFECTS,
    audit_world,
    detection,
    failed,
    metrics_world,
)

from proofload.judge.verdict import Outcome

TITLE = "Metrics and audit logs"
TEXT = (
    "Simulated servers count and log at true instants; pages are scraped while requests are in flight, answers and "
    "requests are lost, and in some honest worlds others use the target too. *Could be told*: the true counts "
    "differ by more than the declared bound, or a line of the log differs from an honest one. *Found*: the judge "
    "said FAIL."
)


def honest(count):
    """Yield (what, histories, FAIL, INCONCLUSIVE) for honest counters and logs."""
    for what, world in (("request counters", metrics_world), ("audit log", audit_world)):
        accused = abstained = 0
        for seed in range(-(-count // 2)):
            findings, _ = world(seed, count=60 + seed % 5 * 30)
            accused += bool(failed(findings))
            abstained += any(one.outcome is Outcome.INCONCLUSIVE for one in findings)
        yield what, -(-count // 2), accused, abstained


def rows(scale):
    """Yield one row of the table for each defect and number of requests; `scale` is the number of worlds for each."""
    for world, defects in ((metrics_world, METRIC_DEFECTS), (audit_world, AUDIT_DEFECTS)):
        for defect in defects:
            for count in (100, 1_000):
                could, found = detection(world, defect, count, scale)
                yield {
                    "defect": defect,
                    "requests": count,
                    "worlds": scale,
                    "could be told": could,
                    "found": found,
                }

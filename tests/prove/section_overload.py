"""The section of docs/proof.md on overload."""

from __future__ import annotations

from tests.prove.overload.queues import DEFECTS, Server, judged

from proofload.judge.verdict import Outcome

TITLE = "Overload"
TEXT = (
    "Simulated servers with workers and a bounded queue go through baseline, ramp, 2.3 times their capacity and the "
    "baseline again: some 10,000 requests a run. Every defect shows in the true state of the server, so all of them "
    "could be told."
)
SIZES = ((2, 10, 10), (4, 20, 20), (8, 40, 10), (16, 100, 50))


def honest(count):
    """Yield (what, histories, FAIL, abstained) for servers of several sizes."""
    share = -(-count // len(SIZES))
    for workers, work_ms, room in SIZES:
        failed = abstained = 0
        for seed in range(share):
            found, _ = judged(seed, Server(workers=workers, work_ns=work_ms * 1_000_000, room=room))
            failed += any(one.outcome >= Outcome.FAIL for one in found)
            abstained += any(one.outcome is Outcome.INCONCLUSIVE for one in found)
        yield f"{workers} workers of {work_ms} ms, room for {room}", share, failed, abstained


def rows(scale):
    """Yield one row of the table for each defect."""
    worlds = max(2, scale)
    for name, changes in DEFECTS.items():
        found = sum(
            any(one.outcome is Outcome.FAIL for one in judged(seed, Server(**changes))[0]) for seed in range(worlds)
        )
        yield {"defect": name, "worlds": worlds, "could be told": worlds, "found": found}

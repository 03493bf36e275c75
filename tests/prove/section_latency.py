"""The section of docs/proof.md on latency."""

from __future__ import annotations

from tests.prove.latency.slowness import DEFECTS, failed, judged

from proofload.judge.verdict import Outcome

TITLE = "Latency"
TEXT = (
    "Simulated response times over a minute at a steady rate: noise in waves, a machine that is busy elsewhere now and "
    "then, warm-up. A promise that is kept must not be called broken, and a second measurement of the same server must "
    "not be called worse. Each defect is really there in each of its worlds, so all could be told if there are samples "
    "enough."
)


def honest(count):
    """Yield (what, histories, FAIL, INCONCLUSIVE) for honest servers."""
    accused = abstained = 0
    for seed in range(count):
        findings = judged(seed, count=600)
        accused += bool(failed(findings))
        abstained += any(one.outcome is Outcome.INCONCLUSIVE for one in findings)
    yield "noise, hiccups, warm-up", count, accused, abstained


def rows(scale):
    """Yield one row of the table for each defect and number of requests; `scale` is the number of worlds for each."""
    for defect in DEFECTS:
        for count in (600, 2_000, 6_000):
            found = sum(defect in failed(judged(seed, defect, count)) for seed in range(scale))
            yield {"defect": defect, "requests": count, "worlds": scale, "could be told": scale, "found": found}

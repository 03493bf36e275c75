"""The section of docs/proof.md on locks and money."""

from __future__ import annotations

from tests.prove.lock.banks import DEFECTS
from tests.prove.lock.trials import detection, failed, honest_trial

from proofload.judge.verdict import Outcome

TITLE = "Locks and money"
TEXT = (
    "Simulated banks take locks, read and write at true instants, behind a network with delays, loss and timeouts; "
    "some operations fail, outlive their lock or die. *Could be told*: with the true instants, money that does not "
    "add up, a refusal while no operation of that user was under way, or two holds at once. *Found*: the judge, who"
    " sees only intervals, said FAIL. *Abstained*: the money rule was INCONCLUSIVE, because too few or too many "
    "were unanswered."
)


def honest(count):
    """Yield (what, histories, FAIL, INCONCLUSIVE) for the honest bank."""
    accused = abstained = 0
    for seed in range(count):
        found = honest_trial(seed)
        accused += bool(failed(found))
        abstained += found[0].outcome is Outcome.INCONCLUSIVE
    yield "one lock a user", count, accused, abstained


def rows(scale):
    """Yield one row of the table for each defect and number of bursts; `scale` is the number of worlds for each."""
    for name in DEFECTS:
        for bursts in (1, 5, 20):
            could, found, size = detection(name, bursts, scale)
            yield {
                "defect": name,
                "bursts": bursts,
                "requests": size,
                "worlds": scale,
                "could be told": could,
                "found": found,
            }

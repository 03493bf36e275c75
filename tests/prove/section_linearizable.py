"""The section of docs/proof.md on the linearizability search."""

from __future__ import annotations

from tests.prove.linearizable.cells import DEFECTS, accused, could_be_told, simulate, undecided

TITLE = "Linearizability"
TEXT = (
    "Simulated registers with read, write and compare-and-set decide at true instants; five processes see them "
    "through a network, and some answers are lost. *Could be told*: the answers contradict the order of the true "
    "instants. *Found*: no order that the intervals allow explains them. Concurrency hides the difference: what two"
    " overlapping operations did first is not known to anyone outside."
)


def honest(count):
    """Yield (what, histories, FAIL, INCONCLUSIVE) for the honest register."""
    found = abstained = 0
    for seed in range(count):
        seen, _ = simulate(seed, count=20 + seed % 5 * 20)
        found += accused(seen)
        abstained += undecided(seen)
    yield "register", count, found, abstained


def rows(scale):
    """Yield one row of the table for each defect and number of operations; `scale` is the number of worlds for each."""
    for defect in DEFECTS:
        for count in (20, 100, 300):
            could = found = 0
            for seed in range(scale):
                seen, true = simulate(seed, defect, count)
                told = could_be_told(true)
                could += told
                found += told and accused(seen)
            yield {"defect": defect, "operations": count, "worlds": scale, "could be told": could, "found": found}

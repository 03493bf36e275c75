"""Trials of the judges of locks: honest worlds that must not be accused, defective ones that should be."""

from __future__ import annotations

from tests.prove.lock.banks import DEFECTS, POLICY, Bank, could_be_told, simulate

from proofload.judge.lock import judge_lock
from proofload.judge.verdict import Outcome


def judged(world):
    return judge_lock(POLICY, world.history, world.movements, world.accounts, bursts=world.bursts, budget=100_000)


def failed(findings):
    return sorted({one.rule for one in findings if one.outcome >= Outcome.FAIL})


def honest_trial(seed):
    """Return the findings on one honest bank, with everything drawn."""
    return judged(simulate(seed, Bank, bursts=1 + seed % 6))


def detection(name, bursts, worlds):
    """Return in how many worlds a defect could be told, in how many of them it was found, and the mean size."""
    could = found = size = 0
    for seed in range(worlds):
        world = simulate(seed, DEFECTS[name], bursts)
        size += len(world.requests)
        if could_be_told(world):
            could += 1
            found += bool(failed(judged(world)))
    return could, found, size // worlds

"""Simulated registers behind a network: honest ones, and ones that lose, reorder or fall behind."""

from __future__ import annotations

from proofload.core.seeds import stream
from proofload.judge.linearizable import search
from proofload.judge.linearizable.search import SearchResult
from proofload.judge.models.model import FOREVER_NS, UNKNOWN, ModelOperation
from proofload.judge.models.register import Register

DEFECTS = ("stale_read", "lost_write", "cas_in_two_steps", "dirty_read")


def simulate(seed, defect="", count=60, processes=5):
    """Return a history as a client sees it, and the same at the true instants at which the register decided."""
    dice = stream(seed, "cells", defect, count)
    loss, spread = dice.choice([0.0, 0.05, 0.15]), dice.choice([2, 10, 40])
    calls, free = [], [0] * processes
    for row in range(count):
        process = free.index(min(free))
        begin = free[process] + dice.randrange(1, 4)
        effect = begin + dice.randrange(1, spread)
        free[process] = effect + dice.randrange(1, spread)
        calls.append((effect, row, process, begin, free[process]))
    seen, true, value, old_values = [], [], None, [None]
    for effect, row, process, begin, end in sorted(calls):
        told = dice.random() >= loss
        happens = told or dice.random() < 0.5
        call, argument, result = dice.choice(["read", "write", "cas"]), None, None
        if call == "read":
            result = value
            if defect == "stale_read" and dice.random() < 0.3:
                result = old_values[max(0, len(old_values) - 2)]
            if defect == "dirty_read" and dice.random() < 0.05:
                result = dice.randrange(5)
        elif call == "write":
            argument = dice.randrange(5)
            happens = happens and not (defect == "lost_write" and dice.random() < 0.1)
        else:
            argument = (dice.randrange(5), dice.randrange(5))
            compared = old_values[max(0, len(old_values) - 2)] if defect == "cas_in_two_steps" else value
            result = compared == argument[0]
        if happens and (call == "write" or (call == "cas" and result)):
            value = argument if call == "write" else argument[1]
            old_values.append(value)
        answer = result if told else UNKNOWN
        seen.append(ModelOperation(row, process, call, argument, answer, begin, end if told else FOREVER_NS, told))
        true.append(ModelOperation(row, process, call, argument, answer, effect, effect if told else FOREVER_NS, told))
    return seen, true


def could_be_told(true):
    """Say whether the answers contradict the order of the true instants; naive: one value after the other.

    An operation whose answer was lost may have happened or not, but if so at its own instant: both are followed.
    """
    values = {None}
    for one in sorted(true, key=lambda one: (one.invoked_ns, one.row)):
        after = set()
        for value in values:
            if not one.certain:
                after.add(value)
            if one.call == "read":
                if not one.certain or one.result == value:
                    after.add(value)
            elif one.call == "write":
                after.add(one.argument)
            else:
                swaps = value == one.argument[0]
                if not one.certain or one.result == swaps:
                    after.add(one.argument[1] if swaps else value)
        values = after
        if not values:
            return True
    return False


def accused(operations):
    return search(operations, Register(), budget=200_000).answer is SearchResult.NOT_LINEARIZABLE


def undecided(operations):
    return search(operations, Register(), budget=200_000).answer is SearchResult.UNDECIDED

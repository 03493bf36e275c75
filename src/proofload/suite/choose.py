"""Which cases a person asked for, with everything that is wrong with the asking at once."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

from proofload.cases.case import Case
from proofload.core.errors import PlanError, Problem


def choose(catalogue: Mapping[str, Case], wanted: Sequence[str]) -> list[Case]:
    """Return the wanted cases and their prerequisites, in the catalogue's order; nothing wanted means all.

    An id may be written in any case and may be a prefix that ends at a dash: `tc-rl` means all of TC-RL.
    Raises PlanError where an id matches nothing, and where nothing is left to run.
    """
    if not wanted:
        chosen = set(catalogue)
    else:
        chosen, problems = set(), []
        for word in wanted:
            found = _matching(catalogue, word)
            chosen |= found
            if not found:
                near = difflib.get_close_matches(word.upper(), catalogue, n=1, cutoff=0.5)
                remedy = f"did you mean {near[0]}? " if near else ""
                problems.append(Problem("case", repr(word), "the id of a case", remedy + "see proofload cases"))
        if problems:
            raise PlanError(problems)
    if not chosen:
        raise PlanError([Problem("cases", "none", "at least one", "see proofload cases")])
    while more := {one for case in chosen for one in catalogue[case].prerequisites} - chosen:
        chosen |= more
    return [case for case in catalogue.values() if case.id in chosen]


def _matching(catalogue: Mapping[str, Case], word: str) -> set[str]:
    word = word.upper().rstrip("-")
    return {case for case in catalogue if case == word or case.startswith(word + "-")} if word else set()

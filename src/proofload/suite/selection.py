"""Which cases a person asked for, with everything that is wrong with the asking at once."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from proofload.cases.case import AnyCase, Category, Priority
from proofload.core.errors import PlanError, Problem
from proofload.suite.requested_cases import CaseFilter


def choose(catalogue: Mapping[str, AnyCase], choice: CaseFilter, core: Collection[str] | None = None) -> list[AnyCase]:
    """Return the cases that were asked for and their prerequisites, in the catalogue's order.

    Asked for nothing, it is the cases named in `core`, or all of them where `core` is None. A prerequisite that is
    skipped by name stays away; the cases that need it are then SKIPPED by the schedule, which says why.
    Raises PlanError with all problems at once: words that match nothing, unknown filters, nothing left to run.
    """
    problems: list[Problem] = []
    categories = _named(choice.categories, [str(one) for one in Category], "--category", problems)
    priorities = _named(choice.priorities, [str(one) for one in Priority], "--priority", problems)
    phases = _phases(catalogue, choice.phases, problems)
    skipped = _words(catalogue, choice.skip, "--skip", problems)
    wanted = _words(catalogue, choice.words, "case", problems)
    if problems:
        raise PlanError(problems)
    narrowed = bool(categories or priorities or phases)
    if not choice.words:
        wanted = set(catalogue) if core is None or choice.everything or narrowed else set(core) & set(catalogue)
    checks: list[Callable[[AnyCase], bool]] = []
    if categories:
        checks.append(lambda case: str(case.category) in categories)
    if priorities:
        checks.append(lambda case: str(case.priority) in priorities)
    if phases:
        checks.append(lambda case: case.phase in phases)
    chosen = {one for one in wanted if all(check(catalogue[one]) for check in checks)} - skipped
    if not chosen:
        got = "none is left" if wanted else "none"
        raise PlanError([Problem("cases", got, "at least one", "see proofload cases")])
    while more := {one for case in chosen for one in catalogue[case].after} - chosen - skipped:
        chosen |= more
    return [case for case in catalogue.values() if case.id in chosen]


def _words(catalogue: Mapping[str, AnyCase], words: Sequence[str], where: str, problems: list[Problem]) -> set[str]:
    found: set[str] = set()
    for word in words:
        matching = set(_matching(catalogue, word))
        found |= matching
        if not matching:
            near = difflib.get_close_matches(word.upper(), catalogue, n=1, cutoff=0.5)
            remedy = f"did you mean {near[0]}? " if near else ""
            problems.append(Problem(where, repr(word), "the id of a case", remedy + "see proofload cases"))
    return found


def _matching(catalogue: Mapping[str, AnyCase], word: str) -> Iterator[str]:
    word = word.upper().rstrip("-")
    return (case for case in catalogue if word and (case == word or case.startswith(word + "-")))


def _named(words: Sequence[str], known: Sequence[str], where: str, problems: list[Problem]) -> set[str]:
    """Return the known names that the words mean: any case, with spaces, dashes or underscores."""
    by_key = {_key(name): name for name in known}
    for word in words:
        if _key(word) not in by_key:
            expected = "one of " + ", ".join(by_key)
            near = difflib.get_close_matches(_key(word), by_key, n=1)
            problems.append(Problem(where, repr(word), expected, f"did you mean {near[0]}?" if near else ""))
    return {by_key[_key(word)] for word in words if _key(word) in by_key}


def _phases(catalogue: Mapping[str, AnyCase], phases: Sequence[int], problems: list[Problem]) -> set[int]:
    known = sorted({case.phase for case in catalogue.values()})
    for phase in phases:
        if phase not in known:
            expected = "a phase with cases: " + ", ".join(map(str, known))
            problems.append(Problem("--phase", str(phase), expected, "see proofload cases"))
    return set(phases)


def _key(name: str) -> str:
    return "-".join(name.lower().replace("_", " ").replace("-", " ").split())

"""The phases that a circuit goes through, each with bounds in place of instants, and what a replay of them saw."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

LATE, NEVER_OPENS, EARLY = "cb.opens_late", "cb.never_opens", "cb.opens_early"
REACHED, STATUS = "cb.reached_while_open", "cb.wrong_status_when_open"
NO_TRIAL, FLOOD = "cb.never_half_opens", "cb.half_open_flood"
CLOSES_EARLY, NO_PERIOD, NEVER_CLOSES = "cb.closes_early", "cb.reopens_without_period", "cb.never_closes"


@dataclass(frozen=True, slots=True)
class Closed:
    """A closed phase: it began somewhere in [since_lo, since_hi]."""

    since_lo: int
    since_hi: int


@dataclass(frozen=True, slots=True)
class Due:
    """By `at_ns` the circuit surely had to be open, for the failures at `places`."""

    at_ns: int
    places: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Open:
    """An open phase: it began somewhere in [lo, hi]."""

    lo: int
    hi: int
    why: str
    """What opened it: `failures`, or `trial` where a half-open trial failed."""
    successes: int = 0
    """Trials that may have succeeded before that."""


@dataclass(frozen=True, slots=True)
class Breach:
    """A rule broken for certain, and the calls (places in `Calls`) that show it."""

    rule: str
    says: str
    places: tuple[int, ...]
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class Replay:
    """What the replay saw: how often each rule was put to the test, and what was broken."""

    breaches: list[Breach] = field(default_factory=list)
    tested: Counter[str] = field(default_factory=Counter)
    unclear: str = ""
    """Why the replay stopped before the end; what came later is not judged."""
    undecided: dict[str, str] = field(default_factory=dict)
    """Rules that seem broken, and why that is not certain."""
    openings: list[tuple[int, int]] = field(default_factory=list)
    """For each time the circuit opened: the earliest and the latest instant."""

    def breach(self, rule: str, says: str, *places: int, notes: tuple[str, ...] = ()) -> None:
        """Note a rule broken, once: the first counterexample is the one that is told."""
        if all(known.rule != rule for known in self.breaches):
            self.breaches.append(Breach(rule, says, places, notes))

    def withdraw(self, rules: set[str], why: str) -> None:
        """Take back the breaches of some rules: they rest on what is not certain."""
        for known in self.breaches:
            if known.rule in rules:
                self.undecided.setdefault(known.rule, f"{known.says}; not certain, for {why}")
        self.breaches = [known for known in self.breaches if known.rule not in rules]

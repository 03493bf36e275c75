"""GCRA, the generic cell rate algorithm (ITU-T I.371): one theoretical arrival time in place of a bucket."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

State = Fraction
"""The theoretical arrival time of the next request, in nanoseconds."""


@dataclass(frozen=True, slots=True)
class Gcra:
    """The promise: a request may come `burst` − 1 emission intervals before its theoretical time, not more."""

    limit: int
    window_ns: int
    burst: int

    def admit(self, state: State | None, at_ns: int) -> tuple[bool, State]:
        """Return whether a request decided at `at_ns` is admitted, and the state after it.

        >>> model = Gcra(limit=1, window_ns=10, burst=2)
        >>> model.admit(Fraction(20), 9)[0], model.admit(Fraction(20), 10)[0]
        (False, True)
        """
        interval = Fraction(self.window_ns, self.limit)
        due = max(Fraction(at_ns), state if state is not None else Fraction(at_ns))
        admitted = at_ns >= due - (self.burst - 1) * interval
        return admitted, due + interval if admitted else due

"""What is known of a run while it goes on: told by the cases, shown by the terminal and by the live page alike."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from proofload.core.units import NS_PER_SECOND
from proofload.judge.verdict import Outcome
from proofload.record.histogram import DelayHistogram
from proofload.record.pulse import Pulse

WAITING = "waiting for its turn"
_MOST_POINTS = 240
_LEAST_STEP_NS = NS_PER_SECOND // 2
_RECENT = 4
"""Points over which the rates of now are taken."""


@dataclass(slots=True)
class CaseState:
    """How one case stands."""

    what: str = WAITING
    until_ns: int | None = None
    requests: int = 0
    outcome: Outcome | None = None
    began_ns: int | None = None
    ended_ns: int | None = None
    pulse: Pulse = field(default_factory=Pulse)

    @property
    def is_running(self) -> bool:
        """Return whether it has begun and not ended."""
        return self.outcome is None and self.what != WAITING


@dataclass(frozen=True, slots=True)
class Point:
    """All cases together over a short span of time that ends at `at_ns` from the run's beginning."""

    at_ns: int
    span_ns: int
    planned: int
    sent: int
    by_class: Mapping[int, int]
    unanswered: int
    p50_ns: int
    p99_ns: int
    """Of the good answers of the span; 0 where there was none."""


class Watch:
    """Hears what the cases of a run do, from any thread, and tells it to whoever asks."""

    def __init__(self, cases: Sequence[str], now_ns: Callable[[], int], target: str = "") -> None:
        self.target = target
        self.now_ns = now_ns
        self.began_ns = now_ns()
        self.states = {case: CaseState() for case in cases}
        self.lock = threading.RLock()
        self._points: list[Point] = []
        self._step_ns = _LEAST_STEP_NS
        self._last_ns = self.began_ns
        self._last: dict[str, Pulse] = {}

    def doing(self, case_id: str, what: str, until_ns: int | None = None) -> bool:
        """Hear that a case does or waits for something; return whether that is new."""
        with self.lock:
            state = self.states.setdefault(case_id, CaseState())
            changed = state.what != what
            state.what, state.until_ns = what, until_ns
            if state.began_ns is None:
                state.began_ns = self.now_ns()
        return changed

    def sent(self, case_id: str, requests: int) -> None:
        """Hear how many requests a case has sent so far."""
        with self.lock:
            state = self.states.setdefault(case_id, CaseState())
            state.requests = max(state.requests, requests)

    def pulse(self, case_id: str, pulse: Pulse) -> None:
        """Hear how a case's load stands."""
        with self.lock:
            state = self.states.setdefault(case_id, CaseState())
            state.pulse = pulse
            state.requests = max(state.requests, pulse.sent)
            if self.now_ns() - self._last_ns >= self._step_ns:
                self._add_point()

    def ended(self, case_id: str, outcome: str) -> int:
        """Hear that a case has ended; return how many requests it sent."""
        with self.lock:
            state = self.states.setdefault(case_id, CaseState())
            state.outcome, state.what, state.until_ns = Outcome[outcome], "", None
            state.ended_ns = self.now_ns()
            return state.requests

    def faults(self) -> list[str]:
        """Return the faults in force now."""
        with self.lock:
            return [one for state in self.states.values() if state.is_running for one in state.pulse.faults]

    def points(self) -> list[Point]:
        """Return the course of the run so far, in a bounded number of points."""
        with self.lock:
            return list(self._points)

    def recent(self) -> Point | None:
        """Return the last seconds as one point, or None where nothing was seen yet."""
        some = self.points()[-_RECENT:]
        return _merged(some) if some else None

    def snapshot(self, *, over: str = "") -> dict[str, Any]:
        """Return everything as plain JSON; `over` is where to go once the run has ended."""
        with self.lock:
            now = self.now_ns()
            return {
                "schema_version": 1,
                "target": self.target,
                "elapsed_ns": now - self.began_ns,
                "over": over,
                "faults": self.faults(),
                "cases": [
                    {
                        "case": case,
                        "outcome": state.outcome.name if state.outcome is not None else "",
                        "running": state.is_running,
                        "what": state.what,
                        "left_ns": max(0, state.until_ns - now) if state.until_ns is not None else 0,
                        "requests": state.requests,
                        "began_ns": state.began_ns - self.began_ns if state.began_ns is not None else None,
                        "ended_ns": state.ended_ns - self.began_ns if state.ended_ns is not None else None,
                    }
                    for case, state in self.states.items()
                ],
                "points": [
                    {
                        "at_ns": point.at_ns,
                        "asked": round(point.planned * NS_PER_SECOND / point.span_ns, 2),
                        "sent": round(point.sent * NS_PER_SECOND / point.span_ns, 2),
                        "classes": {str(one): count for one, count in sorted(point.by_class.items())},
                        "unanswered": point.unanswered,
                        "p50_ns": point.p50_ns,
                        "p99_ns": point.p99_ns,
                    }
                    for point in self._points
                ],
            }

    def _add_point(self) -> None:
        now = self.now_ns()
        planned = sent = unanswered = 0
        by_class: dict[int, int] = {}
        delays = DelayHistogram()
        for case, state in self.states.items():
            pulse, last = state.pulse, self._last.get(case, Pulse())
            self._last[case] = pulse
            planned += pulse.planned - last.planned
            sent += pulse.sent - last.sent
            unanswered += pulse.unanswered - last.unanswered
            for one, count in pulse.by_class.items():
                by_class[one] = by_class.get(one, 0) + count - last.by_class.get(one, 0)
            if pulse is not last:
                delays.merge(pulse.good.since(last.good))
        span = now - self._last_ns
        self._last_ns = now
        p50, p99 = delays.percentile_ns(500), delays.percentile_ns(990)
        self._points.append(Point(now - self.began_ns, span, planned, sent, by_class, unanswered, p50, p99))
        if len(self._points) > _MOST_POINTS:
            # A long run is told in longer steps: twice as long, half as many.
            pairs = zip(self._points[::2], self._points[1::2], strict=False)
            self._points = [_merged(list(pair)) for pair in pairs]
            self._step_ns *= 2


def _merged(points: Sequence[Point]) -> Point:
    by_class: dict[int, int] = {}
    for point in points:
        for one, count in point.by_class.items():
            by_class[one] = by_class.get(one, 0) + count
    return Point(
        points[-1].at_ns,
        sum(point.span_ns for point in points),
        sum(point.planned for point in points),
        sum(point.sent for point in points),
        by_class,
        sum(point.unanswered for point in points),
        max(point.p50_ns for point in points),
        max(point.p99_ns for point in points),
    )

"""What load is asked for: users that loop (closed), arrivals that do not wait (open), bursts and sequences."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeAlias

from proofload.core.errors import PlanError, Problem
from proofload.core.units import NS_PER_SECOND

Script: TypeAlias = Callable[[Any], Coroutine[Any, Any, Any]]
"""What a virtual user does in one iteration: a coroutine function that takes the user."""


@dataclass(frozen=True, slots=True)
class Ceilings:
    """What a run may never exceed, whatever the workloads ask for. None is no ceiling of that kind."""

    rate_per_second: int | None = None
    total_requests: int | None = None
    duration_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Stage:
    """Go to `to` (users, or requests per second) in a straight line that takes `for_ns`."""

    for_ns: int
    to: int | float | Fraction


@dataclass(frozen=True, slots=True)
class Think:
    """A pause between two iterations of a user: evenly distributed between the two, seeded."""

    least_ns: int
    most_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What all kinds have in common."""

    name: str
    run: str | Script
    """The operation to repeat, or the script of one iteration."""
    sources: tuple[str, ...] = ()
    """Local addresses to send from; user i has number i modulo their count. Empty lets the machine choose."""
    identities: SequenceOf[Mapping[str, Any]] = ()
    """Who the users are: user i has number i modulo their count, read as `${user.<key>}` and `user.identity`."""
    data: SequenceOf[Mapping[str, Any]] = ()
    """Records that `user.feed()` hands out in turn, over all users."""
    prepare: Script | None = None
    """Runs once for each user before its first iteration, such as a log-in."""
    start_after_ns: int = 0
    graceful_ns: int = 5 * NS_PER_SECOND
    """How long iterations that are under way may go on once the workload's time is over."""
    tag: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConstantUsers(Workload):
    """Closed: `users` loop for `for_ns`; each sends its next request when the last one has ended."""

    users: int
    for_ns: int
    think: Think | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RampingUsers(Workload):
    """Closed: the number of users follows the stages, from `start`; who leaves finishes the iteration first."""

    stages: tuple[Stage, ...]
    start: int = 0
    think: Think | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedIterations(Workload):
    """Closed: `users` take from one heap of `iterations` until it is empty or `within_ns` is over."""

    users: int
    iterations: int
    within_ns: int = 600 * NS_PER_SECOND
    think: Think | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PerUserIterations(Workload):
    """Closed: each of `users` makes `iterations`, or as many as fit into `within_ns`."""

    users: int
    iterations: int
    within_ns: int = 600 * NS_PER_SECOND
    think: Think | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenWorkload(Workload):
    """Open: arrivals come when they are due, whether or not earlier ones have ended.

    An arrival that finds all of `max_users` busy is DROPPED, and counted.
    """

    max_users: int = 1_000
    warm_users: int = 0
    """Users whose connections are opened before the first arrival."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConstantRate(OpenWorkload):
    """Open: `rate` arrivals per second, evenly spaced, for `for_ns`."""

    rate: int | float | Fraction
    for_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RampingRate(OpenWorkload):
    """Open: the rate follows the stages, from `start` per second, evenly spaced."""

    stages: tuple[Stage, ...]
    start: int | float | Fraction = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PoissonArrivals(OpenWorkload):
    """Open: independent arrivals, as from many strangers, whose rate follows the stages; seeded."""

    stages: tuple[Stage, ...]
    start: int | float | Fraction = 0

    @classmethod
    def at(cls, rate: int | float | Fraction, for_ns: int, **rest: Any) -> PoissonArrivals:
        """Return arrivals at a constant mean rate."""
        return cls(stages=(Stage(for_ns, rate),), start=rate, **rest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Burst(Workload):
    """`n` requests released at one instant over `connections` that were opened, and idle, before it.

    With fewer connections than requests, each connection goes on with its next as soon as the last one has ended.
    """

    n: int
    connections: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequence(Workload):
    """`n` requests one after the other, by one user over one connection."""

    n: int
    think: Think | None = None
    fresh_connections: bool = False
    """Open a new connection for every request."""


AnyWorkload: TypeAlias = (
    ConstantUsers
    | RampingUsers
    | SharedIterations
    | PerUserIterations
    | ConstantRate
    | RampingRate
    | PoissonArrivals
    | Burst
    | Sequence
)


def user_count(workload: AnyWorkload) -> int:
    """Return the greatest number of users that the workload can have at one time."""
    match workload:
        case RampingUsers():
            return max([workload.start, *(int(stage.to) for stage in workload.stages)])
        case ConstantRate() | RampingRate() | PoissonArrivals():
            return workload.max_users
        case Burst():
            return min(workload.n, workload.connections or workload.n)
        case Sequence():
            return 1
        case _:
            return workload.users


def span_ns(workload: AnyWorkload) -> int:
    """Return how long the workload goes on after its start; an upper bound where it ends by itself."""
    match workload:
        case ConstantUsers() | ConstantRate():
            return workload.for_ns
        case RampingUsers() | RampingRate() | PoissonArrivals():
            return sum(stage.for_ns for stage in workload.stages)
        case SharedIterations() | PerUserIterations():
            return workload.within_ns
        case _:
            return 600 * NS_PER_SECOND


def check(workloads: SequenceOf[AnyWorkload], operations: Mapping[str, Any]) -> None:
    """Raise PlanError with everything that makes these workloads impossible to run."""
    problems: list[Problem] = []
    seen: set[str] = set()
    for workload in workloads:
        where = f"workload {workload.name}"
        if workload.name in seen:
            problems.append(Problem(where, "the name twice", "a name of its own for each workload"))
        seen.add(workload.name)
        if isinstance(workload.run, str) and workload.run not in operations and not workload.run.startswith("/"):
            known = ", ".join(sorted(operations)) or "none declared"
            problems.append(Problem(f"{where}.run", repr(workload.run), f"an operation ({known}) or a path"))
        for name, least, value in _numbers(workload):
            if value < least:
                problems.append(Problem(f"{where}.{name}", str(value), f"at least {least}"))
    if not workloads:
        problems.append(Problem("workloads", "none", "at least one"))
    if problems:
        raise PlanError(problems)


def _numbers(workload: AnyWorkload) -> list[tuple[str, int, int | float | Fraction]]:
    found: list[tuple[str, int, int | float | Fraction]] = [("start_after_ns", 0, workload.start_after_ns)]
    found += [("users", 1, user_count(workload)), ("span", 1, span_ns(workload))]
    for name in ("n", "connections", "iterations"):
        value = getattr(workload, name, None)
        if value is not None:
            found.append((name, 1, value))
    for name in ("rate", "start", "warm_users"):
        found.append((name, 0, getattr(workload, name, 0)))
    for stage in getattr(workload, "stages", ()):
        found += [("stages.for_ns", 0, stage.for_ns), ("stages.to", 0, stage.to)]
    return found


__all__ = [
    "AnyWorkload",
    "Burst",
    "Ceilings",
    "ConstantRate",
    "ConstantUsers",
    "PerUserIterations",
    "PoissonArrivals",
    "RampingRate",
    "RampingUsers",
    "Script",
    "Sequence",
    "SharedIterations",
    "Stage",
    "Think",
    "Workload",
    "check",
    "span_ns",
    "user_count",
]

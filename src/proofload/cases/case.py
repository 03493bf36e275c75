"""What a case is: one declaration of what it needs, sends, breaks and takes; its texts are its docstring's."""

from __future__ import annotations

import enum
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from inspect import cleandoc
from types import ModuleType
from typing import Any, Generic, TypeVar

from proofload.cases import isolation
from proofload.cases.context import CaseContext
from proofload.cases.requirement import NOTHING, Missing, Requirement
from proofload.core.errors import PlanError, Problem
from proofload.core.units import NS_PER_SECOND, parse_duration_ns
from proofload.judge.evidence import Evidence
from proofload.judge.verdict import Finding, Outcome
from proofload.plan.target import Target
from proofload.report.report_data import CaseText

T = TypeVar("T")

_ID = re.compile(r"[A-Z][A-Z0-9]*(-[A-Z0-9]+)+")
_SECTIONS = {
    "sends": "sends",
    "passes when": "passes_when",
    "reading fail": "read_fail",
    "least evidence": "least_evidence",
}


class Category(enum.StrEnum):
    """The categories of the mission, in its order."""

    RATE_LIMIT = "rate limit"
    CIRCUIT_BREAKER = "circuit breaker"
    MONITORING = "monitoring"
    AUDIT = "audit"
    RESILIENCE = "resilience"
    LOCK = "lock"
    LATENCY = "latency"
    INTERACTION = "interaction"
    NEGATIVE = "negative"
    OWN = "own"
    """Cases that somebody wrote for a target of their own."""


class Priority(enum.StrEnum):
    """How much it matters; critical cases run first."""

    CRITICAL = "CRITICAL"
    HIGH = "HIGH"
    MEDIUM = "MEDIUM"
    NEGATIVE = "NEGATIVE"

    @property
    def rank(self) -> int:
        """Return 0 for what runs first."""
        return list(Priority).index(self)


def text_of(docstring: str) -> CaseText:
    r"""Return the first paragraph as the purpose, and the sections that begin with their name and a colon.

    >>> text_of("Holds.\n\nSends: one request,\n    and another\nPasses when: both are served").sends
    'one request, and another'
    """
    found: dict[str, list[str]] = {"purpose": []}
    section = "purpose"
    for line in cleandoc(docstring).splitlines():
        name, colon, rest = line.partition(":")
        is_section = bool(colon) and name.lower() in _SECTIONS
        if is_section:
            section = _SECTIONS[name.lower()]
            found[section] = []
        found[section].append((rest if is_section else line).strip())
    return CaseText(**{name: " ".join(part for part in lines if part) for name, lines in found.items()})


@dataclass(eq=False)
class Case(Generic[T]):
    """One entry of the catalogue, as `@case` declares it. `T` is what its requirement finds in a target."""

    id: str
    title: str
    category: Category
    priority: Priority
    phase: int
    requires: Requirement[T]
    drive: Callable[[CaseContext, T], Awaitable[None]]
    text: CaseText
    after: tuple[str, ...] = ()
    """Cases that must PASS first; what they left behind is where this one begins."""
    uses: Callable[[T], Iterable[str]] | None = None
    """The operations it calls that must not be disturbed; None: any operation of the target."""
    breaks: Callable[[T], Iterable[str]] = field(default=lambda _: ())
    """The services that it breaks, or loads so much that others must not call them."""
    takes: Callable[[T], int] = field(default=lambda _: 5 * NS_PER_SECOND)
    """How long driving it takes, about, in nanoseconds."""
    alone: bool = False
    saturates: bool = False
    needs_quiet: bool = False
    spends: bool = False
    _judge: Callable[[Evidence, T], Sequence[Finding]] | None = None

    def judge(self, function: Callable[[Evidence, T], Sequence[Finding]]) -> Callable[[Evidence, T], Sequence[Finding]]:
        """Take a pure function from the evidence, and what the requirement finds, as this case's judge."""
        self._judge = function
        return function

    def findings(self, evidence: Evidence) -> Sequence[Finding]:
        """Return what the case's judge finds in the evidence. Raises PlanError where it has no judge."""
        if self._judge is None:
            remedy = "see docs/contributing/case.md"
            raise PlanError([Problem(self.id, "no judge", f"a function under @{self._name()}.judge", remedy)])
        found = self.requires.find(evidence.target)
        if isinstance(found, Missing):
            return [Finding("case.requirement", Outcome.INCONCLUSIVE, found.reason)]
        return self._judge(evidence, found)

    def _name(self) -> str:
        return str(getattr(self.drive, "__name__", "NAME"))

    @property
    def is_judged(self) -> bool:
        """Return whether it has its judge."""
        return self._judge is not None


AnyCase = Case[Any]


@dataclass(frozen=True, slots=True)
class PlannedCase:
    """A case beside a target: what was found there, what it uses and disturbs, and how long it takes."""

    case: AnyCase
    found: Any
    """What the requirement found, or Missing."""
    uses: frozenset[str] = frozenset()
    disturbs: frozenset[str] = frozenset()
    takes_ns: int = 0

    @classmethod
    def of(cls, case: AnyCase, target: Target) -> PlannedCase:
        """Return the case as it would run on the target."""
        found = case.requires.find(target)
        if isinstance(found, Missing):
            return cls(case, found)
        operations = list(target.operations) if case.uses is None else list(case.uses(found))
        uses = isolation.used_by(target, [*operations, *isolation.sign_up_operations(target)])
        disturbs = isolation.disturbed_by(target, case.breaks(found))
        if case.alone:
            disturbs |= {isolation.EVERYTHING}
        if case.saturates:
            disturbs |= {isolation.QUIET}
        if case.needs_quiet:
            uses |= {isolation.QUIET}
        if any(isolation.share_an_allowance(target, limit) for limit in target.policies.rate_limit):
            uses |= {isolation.ALLOWANCE}
            disturbs |= {isolation.ALLOWANCE} if case.spends else frozenset()
        return cls(case, found, uses, disturbs, case.takes(found))

    @property
    def id(self) -> str:
        """Return the case's id."""
        return self.case.id

    @property
    def missing(self) -> str:
        """Return why the target can't be put to the case, or nothing."""
        return self.found.reason if isinstance(self.found, Missing) else ""


def case(
    case_id: str,
    title: str,
    category: Category = Category.OWN,
    priority: Priority = Priority.MEDIUM,
    *,
    requires: Requirement[T] = NOTHING,  # type: ignore[assignment]
    phase: int = 8,
    after: Sequence[str] = (),
    uses: Callable[[T], Iterable[str]] | None = None,
    breaks: Callable[[T], Iterable[str]] | None = None,
    takes: Callable[[T], int] | int | str = 5 * NS_PER_SECOND,
    alone: bool = False,
    saturates: bool = False,
    needs_quiet: bool = False,
    spends: bool = False,
) -> Callable[[Callable[[CaseContext, T], Awaitable[None]]], Case[T]]:
    """Return a decorator that makes a coroutine function, which drives, into a case. `@NAME.judge` gives its judge.

    `requires` finds in the target what both functions are given. `after` names cases that must PASS first. `uses`
    returns the operations that must not be disturbed while it runs (any, where it is left out), `breaks` the services
    that it breaks itself, `takes` about how long driving takes, in nanoseconds or as a text such as "5s". `alone`
    lets nothing run beside it, `saturates` keeps it away from cases that measure, `needs_quiet` is one of those, and
    `spends` says that it uses up a client's allowance, which matters where all clients share one. The docstring's
    first paragraph is the purpose; `Sends:`, `Passes when:`, `Reading FAIL:` and `Least evidence:` follow.
    Raises PlanError for an unfit id or duration.
    """
    if not _ID.fullmatch(case_id):
        expected, remedy = "an id such as SHOP-001", "see docs/own-cases.md"
        raise PlanError([Problem("case", repr(case_id), expected, remedy)])
    expected_ns = _duration(case_id, takes)

    def decorate(drive: Callable[[CaseContext, T], Awaitable[None]]) -> Case[T]:
        return Case(
            case_id, title, category, priority, phase, requires, drive, text_of(drive.__doc__ or title),
            after=tuple(after), uses=uses, breaks=breaks or (lambda _: ()), takes=expected_ns,
            alone=alone, saturates=saturates, needs_quiet=needs_quiet, spends=spends,
        )  # fmt: skip

    return decorate


def _duration(case_id: str, takes: Callable[[T], int] | int | str) -> Callable[[T], int]:
    if callable(takes):
        return takes
    try:
        takes_ns = parse_duration_ns(takes) if isinstance(takes, str) else takes
    except ValueError as error:
        raise PlanError([Problem(f"{case_id} takes", repr(takes), str(error))]) from None
    return lambda _: takes_ns


def cases_of(*modules: ModuleType) -> list[AnyCase]:
    """Return the cases that modules define, in the order of their declaration, each once."""
    found: dict[str, AnyCase] = {}
    for module in modules:
        for value in vars(module).values():
            if isinstance(value, Case) and getattr(value.drive, "__module__", "") == module.__name__:
                found.setdefault(value.id, value)
    return list(found.values())

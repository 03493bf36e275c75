"""The door for cases of one's own: drive something, judge it with our judges or a rule of one's own.

    @case("SHOP-001", "The cart reads the same to every session", needs=("operations.read_cart",))
    async def same_cart(lab: Lab) -> None:
        await lab.run(lab.steps("reads", "read_cart", 50))

    @same_cart.judge
    def judge(evidence: Evidence) -> list[Finding]: ...

`proofload run --cases file.py` finds every such case of a file; an entry point in the group `proofload.cases` finds
those of an installed module. What is exported here stays; everything else may change. See docs/own-cases.md.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from proofload.cases.accounts import Account
from proofload.cases.case import Case, Category, Priority
from proofload.cases.context import Lab
from proofload.cases.declared_limits import allowance, gateway_limit, polite_count
from proofload.core.errors import PlanError, Problem
from proofload.core.units import NS_PER_SECOND, parse_duration_ns
from proofload.drive.user import Answer, User
from proofload.judge.delivery import judge_delivery, rest_on
from proofload.judge.evidence import Evidence
from proofload.judge.latency import LatencyBounds, judge_latency
from proofload.judge.linearizable import judge_linearizable
from proofload.judge.rate_limit import RateLimitContext, judge_admission, judge_headers
from proofload.judge.verdict import Finding, Outcome, held
from proofload.plan.target import Target
from proofload.record.history import History

__all__ = [
    "NS_PER_SECOND",
    "Account",
    "Answer",
    "Case",
    "Category",
    "Evidence",
    "Finding",
    "History",
    "Lab",
    "LatencyBounds",
    "Outcome",
    "OwnCase",
    "Priority",
    "RateLimitContext",
    "Target",
    "User",
    "allowance",
    "broken",
    "case",
    "delivered",
    "gateway_limit",
    "held",
    "judge_admission",
    "judge_delivery",
    "judge_headers",
    "judge_latency",
    "judge_linearizable",
    "polite_count",
    "rest_on",
    "rows_of",
    "unsure",
]

Drive = Callable[[Lab], Awaitable[None]]
Judge = Callable[[Evidence], Sequence[Finding]]

_ID = re.compile(r"[A-Z][A-Z0-9]*(-[A-Z0-9]+)+")


class OwnCase:
    """A case under construction: its driving is known, its judge is given by `@NAME.judge`."""

    def __init__(self, content: Case) -> None:
        self._content = content
        self._judge: Judge | None = None

    def judge(self, function: Judge) -> Judge:
        """Take a pure function from the evidence to findings as the judge of this case."""
        self._judge = function
        return function

    @property
    def id(self) -> str:
        """Return the id of the case."""
        return self._content.id

    def case(self) -> Case:
        """Return the finished case. Raises PlanError where it has no judge."""
        if self._judge is None:
            raise PlanError([Problem(self.id, "no judge", "a function under @NAME.judge", "see docs/own-cases.md")])
        content = self._content
        return Case(**{name: getattr(content, name) for name in Case.__slots__} | {"judge": self._judge})


def case(
    case_id: str,
    title: str,
    *,
    needs: Sequence[str] = (),
    category: Category = Category.OWN,
    priority: Priority = Priority.MEDIUM,
    phase: int = 8,
    expected: str = "5s",
    after: Sequence[str] = (),
    uses: Sequence[str] = (),
    disturbs: Sequence[str] = (),
    passes_when: str = "every rule of its judge held",
    read_fail: str = "the finding names the rows of its history that show it",
) -> Callable[[Drive], OwnCase]:
    """Return a decorator that makes a coroutine function, which drives, into a case.

    `needs` are key paths of the target file, such as `policies.rate_limit` or `operations.search`: where one is not
    declared the case is SKIPPED with that reason. `expected` is about how long driving takes. `after` names cases that
    must PASS first; `uses` and `disturbs` say what may not run beside it. Raises PlanError for an unfit id or duration.
    """
    if not _ID.fullmatch(case_id):
        raise PlanError([Problem("case", repr(case_id), "an id such as SHOP-001", "see docs/own-cases.md")])
    try:
        expected_ns = parse_duration_ns(expected)
    except ValueError as error:
        raise PlanError([Problem(f"{case_id} expected", repr(expected), str(error))]) from None

    def decorate(drive: Drive) -> OwnCase:
        purpose = (drive.__doc__ or title).strip().splitlines()[0]
        return OwnCase(
            Case(
                id=case_id,
                title=title,
                category=category,
                priority=priority,
                phase=phase,
                purpose=purpose,
                sends=purpose,
                passes_when=passes_when,
                read_fail=read_fail,
                least_evidence="as each rule says",
                missing=lambda target: _missing(target, needs),
                expected_ns=lambda _: expected_ns,
                drive=drive,
                judge=lambda _: (),
                needs=tuple(needs),
                prerequisites=tuple(after),
                uses=frozenset(uses),
                disturbs=frozenset(disturbs),
            )
        )

    return decorate


def rows_of(evidence: Evidence, *steps: str) -> NDArray[np.int64]:
    """Return the rows of the named steps of this case, in their order; of all its steps where none is named."""
    if not steps:
        return np.arange(len(evidence.history), dtype=np.int64)
    return evidence.history.of_workloads(*(f"{evidence.case}/{step}" for step in steps))


def broken(rule: str, says: str, *, rows: Sequence[int] = (), look_at: str = "", examined: int = 1) -> Finding:
    """Return FAIL for a rule that these rows of the history surely break, with a line for each of the first."""
    return Finding(rule, Outcome.FAIL, says, examined, 1, tuple(int(row) for row in rows), (), look_at)


def unsure(rule: str, says: str, *, examined: int = 0) -> Finding:
    """Return INCONCLUSIVE: the evidence can't tell, and `says` why."""
    return Finding(rule, Outcome.INCONCLUSIVE, says, examined)


def delivered(evidence: Evidence, findings: Sequence[Finding]) -> list[Finding]:
    """Return findings as they stand once it is known whether the load was put on the wire; that stands behind."""
    told = judge_delivery(evidence.history)
    return [*rest_on(findings, told), *told]


def _missing(target: Target, needs: Sequence[str]) -> str:
    for path in needs:
        value: object = target
        for key in path.split("."):
            value = value.get(key) if isinstance(value, Mapping) else getattr(value, key, None)
        if not value:
            return f"the target declares no {path.rpartition('.')[2].replace('_', ' ')} ({path})"
    return ""

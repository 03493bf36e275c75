"""Evidence of cases on limits, answered by simulated limiters that a case's own scripts never see."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import polars as pl
from tests.prove.rate_limit.worlds import ANCHOR, MS

from proofload.judge.evidence import Evidence
from proofload.judge.verdict import Finding, Outcome
from proofload.plan.reader import parse_target
from proofload.plan.target import Target
from proofload.record.exchange import Ending, Exchange, Fault
from proofload.record.history import History

Send = tuple[int, str, str, str]
"""When, in which step, which operation, and from which address."""


def target_of(
    *limits: str, operations: str = "read: {path: /api/x}, other: {path: /api/other}", more: str = ""
) -> Target:
    """Return a target with these limits."""
    listed = "\n".join(f"    - {{{one}}}" for one in limits)
    text = f"""
version: 1
name: any
address: http://127.0.0.1:1
operations: {{{operations}}}
{more}
policies:
  rate_limit:
{listed}
"""
    return parse_target(text, "test", {})


def steady(
    count: int, step: str, *, gap_ms: float = 2, at_ms: float = 1_000, op: str = "read", ip: str = "1"
) -> list[Send]:
    """Return sends of one step, evenly spaced, by one client."""
    return [(int((at_ms + place * gap_ms) * MS), step, op, f"127.64.0.{ip}") for place in range(count)]


def answered(
    case: str,
    target: Target,
    sends: Iterable[Send],
    limiter: Callable[[Send], int],
    *,
    facts: dict[str, Any] | None = None,
    tags: Callable[[Send], str] = lambda _: "",
) -> Evidence:
    """Return the evidence of sends in the order of time, each answered by what the limiter returns."""
    ordered = sorted(sends)
    rows = []
    for place, send in enumerate(ordered):
        at_ns, step, operation, ip = send
        times = at_ns, at_ns, at_ns + MS, at_ns + MS
        status = limiter((at_ns + MS // 2, step, operation, ip))
        rows.append(
            Exchange(
                place, f"{case}/{step}", operation, 1, ip, 0, *times, Ending.ANSWERED, Fault.NONE, status, 1, 1, ""
            )
        )
    history = History.of(rows)
    marked = History(history.frame.with_columns(tag=pl.Series([tags(one) for one in ordered], dtype=pl.String)))
    return Evidence(case, target, marked, ANCHOR, (), facts=facts or {})


def by(*servers: tuple[Any, str]) -> Callable[[Send], int]:
    """Return a limiter of several servers, each with the operation that it covers; the first to reject ends it."""

    def decide(send: Send) -> int:
        at_ns, _, operation, ip = send
        for server, only in servers:
            if only in ("", operation) and not server.decide(ip, ANCHOR.to_wall_ns(at_ns)).admitted:
                return 429
        return 200

    return decide


def fails(findings: Iterable[Finding]) -> set[str]:
    """Return the rules that are broken."""
    return {one.rule for one in findings if one.outcome is Outcome.FAIL}


def of_rule(findings: Iterable[Finding], rule: str) -> list[Finding]:
    """Return the findings of one rule."""
    return [one for one in findings if one.rule == rule]

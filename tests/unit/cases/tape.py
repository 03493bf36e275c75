"""Evidence made by hand: what a case would have seen of a target that keeps, or breaks, its promises."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

import polars as pl

from proofload.cases.case import PlannedCase
from proofload.core.clock import Anchor
from proofload.judge.evidence import Evidence
from proofload.judge.verdict import Finding, Outcome, worst
from proofload.plan.reader import parse_target
from proofload.plan.target import Target
from proofload.record.exchange import Ending, Exchange, Fault
from proofload.record.fault_edge import Edge, FaultEdge
from proofload.record.history import History
from proofload.record.ledger import AuditEntry, Ledgers, Reading
from proofload.suite.catalogue import CATALOGUE

MS = 1_000_000
S = 1000 * MS


def preset(window: str = "60s") -> Target:
    """Return the reference system as the demo declares it."""
    text = (resources.files("proofload.plan.presets") / "ordersystem.yaml").read_text(encoding="utf-8")
    environ = dict.fromkeys(re.findall(r"\$\{env:(\w+)\}", text), "http://127.0.0.1:8080")
    environ |= {"ORDERSYSTEM_RATE_WINDOW": window, "ORDERSYSTEM_BREAKER_OPEN": window}
    environ |= {"ORDERSYSTEM_CONTROL": "control.sock", "ORDERSYSTEM_AUDIT": "audit"}
    return parse_target(text, "preset", environ)


def case_findings(case_id: str, evidence: Evidence) -> list[Finding]:
    """Return what the case's judge finds."""
    return list(CATALOGUE[case_id].findings(evidence))


def why_missing(case_id: str, target: Target) -> str:
    """Return why the target can't be put to the case, or nothing."""
    return PlannedCase.of(CATALOGUE[case_id], target).missing


def _headers(body: bytes) -> dict[str, str]:
    """Return what an honest answer with this body is sent with."""
    return {"retry-after": "60"} if b"CIRCUIT_OPEN" in body else {}


@dataclass
class Tape:
    """Collects exchanges one after the other, a millisecond each, unless told when."""

    case: str
    at_ns: int = S
    exchanges: list[Exchange] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    edges: list[FaultEdge] = field(default_factory=list)

    def add(
        self,
        step: str,
        status: int,
        count: int = 1,
        *,
        operation: str = "profile",
        source: str = "127.64.0.1",
        user: int = 1,
        body: bytes = b"{}",
        tag: str = "",
        takes_ns: int = MS,
        together: bool = False,
        request_id: str = "",
    ) -> None:
        """Add `count` answers of one status, one after the other or all `together`; status 0 is no answer."""
        for _ in range(count):
            row, done = len(self.exchanges), self.at_ns + takes_ns
            ending, fault = (Ending.ANSWERED, Fault.NONE) if status else (Ending.UNKNOWN, Fault.TIMEOUT)
            self.exchanges.append(
                Exchange(
                    *(row, f"{self.case}/{step}", operation, user, source, row),
                    *(self.at_ns, self.at_ns, done, done, ending, fault, status, 1, 1),
                    *(request_id or f"r{row}", _headers(body), body),
                )
            )
            self.tags.append(tag)
            if not together:
                self.at_ns = done + MS // 1000
        if together:
            self.at_ns += takes_ns

    def edge(self, edge: Edge, service: str, *, proven: bool = True, kind: str = "stop") -> None:
        """Add a moment of a fault."""
        self.edges.append(FaultEdge(f"{kind} {service}", service, edge, self.at_ns, proven))
        self.at_ns += MS

    def evidence(self, target: Target, *, facts: Mapping[str, Any] | None = None, **more: Any) -> Evidence:
        """Return the evidence so far."""
        history = History(History.of(self.exchanges).frame.with_columns(pl.Series("tag", self.tags, dtype=pl.String)))
        anchor = Anchor(0, 1_700_000_000 * S, 0)
        return Evidence(
            self.case,
            target,
            history,
            anchor,
            (),
            tuple(self.edges),
            more.pop("ledgers", Ledgers()),
            facts or {},
            **more,
        )


def nothing(case: str, target: Target, **more: Any) -> Evidence:
    """Return the evidence of a case that was stopped before it sent anything."""
    return Evidence(case, target, History.empty(), Anchor(0, 0, 0), (), **more)


def outcome(findings: list[Finding]) -> Outcome:
    return worst(finding.outcome for finding in findings)


def rules(findings: list[Finding], wanted: Outcome = Outcome.FAIL) -> set[str]:
    return {finding.rule for finding in findings if finding.outcome is wanted}


def line(number: int, text: str, fields: Mapping[str, object]) -> AuditEntry:
    return AuditEntry("auth.jsonl", number, text, fields, 100 * S)


__all__ = ["MS", "Ledgers", "Reading", "S", "Tape", "line", "nothing", "outcome", "preset", "rules"]

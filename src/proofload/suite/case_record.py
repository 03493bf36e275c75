"""Evidence of a case, to its files in a bundle and back. What is judged is always what was read back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter

from proofload.core.clock import Anchor
from proofload.judge.evidence import Evidence
from proofload.plan.reader import from_resolved, resolved
from proofload.plan.target import Target
from proofload.record.bundle import Bundle, BundleWriter
from proofload.record.delivery import Delivery
from proofload.record.fault_edge import FaultEdge
from proofload.record.history import History
from proofload.record.ledger import Ledgers

PLAN = "plan.json"
ENVIRONMENT = "environment.json"
MONITORING = "monitoring.json"
"""How writing to the monitoring servers went."""


@dataclass(frozen=True, slots=True)
class CaseRecord:
    """What driving a case left behind, beside its history."""

    anchor: Anchor
    deliveries: tuple[Delivery, ...]
    edges: tuple[FaultEdge, ...]
    ledgers: Ledgers
    facts: Mapping[str, Any] = field(default_factory=dict)
    interrupted: str = ""
    broke: str = ""
    """Why driving broke down, where it did."""
    skipped: str = ""
    took_ns: int = 0
    phases: tuple[tuple[int, str], ...] = ()
    """When driving turned to something else, and to what."""
    silences: tuple[tuple[int, int], ...] = ()
    """When no other case sent, from and to."""


_RECORD = TypeAdapter(CaseRecord)


def save_plan(writer: BundleWriter, target: Target, cases: list[str], seed: int, options: Mapping[str, Any]) -> None:
    """Write what was asked for: the resolved target (secrets masked), the cases and the seed."""
    plan = {"target": resolved(target), "cases": cases, "seed": seed, "options": dict(options)}
    writer.write_json(PLAN, plan)


def load_plan(bundle: Bundle) -> tuple[Target, list[str]]:
    """Return the target and the ids of the cases that a bundle is about."""
    plan = bundle.read_json(PLAN)
    return from_resolved(plan["target"]), list(plan["cases"])


def load_notes(bundle: Bundle) -> tuple[str, ...]:
    """Return what a reader of the verdicts has to know beside them, as it was said when the bundle was made."""
    # A bundle of an earlier version has no word on monitoring.
    monitoring = bundle.read_json(MONITORING) if (bundle.path / MONITORING).exists() else {}
    return (*bundle.read_json(PLAN)["options"].get("notes", ()), *monitoring.get("notes", ()))


def save_case(writer: BundleWriter, case_id: str, history: History, record: CaseRecord) -> None:
    """Write the evidence of one case."""
    writer.write_history(_history_name(case_id), history)
    writer.write_json(_record_name(case_id), _RECORD.dump_python(record, mode="json"))


def load_case(bundle: Bundle, case_id: str) -> tuple[History, CaseRecord]:
    """Return the evidence of one case as it was written."""
    record = _RECORD.validate_python(bundle.read_json(_record_name(case_id)))
    return bundle.read_history(_history_name(case_id)), record


def to_evidence(
    case_id: str, target: Target, history: History, record: CaseRecord, others: Mapping[str, Evidence]
) -> Evidence:
    """Return what the case's verdict may rest on; `others` is the evidence of its prerequisites."""
    return Evidence(
        case_id,
        target,
        history,
        record.anchor,
        record.deliveries,
        record.edges,
        record.ledgers,
        record.facts,
        record.interrupted,
        others,
    )


def _history_name(case_id: str) -> str:
    return f"history/{case_id}.parquet"


def _record_name(case_id: str) -> str:
    return f"cases/{case_id}.json"

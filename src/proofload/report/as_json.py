"""The report for machines: JSON with a schema version; the schema stands in schemas/result.schema.json."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from proofload.judge.verdict import Finding, Verdict
from proofload.report.result import RunResult

SCHEMA_VERSION = 1


def to_json(result: RunResult) -> str:
    """Return the whole result as one JSON document in ASCII: sorted keys, two spaces, one newline at the end."""
    began = result.began_wall_ns
    content = {
        "schema_version": SCHEMA_VERSION,
        "tool": {"name": "proofload", "version": result.tool_version},
        "target": result.target,
        "bundle": result.bundle,
        "exit_status": result.exit_status,
        "seed": result.seed,
        "began": datetime.fromtimestamp(began / 1e9, UTC).isoformat(timespec="milliseconds") if began else None,
        "notes": list(result.notes),
        "diagnoses": list(result.diagnoses),
        "verdicts": [
            {
                **verdict_json(verdict),
                "title": result.cases[verdict.case].title,
                "category": result.cases[verdict.case].category,
                "priority": result.cases[verdict.case].priority,
                "took_ns": result.cases[verdict.case].took_ns,
            }
            for verdict in result.verdicts
        ],
    }
    # ASCII alone: it stays JSON whatever the encoding of who reads it.
    return json.dumps(_plain(content), indent=2, sort_keys=True, allow_nan=False) + "\n"


def verdict_json(verdict: Verdict) -> dict[str, Any]:
    """Return a verdict as JSON-able content; equal verdicts give equal content."""
    content: dict[str, Any] = _plain(
        {
            "case": verdict.case,
            "outcome": verdict.outcome.name,
            "reason": verdict.reason,
            "findings": [finding_json(finding) for finding in verdict.findings],
        }
    )
    return content


def finding_json(finding: Finding) -> dict[str, Any]:
    """Return a finding as JSON-able content."""
    return {
        "rule": finding.rule,
        "outcome": finding.outcome.name,
        "says": finding.says,
        "examined": finding.examined,
        "needed": finding.needed,
        "rows": list(finding.rows),
        "shown": list(finding.shown),
        "look_at": finding.look_at,
        "figures": dict(finding.figures),
    }


def _plain(content: Any) -> Any:
    """Return content that any JSON parser takes: no NaN, no infinity, no half of a surrogate pair."""
    if isinstance(content, str):
        return content.encode("utf-8", "backslashreplace").decode()
    if isinstance(content, Mapping):
        return {_plain(key): _plain(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_plain(value) for value in content]
    if isinstance(content, float) and not math.isfinite(content):
        return str(content)
    return content

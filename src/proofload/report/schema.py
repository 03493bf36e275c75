"""The JSON Schema of the result as JSON, for machines that read it."""

from __future__ import annotations

from typing import Any

from proofload.judge.verdict import Outcome
from proofload.report.as_json import SCHEMA_VERSION

SCHEMA_ID = f"urn:proofload:schema:result:{SCHEMA_VERSION}"

_TEXT = {"type": "string"}
_COUNT = {"type": "integer", "minimum": 0}
_OUTCOME = {"enum": [outcome.name for outcome in Outcome]}


def result_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of what `--json` prints. New keys may come within one version."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        "title": "proofload result",
        **_record(
            "One run: its verdicts, and what they rest on.",
            schema_version=(
                {"const": SCHEMA_VERSION},
                "Version of this format; it grows when a key changes its sense.",
            ),
            tool=(_record("What made the result.", name=({"const": "proofload"}, ""), version=(_TEXT, "")), ""),
            target=(_TEXT, "The name of the target; empty where a bundle was judged again."),
            bundle=(_TEXT, "Path of the folder that holds the evidence."),
            exit_status=(_COUNT, "The status that the process ended with."),
            seed=({"type": ["integer", "null"]}, "Seed of all that was random."),
            began=({"type": ["string", "null"], "format": "date-time"}, "When the run began, in UTC."),
            notes=(_list(_TEXT), "What a reader has to know beside the verdicts."),
            diagnoses=(_list(_TEXT), "What several cases say together, a sentence each; never a verdict."),
            verdicts=(_list({"$ref": "#/$defs/verdict"}), "One for each case, in the order of the catalogue."),
        ),
        "$defs": {"verdict": _verdict(), "finding": _finding()},
    }


def _verdict() -> dict[str, Any]:
    return _record(
        "The answer for one case.",
        case=(_TEXT, "Id of the case, such as TC-RL-001."),
        title=(_TEXT, "What the case is about."),
        category=(_TEXT, ""),
        priority=(_TEXT, ""),
        took_ns=(_COUNT, "How long driving took."),
        outcome=(_OUTCOME, "The worst outcome of the findings."),
        reason=(_TEXT, "Why it is SKIPPED, ERROR or cut short, where no finding says so."),
        findings=(_list({"$ref": "#/$defs/finding"}), "One for each rule that was examined."),
    )


def _finding() -> dict[str, Any]:
    figure = {"type": ["number", "string"]}
    return _record(
        "One rule, held or broken.",
        rule=(_TEXT, "A stable id, such as rl.over_admission."),
        outcome=(_OUTCOME, ""),
        says=(_TEXT, "One sentence for a person."),
        examined=(_COUNT, "How many things the rule looked at."),
        needed=(_COUNT, "The least number that it must look at before it may pass."),
        rows=(_list(_COUNT), "Rows of the case's history: the smallest set that shows it."),
        shown=(_list(_TEXT), "The counterexample, a line for each step."),
        look_at=(_TEXT, "Where in the target's code such a thing is usually found."),
        figures=({"type": "object", "additionalProperties": figure}, "Numbers by name; names carry units."),
    )


def _record(describes: str, **properties: tuple[dict[str, Any], str]) -> dict[str, Any]:
    """Return an object of which every property is always there."""
    told = {name: {**schema, **({"description": text} if text else {})} for name, (schema, text) in properties.items()}
    return {"type": "object", "description": describes, "properties": told, "required": list(told)}


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}

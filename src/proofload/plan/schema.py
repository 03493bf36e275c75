"""The JSON Schema of a target file, for editors: made from the model, so that it can't say anything else."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import models_json_schema

from proofload.core.units import format_duration
from proofload.plan.target import Target

SCHEMA_ID = "urn:proofload:schema:target:1"
_VARIABLE = {
    "type": "string",
    "pattern": r"\$\{env:[A-Za-z_][A-Za-z0-9_]*\}",
    "description": "Filled in from the environment.",
}
_OWN_NAME = ("Operation", "name")
"""The key in the file is the name; the field exists for the program alone."""


def target_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a target file as it stands before variables are filled in."""
    _, made = models_json_schema([(Target, "validation")], by_alias=True)
    parts: dict[str, Any] = made["$defs"]
    parts[_OWN_NAME[0]]["properties"].pop(_OWN_NAME[1])
    parts = {name: _tidied(part) for name, part in parts.items()}
    root = parts.pop("Target")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        "title": "proofload target",
        **root,
        "$defs": {**parts, "Variable": _VARIABLE},
    }


def _tidied(schema: Any) -> Any:
    """Return a schema without titles, with defaults as they are written, and with variables where values stand."""
    if isinstance(schema, list):
        return [_tidied(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {key: value for key, value in schema.items() if key not in ("title", "default", "discriminator")}
    tidy = {key: _properties(value) if key == "properties" else _tidied(value) for key, value in kept.items()}
    if "default" in schema:
        tidy["default"] = _default(schema)
    return _or_variable(tidy)


def _properties(properties: dict[str, Any]) -> dict[str, Any]:
    return {name: _tidied(schema) for name, schema in properties.items()}


def _default(schema: dict[str, Any]) -> Any:
    value = schema["default"]
    is_duration = "examples" in schema or any("examples" in one for one in schema.get("anyOf", ()))
    return format_duration(value) if is_duration and isinstance(value, int) else value


def _or_variable(schema: dict[str, Any]) -> dict[str, Any]:
    """Let a variable stand where a text alone would not fit."""
    plain = schema.get("type") == "string" and "pattern" not in schema and "enum" not in schema
    if plain or schema.get("type") not in ("string", "integer", "number", "boolean"):
        return schema
    outer: dict[str, Any] = {key: schema.pop(key) for key in ("description", "default") if key in schema}
    return {**outer, "anyOf": [schema, {"$ref": "#/$defs/Variable"}]}

"""The value types of a target file: durations and rates as text, kept as exact whole numbers."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, WithJsonSchema

from proofload.core.units import format_duration, parse_duration_ns

_DURATION_PATTERN = r"^\s*(\d+(\.\d+)?\s*(ns|us|µs|ms|min|s|m|h|d)\s*)+$"


def _duration(value: Any) -> int:
    if isinstance(value, str):
        return parse_duration_ns(value)
    raise ValueError("a duration such as 60s, 250ms or 1m30s")


def _duration_text(value: int) -> str:
    text = format_duration(value)
    return text if parse_duration_ns(text) == value else f"{value}ns"


DurationNs = Annotated[
    int,
    BeforeValidator(_duration),
    PlainSerializer(_duration_text),
    WithJsonSchema({"type": "string", "pattern": _DURATION_PATTERN, "examples": ["60s", "250ms", "1m30s"]}),
]
"""A duration: text with a unit in the file, whole nanoseconds in the program."""


class Declared(BaseModel):
    """Base of everything that a user writes: unknown keys are errors, values do not change once read."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

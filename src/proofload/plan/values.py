"""The value types of a target file: durations and addresses as text, kept exact; what every declared thing is."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    WithJsonSchema,
)

from proofload.core.units import format_duration, parse_duration_ns
from proofload.plan.addresses import parse_ip, parse_network

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
    PlainSerializer(_duration_text, return_type=str),
    WithJsonSchema({"type": "string", "pattern": _DURATION_PATTERN, "examples": ["60s", "250ms", "1m30s"]}),
]
"""A duration: text with a unit in the file, whole nanoseconds in the program."""


def _url(value: str) -> str:
    if not _is_url(value, ("http", "https")):
        raise ValueError("a URL such as http://127.0.0.1:9090/metrics")
    return value


def _probe_url(value: str) -> str:
    if not _is_url(value, ("http", "https", "tcp")):
        raise ValueError("a URL such as http://127.0.0.1:9090/health or tcp://127.0.0.1:6379")
    return value


def _is_url(value: str, schemes: tuple[str, ...]) -> bool:
    try:
        parts = urlsplit(value)
        fine = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return fine and not any(sign.isspace() for sign in value)


def _source(value: str) -> str:
    try:
        return str(parse_ip(value))
    except ValueError:
        raise ValueError("an IP address of this machine such as 192.0.2.10") from None


def _allowed(value: str) -> str:
    parse_network(value)
    return value


HttpUrl = Annotated[str, AfterValidator(_url), WithJsonSchema({"type": "string", "pattern": "^https?://"})]
"""An http or https URL, kept as it was written."""

ProbeUrl = Annotated[str, AfterValidator(_probe_url), WithJsonSchema({"type": "string", "pattern": "^(https?|tcp)://"})]
"""An http, https or tcp URL (`tcp://127.0.0.1:6379`: that a connection is taken is enough)."""

SourceAddress = Annotated[str, AfterValidator(_source)]
"""A local address to send from."""

AllowedNetwork = Annotated[str, AfterValidator(_allowed)]
"""An address or a narrow network beyond loopback."""


class Declared(BaseModel):
    """Base of everything that a user writes: unknown keys are errors, values do not change once read."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

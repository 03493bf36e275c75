"""Reads a `/metrics` page as raw samples. An endpoint that can't be read gives a reading that says so, not an error."""

from __future__ import annotations

import asyncio
import http.client
import re

from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from proofload.core.clock import Clock
from proofload.core.text import visible
from proofload.observe.bounded import exchange
from proofload.observe.side_channel import without_credentials
from proofload.plan.masking import masked_text
from proofload.record.ledger import Reading, Sample

_ACCEPT = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
_ACCEPT_TEXT = "text/plain;version=0.0.4"
_LIMIT_BYTES = 32 << 20
_EXEMPLAR = re.compile(r"(\S+?(?:\{.*\})?\s+\S+(?:\s+\S+)?)\s+#\s+\{.*")


def parse_metrics(page: str, content_type: str = "text/plain") -> tuple[Sample, ...]:
    r"""Return every sample of a page in the text or OpenMetrics format, in its order.

    Raises ValueError where the page is in neither.

    >>> parse_metrics('a_total{route="/x"} 3\n')
    (Sample(name='a_total', labels={'route': '/x'}, value=3.0),)
    """
    parse = parse_openmetrics if "openmetrics" in content_type else parse_text
    return tuple(
        Sample(sample.name, dict(sample.labels), float(sample.value))
        for family in parse(page)
        for sample in family.samples
    )


async def read_metrics(url: str, *, source: str, label: str, clock: Clock, timeout_s: float = 5.0) -> Reading:
    """Return what the endpoint at `url` counts; its values held at some instant inside the reading's interval.

    A page that says it is OpenMetrics and is not quite is asked for again in the text format, by which it is read then.
    """
    asked_ns = clock.now_ns()
    try:
        samples, asked_ns = await asyncio.to_thread(_read, url, timeout_s, clock)
        error = ""
    except (OSError, http.client.HTTPException, ValueError) as problem:
        samples, error = (), f"{masked_text(url)}: {visible(str(problem) or type(problem).__name__, 300)}"
    return Reading(source, label, asked_ns, clock.now_ns(), samples, error)


def _read(url: str, timeout_s: float, clock: Clock) -> tuple[tuple[Sample, ...], int]:
    """Return the samples, and when the page that holds them was asked for. Parsing belongs into this thread, too."""
    asked_ns = clock.now_ns()
    page, content_type = _fetch(url, timeout_s, _ACCEPT)
    try:
        return parse_metrics(page, content_type), asked_ns
    except ValueError:
        if "openmetrics" not in content_type:
            raise
    asked_ns = clock.now_ns()
    page, _ = _fetch(url, timeout_s, _ACCEPT_TEXT)
    return parse_metrics("\n".join(map(_without_exemplar, page.split("\n")))), asked_ns


def _without_exemplar(line: str) -> str:
    found = None if line.startswith("#") else _EXEMPLAR.match(line)
    return found[1] if found else line


def _fetch(url: str, timeout_s: float, accept: str) -> tuple[str, str]:
    address, authorization = without_credentials(url)
    headers = {"Accept": accept, **({"Authorization": authorization} if authorization else {})}
    answer = exchange("GET", address, headers=headers, deadline_s=timeout_s, most_bytes=_LIMIT_BYTES)
    if answer.status != 200:
        raise ValueError(f"got status {answer.status} {answer.reason}, expected a metrics page".replace("  ", " "))
    return answer.body.decode("utf-8-sig"), answer.headers.get("content-type", "text/plain")

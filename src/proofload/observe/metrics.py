"""Reads a `/metrics` page as raw samples. An endpoint that can't be read gives a reading that says so, not an error."""

from __future__ import annotations

import asyncio
import http.client
import urllib.error
import urllib.request

from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from proofload.core.clock import Clock
from proofload.record.ledger import Reading, Sample

_ACCEPT = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
_LIMIT_BYTES = 64 << 20


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
    """Return what the endpoint at `url` counts; its values held at some instant inside the reading's interval."""
    asked_ns = clock.now_ns()
    try:
        page, content_type = await asyncio.to_thread(_fetch, url, timeout_s)
        samples, error = parse_metrics(page, content_type), ""
    except (OSError, http.client.HTTPException, ValueError) as problem:
        samples, error = (), f"{url}: {problem or type(problem).__name__}"
    return Reading(source, label, asked_ns, clock.now_ns(), samples, error)


def _fetch(url: str, timeout_s: float) -> tuple[str, str]:
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"got {url!r}, expected an http or https URL")
    request = urllib.request.Request(url, headers={"Accept": _ACCEPT})  # noqa: S310 -- the scheme was checked
    opener = urllib.request.build_opener(_PageRedirects, urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=timeout_s) as answer:
        page = answer.read(_LIMIT_BYTES + 1)
        if len(page) > _LIMIT_BYTES:
            raise ValueError(f"got more than {_LIMIT_BYTES >> 20} MiB, expected a metrics page")
        return page.decode("utf-8"), answer.headers.get("Content-Type", "text/plain")


class _PageRedirects(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: the address it would lead to was never vetted."""

    def redirect_request(self, *_: object) -> None:
        """Return nothing, so that the redirect itself becomes the error."""

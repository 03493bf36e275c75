"""HTTP to the monitoring servers, beside the load: one request a connection, in a thread, never redirected."""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlencode, urlsplit, urlunsplit

from proofload.core.errors import ToolError
from proofload.core.text import visible
from proofload.observe.bounded import exchange
from proofload.plan.masking import masked_text

_LIMIT_BYTES = 64 << 20


class UnreachableError(ToolError):
    """A monitoring server did not answer at all; or what it answered is no HTTP."""


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """What a server answered, whatever the status."""

    status: int
    headers: Mapping[str, str]
    """By lower-case name."""
    body: bytes

    @property
    def ok(self) -> bool:
        """Return whether the status is 2xx."""
        return 200 <= self.status < 300

    @property
    def told(self) -> str:
        """Return the status and the beginning of the body, fit for a person."""
        return f"{self.status} {visible(self.body.decode('utf-8', 'replace').strip(), 200)}".strip()

    def json(self) -> Any:
        """Return the body as JSON. Raises UnreachableError where it is none."""
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise UnreachableError(f"got an answer that is no JSON: {self.told}") from error


async def call(
    method: str,
    url: str,
    *,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    form: Mapping[str, str] | None = None,
    timeout_s: float = 5.0,
) -> HttpAnswer:
    """Return the answer of a server within `timeout_s`; `form` is sent as a query, or as the body of a POST.

    User name and password in the URL become basic authentication. Raises UnreachableError.
    """
    sent = dict(headers or {})
    address, authorization = without_credentials(url)
    if authorization:
        sent.setdefault("Authorization", authorization)
    if form is not None and method == "POST":
        body = urlencode(form).encode()
        sent["Content-Type"] = "application/x-www-form-urlencoded"
    elif form:
        address += ("&" if "?" in address else "?") + urlencode(form)
    try:
        answer = await asyncio.to_thread(
            exchange, method, address, body=body, headers=sent, deadline_s=timeout_s, most_bytes=_LIMIT_BYTES
        )
        return HttpAnswer(answer.status, answer.headers, answer.body)
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise UnreachableError(f"{masked_text(url)}: {visible(str(reason) or type(error).__name__, 200)}") from error


def without_credentials(url: str) -> tuple[str, str]:
    """Return a URL without user name and password, and the Authorization header that they make.

    >>> without_credentials("http://a:b@h:9090/x")
    ('http://h:9090/x', 'Basic YTpi')
    """
    parts = urlsplit(url)
    if "@" not in parts.netloc:
        return url, ""
    credentials = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    bare = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    return bare, "Basic " + base64.b64encode(credentials.encode()).decode()

"""Writes a run's metrics to a Pushgateway, a group for each run; and shows them on a page of our own."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import Callable, Sequence
from urllib.parse import quote

from prometheus_client.core import Metric

from proofload.core.errors import ToolError
from proofload.observe.side_channel import call
from proofload.plan.masking import masked_text
from proofload.telemetry.run_metrics import exposition

JOB = "proofload"
TEXT_FORMAT = "text/plain; version=0.0.4; charset=utf-8"
_HEAD_LIMIT = 16_384


class Pushgateway:
    """The group `job=proofload, run=ID` of a Pushgateway. Every method raises ToolError where it is not taken."""

    def __init__(self, url: str, run: str) -> None:
        self.name = "pushgateway"
        self.told = masked_text(url)
        # A slash ends a part of the path even where it is escaped; such a value goes as base64.
        plain = run == quote(run, safe="")
        part = f"run/{run}" if plain else f"run@base64/{base64.urlsafe_b64encode(run.encode()).decode()}"
        self._group = f"{url.rstrip('/')}/metrics/job/{JOB}/{part}"

    async def write(self, families: Sequence[Metric], wall_ns: int) -> None:
        """Put these metrics in the place of the group's."""
        await self._call("PUT", exposition(families))

    async def delete(self) -> None:
        """Take the group away."""
        await self._call("DELETE", None)

    async def _call(self, method: str, body: bytes | None) -> None:
        answer = await call(method, self._group, body=body, headers={"Content-Type": TEXT_FORMAT})
        if not answer.ok:
            raise ToolError(f"{self.told}: {answer.told}")


class Page:
    """A /metrics page of the runner itself: `async with Page("127.0.0.1:0", render) as page: page.address`."""

    def __init__(self, listen: str, render: Callable[[], bytes]) -> None:
        host, _, port = listen.rpartition(":")
        self._host, self._port = host.strip("[]"), int(port)
        self._render = render
        self._server: asyncio.Server | None = None
        self.address = listen

    async def __aenter__(self) -> Page:
        """Listen. Raises ToolError where the address can't be had."""
        try:
            self._server = await asyncio.start_server(self._answer, self._host, self._port, limit=_HEAD_LIMIT)
        except (OSError, OverflowError) as error:
            raise ToolError(f"monitoring.listen: {self.address} can't be had ({error})") from error
        host, port = self._server.sockets[0].getsockname()[:2]
        self.address = f"{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError):
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
            found = head.startswith((b"GET /metrics ", b"GET /metrics?"))
            status, body = ("200 OK", self._render()) if found else ("404 Not Found", b"see /metrics\n")
            writer.write(
                f"HTTP/1.1 {status}\r\nContent-Type: {TEXT_FORMAT}\r\nContent-Length: {len(body)}\r\n"
                "Connection: close\r\n\r\n".encode()
                + body
            )
            await writer.drain()
        writer.close()

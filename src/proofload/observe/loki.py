"""Reads and writes a Loki server. What it refuses is counted and kept; a page that is full is never the last."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from proofload.core.clock import Clock
from proofload.core.errors import ToolError
from proofload.core.units import NS_PER_SECOND
from proofload.observe.side_channel import HttpAnswer, UnreachableError, call, without_credentials
from proofload.plan.masking import masked_text
from proofload.record.ledger import AuditEntry

_OVER_LIMIT = re.compile(r"max_entries_limit_per_query \((\d+) > (\d+)\)")
_PAGE = 1_000
_MOST_PAGE = 5_000
_BATCH = 500
_BATCH_BYTES = 1 << 20
_KEPT_REFUSED = 10_000
_WAITS_S = (0.5, 1.0, 2.0, 4.0)


class LokiError(ToolError):
    """The server answered that it can't do what was asked."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of one stream, as pushed or found."""

    labels: Mapping[str, str]
    at_ns: int
    text: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Structured metadata; when read back, Loki has put it among the labels."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A line that the server did not take, and what it said."""

    line: Line
    why: str


@dataclass(slots=True)
class Pushed:
    """What became of everything that was pushed so far.

    `taken` says that the server answered so, not that it kept it: it merges lines that are alike in stream, time and
    text, and answers 204 to a stream without labels.
    """

    taken: int = 0
    refused: int = 0
    retries: int = 0
    kept: list[Refused] = field(default_factory=list)
    """The refused lines, the first 10,000 of them."""


class Loki:
    """A Loki server, by its HTTP API. Reading raises UnreachableError or LokiError; pushing raises nothing."""

    def __init__(self, url: str, clock: Clock, *, page: int = _PAGE, waits_s: Sequence[float] = _WAITS_S) -> None:
        self.url = url.rstrip("/")
        self.told = masked_text(self.url)
        self.pushed = Pushed()
        self._clock = clock
        self._page = page
        self._waits_s = tuple(waits_s)

    # -- writing -----------------------------------------------------------------------------------------------------

    async def push(self, lines: Iterable[Line]) -> Pushed:
        """Push lines in batches and return what became of all pushed so far.

        A batch that is answered 429 or 5xx, or not at all, is tried again with growing pauses. One that is answered
        400 may hold good lines beside the bad one: it is halved until the bad one stands alone. To push a line twice
        does no harm, for the server merges lines that are alike.
        """
        for batch in _batches(lines):
            await self._deliver(batch)
        return self.pushed

    async def _deliver(self, batch: Sequence[Line]) -> None:
        why, final = await self._try(batch)
        if not why:
            self.pushed.taken += len(batch)
        elif final and len(batch) > 1:
            middle = len(batch) // 2
            await self._deliver(batch[:middle])
            await self._deliver(batch[middle:])
        else:
            self.pushed.refused += len(batch)
            room = max(0, _KEPT_REFUSED - len(self.pushed.kept))
            self.pushed.kept += [Refused(line, why) for line in batch[:room]]

    async def _try(self, batch: Sequence[Line]) -> tuple[str, bool]:
        """Return why the batch was not taken (nothing: it was), and whether trying again is useless."""
        body = _push_body(batch)
        why = ""
        for wait_s in (*self._waits_s, None):
            try:
                answer = await self._call("POST", "push", body=body)
            except UnreachableError as error:
                why = str(error)
            else:
                if answer.ok:
                    return "", True
                why = answer.told
                if answer.status != 429 and answer.status < 500:
                    return why, True
            if wait_s is not None:
                self.pushed.retries += 1
                await self._clock.sleep_until_ns(self._clock.now_ns() + round(wait_s * NS_PER_SECOND))
        return why, False

    # -- reading -----------------------------------------------------------------------------------------------------

    async def query_range(self, query: str, start_ns: int, end_ns: int) -> tuple[Line, ...]:
        """Return every line in [start_ns, end_ns), oldest first, over as many pages as it takes."""
        found: list[Line] = []
        at_edge: set[tuple[str, str]] = set()
        limit, begin_ns = self._page, start_ns
        while True:
            page, limit = await self._read_page(query, begin_ns, end_ns, limit)
            new = [line for line in page if line.at_ns != begin_ns or _identity(line) not in at_edge]
            found += new
            if len(page) < limit:
                return tuple(found)
            last_ns = page[-1].at_ns
            if not new or last_ns == begin_ns:
                # More lines at one nanosecond than a page holds: a larger page, or nothing can be told.
                if limit >= _MOST_PAGE:
                    raise LokiError(f"{self.told}: more than {limit} lines at the one instant {last_ns}")
                limit = min(_MOST_PAGE, limit * 2)
            # A page ends anywhere among lines of one instant: that instant is asked for again, and told apart.
            at_edge = {_identity(line) for line in found if line.at_ns == last_ns}
            begin_ns = last_ns

    async def entries(self, query: str, start_ns: int, end_ns: int) -> tuple[AuditEntry, ...]:
        """Return the lines that a query finds as entries of an audit log."""
        lines = await self.query_range(query, start_ns, end_ns)
        read_ns = self._clock.now_ns()
        return tuple(
            AuditEntry(f"loki {_stream(line)}", number, line.text, _fields(line.text), read_ns)
            for number, line in enumerate(lines, 1)
        )

    async def query(self, query: str, at_ns: int) -> tuple[tuple[Mapping[str, str], float], ...]:
        """Return the (labels, value) pairs of a metric query at an instant."""
        data = await self._get("query", {"query": query, "time": str(at_ns)})
        return tuple((one["metric"], float(one["value"][1])) for one in data["result"])

    async def labels(self, start_ns: int, end_ns: int) -> tuple[str, ...]:
        """Return the names of labels in use."""
        return tuple(await self._get("labels", {"start": str(start_ns), "end": str(end_ns)}) or ())

    async def label_values(self, name: str, start_ns: int, end_ns: int) -> tuple[str, ...]:
        """Return the values of a label in use."""
        return tuple(await self._get(f"label/{name}/values", {"start": str(start_ns), "end": str(end_ns)}) or ())

    async def series(self, selector: str, start_ns: int, end_ns: int) -> tuple[Mapping[str, str], ...]:
        """Return the label sets of streams that a selector matches."""
        form = {"match[]": selector, "start": str(start_ns), "end": str(end_ns)}
        return tuple(await self._get("series", form) or ())

    async def is_ready(self) -> bool:
        """Return whether the server says that it is ready."""
        return (await call("GET", f"{self.url}/ready", timeout_s=3.0)).ok

    async def tail(self, query: str, start_ns: int) -> AsyncIterator[Line]:
        """Yield lines as they arrive, over a WebSocket, until the server or the reader ends it.

        Raises LokiError where the server says that it had to drop lines, UnreachableError where it is gone.
        """
        from websockets.asyncio.client import connect
        from websockets.exceptions import ConnectionClosedError, WebSocketException

        bare, authorization = without_credentials(self.url)
        address = "ws" + bare.removeprefix("http") + "/loki/api/v1/tail?"
        headers = {"Authorization": authorization} if authorization else {}
        form = urlencode({"query": query, "start": str(start_ns)})
        try:
            async with connect(address + form, additional_headers=headers, proxy=None) as socket:
                async for message in socket:
                    content = json.loads(message)
                    for line in _lines(content.get("streams") or []):
                        yield line
                    if dropped := content.get("dropped_entries"):
                        raise LokiError(f"{self.told}: the tail is too slow, {len(dropped)} lines were dropped")
        except (OSError, WebSocketException, ConnectionClosedError, ValueError) as error:
            raise UnreachableError(f"{self.told}: {error}") from error

    async def _read_page(self, query: str, start_ns: int, end_ns: int, limit: int) -> tuple[list[Line], int]:
        """Return a page of lines and the limit that it was read with: the server may allow less than was asked."""
        form = {"query": query, "start": str(start_ns), "end": str(end_ns), "direction": "forward"}
        try:
            data = await self._get("query_range", {**form, "limit": str(limit)})
        except LokiError as error:
            over = _OVER_LIMIT.search(str(error))
            if over is None or not 0 < int(over[2]) < limit:
                raise
            limit = int(over[2])
            data = await self._get("query_range", {**form, "limit": str(limit)})
        if data["resultType"] != "streams":
            raise LokiError(f"{self.told}: {query!r} is a query of {data['resultType']}, expected one of lines")
        return sorted(_lines(data["result"]), key=lambda line: line.at_ns), limit

    async def _get(self, what: str, form: Mapping[str, str]) -> Any:
        answer = await self._call("GET", what, form=form)
        if not answer.ok:
            # Loki's errors are plain text.
            raise LokiError(f"{self.told}: {answer.told}")
        content = answer.json()
        if content.get("status") != "success":
            raise LokiError(f"{self.told}: {answer.told}")
        # `labels` of an empty server has no data at all.
        return content.get("data")

    async def _call(
        self, method: str, what: str, *, body: bytes | None = None, form: Mapping[str, str] | None = None
    ) -> HttpAnswer:
        headers = {"Content-Type": "application/json"} if body is not None else {}
        return await call(
            method, f"{self.url}/loki/api/v1/{what}", body=body, headers=headers, form=form, timeout_s=15.0
        )


def _batches(lines: Iterable[Line]) -> Iterable[list[Line]]:
    batch: list[Line] = []
    size = 0
    for line in lines:
        length = len(line.text)
        if batch and (len(batch) >= _BATCH or size + length > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(line)
        size += length
    if batch:
        yield batch


def _push_body(batch: Sequence[Line]) -> bytes:
    streams: dict[tuple[tuple[str, str], ...], list[list[Any]]] = {}
    for line in batch:
        value: list[Any] = [str(line.at_ns), line.text]
        if line.metadata:
            value.append(dict(line.metadata))
        streams.setdefault(tuple(sorted(line.labels.items())), []).append(value)
    content = [{"stream": dict(labels), "values": values} for labels, values in streams.items()]
    return json.dumps({"streams": content}).encode()


def _lines(streams: Iterable[Mapping[str, Any]]) -> list[Line]:
    return [
        Line(one["stream"], int(value[0]), value[1], value[2] if len(value) > 2 else {})
        for one in streams
        for value in one["values"]
    ]


def _identity(line: Line) -> tuple[str, str]:
    return json.dumps(line.labels, sort_keys=True), line.text


def _stream(line: Line) -> str:
    return "{" + ",".join(f'{name}="{value}"' for name, value in sorted(line.labels.items())) + "}"


def _fields(text: str) -> Mapping[str, object] | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None

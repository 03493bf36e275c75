"""A server that obeys the recorded exchanges with a real Loki: what it takes, merges, splits, pages and refuses."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.listening import Listener

MOST_ENTRIES = 5_000
LONGEST = 262_144
OLDEST_NS = 7 * 86_400 * 1_000_000_000
NEWEST_NS = 10 * 60 * 1_000_000_000
BYTES_A_SECOND = 4_194_304
_SELECTOR = re.compile(r'\{((?:\w+="[^"]*",?\s*)+)\}')
_LABEL = re.compile(r'(\w+)="([^"]*)"')

Entry = tuple[tuple[tuple[str, str], ...], int, str]


class LokiStandIn:
    """The stand-in, listening on a port of its own until it is closed."""

    def __init__(self, now_ns: int | None = None) -> None:
        self.entries: dict[Entry, dict[str, str]] = {}
        """By (labels, time, line): the structured metadata. One entry for lines that are alike."""
        self.statuses: list[int] = []
        """Statuses to answer the next pushes with, before any is taken."""
        self.pushes = 0
        self.queries = 0
        self.delay_s = 0.0
        self.drop_every = 0
        """Every so many lines one is taken and never kept."""
        self._seen = 0
        self._now_ns = now_ns
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._send(*stand_in.get(self.path))

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self._send(*stand_in.push(body))

            def _send(self, status: int, content: Any) -> None:
                plain = isinstance(content, str)
                body = content.encode() if plain else json.dumps(content).encode()
                self.send_response(status)
                if status != 204:
                    self.send_header("Content-Type", "text/plain; charset=utf-8" if plain else "application/json")
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if status != 204:
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._listener = Listener(Handler)
        self.url = self._listener.url

    def close(self) -> None:
        self._listener.close()

    def now_ns(self) -> int:
        return self._now_ns if self._now_ns is not None else time.time_ns()

    # -- writing

    def push(self, body: bytes) -> tuple[int, Any]:
        self.pushes += 1
        if self.statuses:
            status = self.statuses.pop(0)
            return status, "Ingestion rate limit exceeded" if status == 429 else "no such luck"
        try:
            streams = json.loads(body)["streams"]
        except (ValueError, KeyError):
            return (
                400,
                "loghttp.PushRequest.Streams: []loghttp.LogProtoStream: ReadObject: expect : after object field\n",
            )
        values = [(tuple(sorted(one["stream"].items())), value) for one in streams for value in one["values"]]
        size = sum(len(value[1]) for _, value in values)
        if size > BYTES_A_SECOND:
            return 429, (
                f"Ingestion rate limit exceeded for user fake (limit: {BYTES_A_SECOND} bytes/sec) while attempting to "
                f"ingest '{len(values)}' lines totaling '{size}' bytes, reduce log volume\n"
            )
        problem = ""
        for labels, value in values:
            told = self._refused(labels, int(value[0]), value[1])
            problem = problem or told
            self._seen += 1
            dropped = self.drop_every and self._seen % self.drop_every == 0
            # A stream without labels is answered 204 and goes nowhere; good lines beside a bad one are kept.
            if labels and not told and not dropped:
                self.entries[(labels, int(value[0]), value[1])] = value[2] if len(value) > 2 else {}
        return (400, problem) if problem else (204, "")

    def _refused(self, labels: Iterable[tuple[str, str]], at_ns: int, line: str) -> str:
        stream = "{" + ", ".join(f'{name}="{value}"' for name, value in labels) + "}"
        if len(line) > LONGEST:
            return (
                f"Max entry size '{LONGEST}' bytes exceeded for stream '{stream}' while adding an entry with "
                f"length '{len(line)}' bytes\n"
            )
        if at_ns < self.now_ns() - OLDEST_NS:
            return f"entry for stream '{stream}' has timestamp too old: x, oldest acceptable timestamp is: y\n"
        if at_ns > self.now_ns() + NEWEST_NS:
            return f"entry for stream '{stream}' has timestamp too new: x\n"
        return ""

    # -- reading

    def get(self, target: str) -> tuple[int, Any]:
        parts = urlsplit(target)
        form = {name: values[0] for name, values in parse_qs(parts.query).items()}
        path = parts.path.removeprefix("/loki/api/v1/")
        if parts.path == "/ready":
            return 200, "ready\n"
        if path == "query_range":
            return self._query_range(form)
        if path == "labels":
            return 200, {"status": "success", "data": sorted({name for key in self.entries for name, _ in key[0]})}
        if path.startswith("label/"):
            name = path.split("/")[1]
            values = sorted({value for key in self.entries for label, value in key[0] if label == name})
            return 200, {"status": "success", "data": values}
        if path == "series":
            return 200, {"status": "success", "data": [dict(one) for one in sorted({key[0] for key in self.entries})]}
        return 404, "404 page not found\n"

    def _query_range(self, form: dict[str, str]) -> tuple[int, Any]:
        self.queries += 1
        time.sleep(self.delay_s)
        found = _SELECTOR.fullmatch(form["query"])
        if found is None:
            return 400, "parse error at line 1, col 15: syntax error: unexpected $end, expecting } or ,"
        limit = int(form.get("limit", 100))
        if limit > MOST_ENTRIES:
            return 400, (
                f"max entries limit per query exceeded, limit > max_entries_limit_per_query ({limit} > {MOST_ENTRIES})"
            )
        wanted = set(_LABEL.findall(found[1]))
        start, end = int(form["start"]), int(form["end"])
        matching = sorted(
            ((key, metadata) for key, metadata in list(self.entries.items()) if wanted <= set(key[0])),
            key=lambda one: one[0][1],
        )
        page = [one for one in matching if start <= one[0][1] < end]
        if form.get("direction", "backward") == "backward":
            page.reverse()
        streams: dict[tuple[tuple[str, str], ...], list[list[str]]] = {}
        for (labels, at_ns, line), metadata in page[:limit]:
            whole = {**dict(labels), "detected_level": "unknown", **metadata}
            streams.setdefault(tuple(sorted(whole.items())), []).append([str(at_ns), line])
        result = [{"stream": dict(labels), "values": values} for labels, values in streams.items()]
        return 200, {"status": "success", "data": {"resultType": "streams", "result": result, "stats": {}}}

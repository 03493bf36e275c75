"""Servers that are only compatible with Prometheus: what they lack does not end the reading."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any, ClassVar
from urllib.parse import parse_qs

import pytest
from tests.listening import Listener

from proofload.core.clock import SystemClock
from proofload.observe.prometheus import Prometheus, PrometheusError
from proofload.record.ledger import Reading

COUNTER = {"__name__": "hits_total", "instance": "gw:80", "route": "/x"}


class Compatible(BaseHTTPRequestHandler):
    """Answers queries for one counter, whose samples grow newer with each question."""

    LACKING: ClassVar[tuple[int, str]] = (404, "404 page not found")
    NOW: ClassVar[Any] = {"resultType": "scalar", "result": [100, "100"]}
    TICK: ClassVar[Iterator[int]] = itertools.count(101)

    def do_GET(self) -> None:
        status, body = self.LACKING
        self._send(status, body)

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        (asked,) = parse_qs(self.rfile.read(length).decode())["query"]
        data: Any = {"resultType": "vector", "result": []}
        if asked == "time()":
            data = self.NOW
        elif asked.startswith("timestamp("):
            data["result"] = [{"metric": COUNTER, "value": [0, str(next(self.TICK))]}]
        elif asked.endswith("s]"):
            data = {"resultType": "matrix", "result": [{"metric": COUNTER, "values": [[100, "6"], [101, "7"]]}]}
        self._send(200, json.dumps({"status": "success", "data": data}))

    def _send(self, status: int, body: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None: ...


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with Listener(Compatible) as listener:
        yield listener.url


def fresh(url: str) -> Reading:
    return asyncio.run(Prometheus(url, SystemClock()).fresh("hits_total", {}, source="p", label="x"))


@pytest.mark.parametrize(
    "lacking",
    [
        (404, "404 page not found"),
        (501, "<html>"),
        (200, '{"status":"success","data":[]}'),
        (200, '{"status":"success","data":null}'),
        (200, '{"status":"success"}'),
        (200, '{"status":"success","data":{"activeTargets":[{"scrapeInterval":7}]}}'),
    ],
)
def test_a_server_without_a_page_of_targets_is_read(
    server: str, monkeypatch: pytest.MonkeyPatch, lacking: tuple[int, str]
) -> None:
    monkeypatch.setattr(Compatible, "LACKING", lacking)
    reading = fresh(server)
    assert reading.error == ""
    assert [(one.labels["route"], one.value) for one in reading.samples] == [("/x", 7.0)]


@pytest.mark.parametrize(
    "now", [{"resultType": "vector", "result": []}, {}, [], None, {"resultType": "scalar", "result": []}]
)
def test_an_answer_in_another_form_is_an_error_of_the_reading(
    server: str, monkeypatch: pytest.MonkeyPatch, now: object
) -> None:
    monkeypatch.setattr(Compatible, "NOW", now)
    assert server in fresh(server).error
    if now:
        return
    with pytest.raises(PrometheusError):
        asyncio.run(Prometheus(server, SystemClock()).query("time()"))

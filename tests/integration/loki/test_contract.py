"""The stand-in answers as the real Loki did; what the client makes of each recorded answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from tests.listening import Listener

from proofload.core.clock import SystemClock
from proofload.observe.loki import Line, Loki, LokiError

from .stand_in import LokiStandIn

RECORDED = {place.stem: json.loads(place.read_bytes()) for place in (Path(__file__).parent / "recorded").glob("*.json")}
NOW_NS = 1_795_424_210_457_354_914
START_NS, END_NS = 1_795_424_148_457_354_914, NOW_NS
LABELS = {"app": "gateway", "kind": "audit", "service_name": "gateway"}


@pytest.fixture
def loki() -> Iterator[LokiStandIn]:
    server = LokiStandIn(now_ns=NOW_NS)
    yield server
    server.close()


def body_of(name: str) -> bytes:
    body = RECORDED[name]["request"]["body"]
    if name == "push_line_too_long":
        body = {"streams": [{"stream": LABELS, "values": [[str(NOW_NS), "x" * 300_000]]}]}
    if name == "push_rate_limited":
        values = [[str(NOW_NS - i), "x" * 200_000] for i in range(60)]
        body = {"streams": [{"stream": LABELS, "values": values}]}
    return body.encode() if isinstance(body, str) else json.dumps(body).encode()


@pytest.mark.parametrize("name", sorted(name for name in RECORDED if name.startswith("push_")))
def test_the_stand_in_takes_and_refuses_as_the_real_one(loki: LokiStandIn, name: str) -> None:
    status, text = loki.push(body_of(name))
    answer = RECORDED[name]["response"]
    assert status == answer["status"]
    # Up to the first thing that differs from time to time.
    for word in str(answer["text"]).split()[:4]:
        assert word.strip("'") in text


QUERIES = (
    "query_range_streams",
    "query_range_limited_page",
    "query_range_empty",
    "query_limit_over_max",
    "query_bad_logql",
    "labels",
    "label_values",
    "series",
    "ready",
)


@pytest.mark.parametrize("name", QUERIES)
def test_the_stand_in_answers_as_the_real_one(loki: LokiStandIn, name: str) -> None:
    loki.push(body_of("push_ok"))
    loki.push(body_of("push_duplicate_is_accepted_and_merged"))
    request, answer = RECORDED[name]["request"], RECORDED[name]["response"]
    status, content = loki.get(request["path"] + "?" + urlencode(request["params"] or {}))
    assert status == answer["status"]
    if answer["json"] is None:
        assert content == answer["text"]
        return
    told = answer["json"]["data"]
    if isinstance(told, dict):
        told, content = told["result"], {"data": content["data"]["result"]}
    assert content["data"] == told


class Replay:
    """Answers every request with one recorded response."""

    def __init__(self, response: Any) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                body = response["text"] if response["json"] is None else json.dumps(response["json"])
                self.send_response(response["status"])
                for header, value in response["headers"].items():
                    self.send_header(header, value)
                self.end_headers()
                if response["status"] != 204:
                    self.wfile.write((body or "").encode())

            def do_POST(self) -> None:
                self.do_GET()

            def log_message(self, *_: object) -> None:
                pass

        self._listener = Listener(Handler)
        self.client = Loki(self._listener.url, SystemClock(), waits_s=())

    def __enter__(self) -> Loki:
        return self.client

    def __exit__(self, *_: object) -> None:
        self._listener.close()


@pytest.mark.parametrize("name", sorted(name for name in RECORDED if name.startswith("push_")))
def test_the_client_understands_every_recorded_answer_to_a_push(name: str) -> None:
    response = RECORDED[name]["response"]
    with Replay(response) as client:
        pushed = asyncio.run(client.push([Line(LABELS, 1, "a"), Line(LABELS, 2, "b")]))
    if response["status"] == 204:
        assert (pushed.taken, pushed.refused) == (2, 0)
    else:
        assert (pushed.taken, pushed.refused) == (0, 2)
        assert [one.line.text for one in pushed.kept] == ["a", "b"]
        assert all(str(response["status"]) in one.why for one in pushed.kept)


def test_the_client_reads_every_recorded_answer_to_a_query() -> None:
    async def read() -> None:
        for name in ("query_range_streams", "query_range_filter_json"):
            with Replay(RECORDED[name]["response"]) as client:
                lines = await client.query_range('{app="gateway"}', START_NS, END_NS)
                assert [line.at_ns for line in lines] == sorted(line.at_ns for line in lines)
                assert len(lines) == (20 if name == "query_range_streams" else 7)
                assert lines[0].labels["request_id"] == "req-0000"
                (first, *_) = await client.entries('{app="gateway"}', START_NS, END_NS)
                assert first.fields is not None
                assert first.fields["event"] == "AUTH_FAILED"
        with Replay(RECORDED["query_range_empty"]["response"]) as client:
            assert await client.query_range("{}", 0, 1) == ()
        with Replay(RECORDED["query_instant_count"]["response"]) as client:
            counts = await client.query("x", 1)
            assert sorted((labels["event"], value) for labels, value in counts) == [
                ("AUTH_FAILED", 7.0),
                ("AUTH_SUCCESS", 13.0),
            ]
        with Replay(RECORDED["labels"]["response"]) as client:
            assert await client.labels(0, 1) == ("app", "kind", "service_name")
        with Replay(RECORDED["label_values"]["response"]) as client:
            assert await client.label_values("app", 0, 1) == ("gateway",)
        with Replay(RECORDED["series"]["response"]) as client:
            assert await client.series("{}", 0, 1) == (LABELS,)
        with Replay(RECORDED["ready"]["response"]) as client:
            assert await client.is_ready()
        with Replay(RECORDED["query_bad_logql"]["response"]) as client, pytest.raises(LokiError, match="parse error"):
            await client.query_range('{app="gateway"', 0, 1)
        with (
            Replay(RECORDED["query_range_rate"]["response"]) as client,
            pytest.raises(LokiError, match="a query of matrix"),
        ):
            await client.query_range("x", 0, 1)

    asyncio.run(read())

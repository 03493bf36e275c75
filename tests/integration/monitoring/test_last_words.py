"""The last write of a run reaches its server, whatever was on its way when the run ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from tests.listening import Listener

from proofload.core.clock import SystemClock
from proofload.plan.reader import parse_target
from proofload.suite import run_telemetry as module
from proofload.suite.run_telemetry import Observing

FINISHED = b"proofload_run_finished 1.0"


class Quiet:
    """An audience that listens to nothing."""

    def doing(self, *_: object) -> None: ...
    def ended(self, *_: object) -> None: ...
    def sent(self, *_: object) -> None: ...
    def pulse(self, *_: object) -> None: ...


class Slow:
    """A server that takes its time, other for each method; it notes what it was sent."""

    def __init__(self) -> None:
        self.put: list[bytes] = []
        self.waits_s: dict[str, list[float]] = {"PUT": [], "POST": []}
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.command == "PUT":
                    server.put.append(body)
                waits_s = server.waits_s[self.command]
                time.sleep(waits_s.pop(0) if waits_s else 0)
                self.send_response(204)
                self.end_headers()

            def do_POST(self) -> None:
                self.do_PUT()

            def log_message(self, *_: object) -> None: ...

        self._listener = Listener(Handler)
        self.url = self._listener.url

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def slow() -> Iterator[Slow]:
    server = Slow()
    yield server
    server.close()


def written(slow: Slow, monitoring: str, before_s: float) -> dict[str, Any]:
    target = parse_target(
        f"version: 1\naddress: http://127.0.0.1:1\noperations: {{a: {{path: /}}}}\nmonitoring: {{{monitoring}}}\n",
        "t.yaml",
        {},
    )

    async def run() -> dict[str, Any]:
        observing = Observing(target, "r1", [], SystemClock(), Quiet())
        async with observing:
            await asyncio.sleep(before_s)
            return dict(await observing.finish([]))

    return asyncio.run(run())


def test_a_regular_write_never_has_the_last_one_left_out(slow: Slow) -> None:
    # While the end of the run waits for its event, a regular write would set out and be on its way for long.
    slow.waits_s = {"PUT": [2.0], "POST": [0.8]}
    kept = written(slow, f"pushgateway: '{slow.url}', loki: '{slow.url}', every: 200ms", 0)
    assert FINISHED in slow.put[-1]
    assert kept["counts"]["pushgateway"]["failed"] == 0


def test_a_write_that_hangs_is_given_up_and_told_and_the_last_one_is_made(
    slow: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LAST_WORDS_S", 0.5)
    slow.waits_s = {"PUT": [2.0], "POST": []}
    kept = written(slow, f"pushgateway: '{slow.url}', every: 200ms", 0.4)
    assert FINISHED in slow.put[-1]
    assert (kept["counts"]["pushgateway"]["written"], kept["counts"]["pushgateway"]["failed"]) == (1, 1)
    (note,) = kept["notes"]
    assert "no answer within 0.5 s at the end of the run" in note

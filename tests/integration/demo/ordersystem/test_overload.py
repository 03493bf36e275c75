"""Beyond capacity, and without the store: what is promised, on real processes."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from .conftest import eventually
from .scripted import Scripted

pytestmark = pytest.mark.xdist_group("ordersystem-breaker")

PROBE = "/api/v1/auth/login"


class Loki(HTTPServer):
    """Takes what is pushed; refuses the first push with 429."""

    def __init__(self):
        self.bodies: list[bytes] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                outer.bodies.append(body)
                self.send_response(429 if len(outer.bodies) == 1 else 204)
                self.end_headers()

            def log_message(self, *_arguments):
                pass

        super().__init__(("127.0.0.1", 0), Handler)


@pytest.fixture
def loki():
    server = Loki()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def backend():
    scripted = Scripted()
    yield scripted
    scripted.close()


def test_overload_is_refused_at_once_health_answers_and_all_is_well_afterwards(start_system, backend, loki):
    system = start_system(
        GATEWAY_UPSTREAM_AUTH=backend.url,
        WORKERS_GATEWAY="1",
        GATEWAY_MAX_CONCURRENCY="4",
        GATEWAY_MAX_QUEUE="4",
        GATEWAY_QUEUE_PATIENCE="20",
        GATEWAY_UPSTREAM_TIMEOUT="20",
        GATEWAY_WHEN_STORE_IS_DOWN="open",
        AUDIT_LOKI_URL=f"http://127.0.0.1:{loki.server_address[1]}",
    )
    backend.hold.clear()
    with system.client() as client, ThreadPoolExecutor(30) as pool:
        asked = [pool.submit(client.post, PROBE, json={}) for _ in range(30)]
        assert eventually(lambda: sum(one.done() for one in asked) == 22)
        refused = [one.result() for one in asked if one.done()]
        assert {(answer.status_code, answer.json()["code"]) for answer in refused} == {(503, "OVERLOADED")}
        assert refused[0].headers["retry-after"] == "1"
        assert backend.hits <= 4
        assert client.get("/health").status_code == 200
        other = client.get("/api/v1/balance")
        assert other.status_code == 401  # another service has room of its own
        backend.hold.set()
        assert [one.result().status_code for one in asked].count(200) == 8
        assert client.post(PROBE, json={}).status_code == 200
        assert 'overload_rejections_total{service="auth"} 22.0' in client.get("/metrics").text

        # Declared open: without the store calls go through, unlimited and without a breaker.
        assert system.order("stop", "redis")["ok"]
        started = time.monotonic()
        open_answer = client.post(PROBE, json={})
        assert open_answer.status_code == 200
        assert "x-ratelimit-limit" not in open_answer.headers
        assert time.monotonic() - started < 10
        assert "failing open" in (system.log("gateway"))
        assert system.order("start", "redis")["ok"]
        assert eventually(lambda: "x-ratelimit-limit" in client.post(PROBE, json={}).headers)

    # The refused token above is on record, and its copy reached Loki though the first push was refused.
    events = [event for event in system.audit("gateway") if event["event"] == "access_denied"]
    assert len(events) == 1
    assert eventually(lambda: len(loki.bodies) >= 2)
    assert loki.bodies[0] == loki.bodies[1]
    assert events[0]["request_id"].encode() in loki.bodies[1]

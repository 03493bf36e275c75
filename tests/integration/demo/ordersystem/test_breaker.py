"""Circuit breakers over two workers, in front of a backend that fails on demand."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest

from .conftest import end, eventually, start
from .scripted import Scripted

pytestmark = pytest.mark.xdist_group("ordersystem-breaker")

OPEN_S = 1.0
PROBE = "/api/v1/auth/login"
_host = count(1)


@pytest.fixture(scope="module")
def backend():
    scripted = Scripted()
    yield scripted
    scripted.close()


@pytest.fixture(scope="module")
def module_system(tmp_path_factory, backend):
    running = start(
        tmp_path_factory.mktemp("breaker"),
        GATEWAY_UPSTREAM_AUTH=backend.url,
        GATEWAY_UPSTREAM_TIMEOUT="0.4",
        GATEWAY_RATE_LIMIT="10000",
        BREAKER_OPEN=str(OPEN_S),
    )
    yield running
    end(running)


@pytest.fixture
def system(module_system, backend):
    """The circuit is closed and the count is zero when a test begins."""
    backend.status, backend.code = 200, ""
    backend.hold.set()
    assert eventually(lambda: [ask(module_system) for _ in range(4)] == [200] * 4)
    backend.hits = 0
    return module_system


def ask(system, status_only=True):
    # A connection of its own for each, so that the workers take turns by chance.
    with system.client() as client:
        answer = client.post(PROBE, json={})
    return answer.status_code if status_only else answer


def test_opens_on_the_fifth_failure_in_a_row_and_not_before(system, backend):
    backend.status = 500
    assert [ask(system) for _ in range(8)] == [500] * 5 + [503] * 3
    assert backend.hits == 5
    rejected = ask(system, status_only=False)
    assert rejected.json()["code"] == "CIRCUIT_OPEN"
    assert rejected.headers["retry-after"] == "1"
    assert rejected.headers["x-ratelimit-limit"] == "10000"
    events = [event["event"] for event in system.audit("gateway")]
    assert "circuit_opened" in events


def test_a_success_in_between_starts_the_count_again(system, backend):
    for _ in range(3):
        backend.status = 500
        assert [ask(system) for _ in range(4)] == [500] * 4
        backend.status = 200
        assert ask(system) == 200


@pytest.mark.parametrize(("status", "code"), [(404, ""), (429, ""), (503, "LOCK_CONTENTION"), (422, "")])
def test_what_is_no_failure_of_the_service_never_counts(system, backend, status, code):
    backend.status, backend.code = status, code
    assert [ask(system) for _ in range(12)] == [status] * 12
    assert backend.hits == 12


def test_other_circuits_do_not_move(system, backend):
    backend.status = 500
    assert [ask(system) for _ in range(6)][-1] == 503
    with system.client() as client:
        assert client.get("/api/v1/balance").status_code == 401
        page = client.get("/metrics").text
    assert 'circuit_breaker_state{service="auth"} 1.0' in page
    assert 'circuit_breaker_state{service="user"} 0.0' in page


def test_half_open_takes_one_trial_at_a_time_and_three_successes_close(system, backend):
    backend.status = 500
    opened = time.monotonic()
    assert [ask(system) for _ in range(5)] == [500] * 5
    backend.status = 200
    while ask(system) == 503:  # rejections must not put off the trial
        assert time.monotonic() - opened < OPEN_S + 2
    assert time.monotonic() - opened >= OPEN_S - 0.05
    backend.hits = 0
    backend.hold.clear()
    with ThreadPoolExecutor(8) as pool:
        burst = [pool.submit(ask, system) for _ in range(8)]
        # Seven are refused while the eighth is still in the backend's hands.
        assert eventually(lambda: sum(done.done() for done in burst) == 7, 3.0)
        assert backend.hits == 1
        backend.hold.set()
        assert sorted(done.result() for done in burst) in ([200] + [503] * 7, [503] * 7 + [504])


def test_a_failed_trial_opens_for_a_whole_period_again(system, backend):
    backend.status = 500
    assert [ask(system) for _ in range(5)] == [500] * 5
    assert eventually(lambda: ask(system) == 500, OPEN_S + 3)
    reopened = time.monotonic()
    assert ask(system) == 503
    hits = backend.hits
    backend.status = 200
    assert eventually(lambda: ask(system) == 200, OPEN_S + 3)
    assert time.monotonic() - reopened >= OPEN_S - 0.05
    assert backend.hits == hits + 1
    backend.status = 500
    assert ask(system) == 500  # one success was not enough to close: a single failure opens
    assert ask(system) == 503


def test_a_backend_that_hangs_opens_the_circuit(system, backend):
    backend.hold.clear()
    assert [ask(system) for _ in range(6)] == [504] * 5 + [503]


def test_gateway_tells_the_backend_who_calls_and_forged_headers_are_dropped(system, backend):
    backend.extra_headers = [("X-RateLimit-Limit", "7"), ("X-Request-ID", "backend")]
    try:
        with system.client("127.0.0.77") as client:
            forged = {"X-User": "root", "X-Client-IP": "1.1.1.1", "X-Gateway-Token": "x", "X-Forwarded-For": "2.2.2.2"}
            answer = client.post(PROBE, json={}, headers={**forged, "X-Request-ID": "mine"})
    finally:
        backend.extra_headers = []
    seen = backend.headers_seen[-1]
    assert "x-user" not in seen
    assert (seen["x-client-ip"], seen["x-forwarded-for"], seen["x-request-id"]) == ("127.0.0.77", "127.0.0.77", "mine")
    assert seen["x-gateway-token"] != "x"
    assert answer.headers.get_list("x-ratelimit-limit") == ["10000"]
    assert answer.headers.get_list("x-request-id") == ["mine"]

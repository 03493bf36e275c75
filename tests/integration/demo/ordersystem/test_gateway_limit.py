"""The gateway's rate limit, seen from outside on real processes."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import httpx
import pytest

pytestmark = pytest.mark.xdist_group("ordersystem-gateway")

_host = count(10)
PROBE = "/api/v1/auth/profile"


@pytest.fixture
def address() -> str:
    """A client address that no other test used."""
    return f"127.0.1.{next(_host)}"


def ask(system, address, times, **options):
    with system.client(address) as client:
        return [client.get(PROBE, **options) for _ in range(times)]


def test_exactly_the_limit_is_admitted_and_the_rest_is_told_so(system, address):
    answers = ask(system, address, 103)
    assert [answer.status_code for answer in answers] == [401] * 100 + [429] * 3
    assert [int(a.headers["x-ratelimit-remaining"]) for a in answers] == [*range(99, -1, -1), 0, 0, 0]
    assert {a.headers["x-ratelimit-limit"] for a in answers} == {"100"}
    resets = {int(a.headers["x-ratelimit-reset"]) for a in answers}
    assert len(resets) == 1
    rejected = answers[-1]
    assert rejected.json()["code"] == "RATE_LIMITED"
    assert rejected.json()["request_id"] == rejected.headers["x-request-id"]
    assert 0 < int(rejected.headers["retry-after"]) <= 60
    assert 55 < resets.pop() - time.time() <= 61
    assert "retry-after" not in answers[0].headers


def test_a_thousand_at_once_share_one_allowance(system, address):
    with system.client(address) as client, ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: client.get(PROBE), range(1000)))
    admitted = [a for a in answers if a.status_code != 429]
    assert len(admitted) == 100
    assert sorted(int(a.headers["x-ratelimit-remaining"]) for a in admitted) == list(range(100))


def test_a_request_at_the_reset_is_admitted_and_a_trusted_proxy_may_name_the_client(start_system):
    settings = {"GATEWAY_RATE_LIMIT": "2", "GATEWAY_RATE_WINDOW": "1.2", "GATEWAY_TRUSTED_PROXIES": "127.0.0.9"}
    system = start_system(**settings)
    with system.client() as client:
        answers = [client.get(PROBE) for _ in range(3)]
        assert [a.status_code for a in answers] == [401, 401, 429]
        reset = int(answers[-1].headers["x-ratelimit-reset"])
        while time.time() < reset:
            time.sleep(max(0.0, reset - time.time()))  # the event waited for is the instant itself
        assert client.get(PROBE).status_code == 401
    named = ask(system, "127.0.0.9", 1, headers={"X-Forwarded-For": "198.51.100.1, 198.51.100.7"})
    other = ask(system, "127.0.0.9", 1, headers={"X-Forwarded-For": "198.51.100.8"})
    forged = ask(system, "127.0.0.10", 2, headers={"X-Forwarded-For": "198.51.100.7"})
    assert [a.headers["x-ratelimit-remaining"] for a in (*named, *other, *forged)] == ["1", "1", "1", "0"]


def test_addresses_do_not_share_and_a_claimed_one_opens_nothing(system, address):
    assert ask(system, address, 101)[-1].status_code == 429
    forged = ask(system, address, 1, headers={"X-Forwarded-For": "203.0.113.9", "Forwarded": "for=203.0.113.9"})
    assert forged[0].status_code == 429
    assert ask(system, f"127.0.3.{next(_host)}", 1)[0].headers["x-ratelimit-remaining"] == "99"


def test_every_path_method_and_query_counts_together(system, address):
    with system.client(address) as client:
        seen = [
            client.get(PROBE),
            client.post("/api/v1/auth/login", json={}),
            client.get(PROBE, params={"x": "1"}),
            client.head(PROBE),
            client.get("/api/nowhere"),
        ]
    assert [a.headers["x-ratelimit-remaining"] for a in seen] == ["99", "98", "97", "96", "95"]
    assert seen[-1].status_code == 404
    assert seen[-1].json()["code"] == "NO_ROUTE"


def test_health_and_metrics_are_exempt(system, address):
    assert ask(system, address, 101)[-1].status_code == 429
    with system.client(address) as client:
        for path in ("/health", "/metrics"):
            answer = client.get(path)
            assert answer.status_code == 200
            assert "x-ratelimit-limit" not in answer.headers


def test_request_ids_are_given_or_kept_when_sane(system, address):
    with system.client(address) as client:
        kept = client.get(PROBE, headers={"X-Request-ID": "run-1.exchange-7"})
        replaced = client.get(PROBE, headers={"X-Request-ID": "two words"})
        given = client.get("/health")
    assert kept.headers.get_list("x-request-id") == ["run-1.exchange-7"]
    assert re.fullmatch("[0-9a-f]{32}", replaced.headers["x-request-id"])
    assert re.fullmatch("[0-9a-f]{32}", given.headers["x-request-id"])


def test_the_gateways_headers_win_over_the_backends(system, address):
    user = system.login(f"load_test_user_{next(_host)}", address)
    with system.client(address, headers={**user, "X-Request-ID": "mine"}) as client:
        answer = client.get(PROBE)
    assert answer.status_code == 200
    assert answer.headers.get_list("x-request-id") == ["mine"]
    assert answer.headers.get_list("x-ratelimit-remaining") == ["97"]


def test_counts_of_all_workers_are_on_one_page(system, address):
    with httpx.Client(base_url=system.gateway) as scraper:
        before = requests_total(scraper.get("/metrics").text, 'status="429"')
        ask(system, address, 130)
        assert requests_total(scraper.get("/metrics").text, 'status="429"') - before == 30


def requests_total(page: str, part: str) -> int:
    lines = (line for line in page.splitlines() if line.startswith("http_requests_total{") and part in line)
    return sum(int(float(line.rsplit(" ", 1)[1])) for line in lines)


def test_own_redis_is_shared_without_a_clash_and_defects_are_put_in_place(system, start_system):
    defects = ("--defect", "rl.limit_plus_one", "--defect", "rl.headers_missing_on_429")
    shared = start_system(*defects, REDIS_URL=system.ready["redis"], GATEWAY_RATE_LIMIT="5")
    assert shared.ready["redis"] == system.ready["redis"]
    assert shared.ready["defects"] == ["rl.limit_plus_one", "rl.headers_missing_on_429"]
    assert ask(system, "127.0.3.250", 1)[0].headers["x-ratelimit-remaining"] == "99"
    answers = ask(shared, "127.0.3.250", 7)
    assert [answer.status_code for answer in answers] == [401] * 6 + [429]
    assert "x-ratelimit-limit" not in answers[-1].headers

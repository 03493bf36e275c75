"""Locks, balances and orders over two workers of each service."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest

from .conftest import end, eventually, start

pytestmark = pytest.mark.xdist_group("ordersystem-money")

_user = count(1)


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    settings = {"GATEWAY_RATE_LIMIT": "100000", "ORDER_SETTLE_AFTER": "0.5", "ORDER_SETTLE_EVERY": "0.1"}
    running = start(tmp_path_factory.mktemp("money"), **settings, BREAKER_OPEN="0.2")
    yield running
    end(running)


@pytest.fixture(scope="module")
def slow_system(tmp_path_factory):
    """Every operation keeps its lock for a while, so that contention can be seen."""
    settings = {"LOCK_HOLD": "0.8", "LOCK_EXPIRES_BALANCE": "10", "LOCK_EXPIRES_ORDER": "10"}
    running = start(tmp_path_factory.mktemp("held"), GATEWAY_RATE_LIMIT="100000", **settings)
    yield running
    end(running)


def new_user(system):
    return system.login(f"load_test_user_{next(_user)}")


def balance(client, user):
    return client.get("/api/v1/balance", headers=user).json()["balance_cents"]


def until_done(client, path, body, user):
    """Ask again for as long as somebody else has the lock."""
    while True:
        answer = client.post(path, json=body, headers=user)
        if answer.status_code != 503:
            return answer.status_code
        assert answer.json()["code"] in ("LOCK_CONTENTION", "LOCK_LOST")


def test_money_is_conserved_to_the_cent(system):
    users = [new_user(system) for _ in range(10)]
    with system.client() as client, ThreadPoolExecutor(20) as pool:
        for user in users:
            until_done(client, "/api/v1/balance/deposit", {"amount_cents": 1000}, user)

        def one(number):
            kind = "deposit" if number % 2 else "withdraw"
            amount = 1 + number
            answer = client.post(f"/api/v1/balance/{kind}", json={"amount_cents": amount}, headers=users[number % 10])
            assert answer.status_code in (200, 409, 503), answer.text
            signed = amount if kind == "deposit" else -amount
            return number % 10, signed if answer.status_code == 200 else 0

        expected = [1000] * 10
        changed = 0
        for index, amount in pool.map(one, range(200)):
            expected[index] += amount
            changed += amount != 0
        assert changed > 20
        assert [balance(client, user) for user in users] == expected
        for user, amount in zip(users, expected, strict=True):
            listed = client.get("/api/v1/balance/transactions?limit=1000", headers=user).json()["transactions"]
            assert sum(entry["amount_cents"] for entry in listed) == amount


@pytest.mark.parametrize("path", ["/api/v1/balance/deposit", "/api/v1/balance/withdraw", "/api/v1/orders"])
def test_exactly_one_of_many_at_once_succeeds(slow_system, path):
    user = new_user(slow_system)
    body = {"item": "widget", "quantity": 1} if path.endswith("orders") else {"amount_cents": 10}
    with slow_system.client() as client, ThreadPoolExecutor(8) as pool:
        assert client.post("/api/v1/balance/deposit", json={"amount_cents": 5000}, headers=user).status_code == 200
        together = threading.Barrier(8)

        def one(_number):
            client.get("/health")  # the connections are there before it counts
            together.wait(10)
            return client.post(path, json=body, headers=user)

        answers = list(pool.map(one, range(8)))
        assert sorted(a.status_code for a in answers) in ([200] + [503] * 7, [201] + [503] * 7)
        refused = next(a for a in answers if a.status_code == 503)
        assert refused.json()["code"] == "LOCK_CONTENTION"
        assert refused.headers["retry-after"] == "1"
        assert client.get("/api/v1/balance", headers=user).status_code == 200  # contention opened no circuit
    service = "order" if path.endswith("orders") else "user"
    assert [e for e in slow_system.audit(service) if e["event"] == "lock_contention"][-1]["outcome"] == "denied"


def test_an_order_excludes_a_withdrawal_and_other_users_do_not_wait(slow_system):
    one, other = new_user(slow_system), new_user(slow_system)
    with slow_system.client() as client, ThreadPoolExecutor(4) as pool:
        for user in (one, other):
            assert client.post("/api/v1/balance/deposit", json={"amount_cents": 300}, headers=user).status_code == 200
        order = pool.submit(client.post, "/api/v1/orders", json={"item": "widget"}, headers=one)
        taken = pool.submit(client.post, "/api/v1/balance/withdraw", json={"amount_cents": 300}, headers=one)
        free = pool.submit(client.post, "/api/v1/balance/withdraw", json={"amount_cents": 300}, headers=other)
        assert sorted((order.result().status_code < 300, taken.result().status_code < 300)) == [False, True]
        assert free.result().status_code == 200
        assert balance(client, one) in (0, 50)


def test_the_lock_is_free_again_after_a_refusal(system):
    user = new_user(system)
    with system.client() as client:
        for _ in range(3):
            answer = client.post("/api/v1/balance/withdraw", json={"amount_cents": 1}, headers=user)
            assert (answer.status_code, answer.json()["code"]) == (409, "INSUFFICIENT_FUNDS")
        answer = client.post("/api/v1/orders", json={"item": "gizmo"}, headers=user)
        assert (answer.status_code, answer.json()["code"]) == (409, "INSUFFICIENT_FUNDS")
        assert client.post("/api/v1/balance/deposit", json={"amount_cents": 1}, headers=user).status_code == 200


def test_an_idempotency_key_makes_one_order(system):
    user = new_user(system)
    with system.client(headers={**user, "Idempotency-Key": "k-1"}) as client, ThreadPoolExecutor(4) as pool:
        client.post("/api/v1/balance/deposit", json={"amount_cents": 1000})
        codes = list(pool.map(lambda _: until_done(client, "/api/v1/orders", {"item": "widget"}, user), range(6)))
        assert sorted(codes) == [200] * 5 + [201]
        assert balance(client, user) == 750
        other = client.post("/api/v1/orders", json={"item": "gadget"})
        assert (other.status_code, other.json()["code"]) == (409, "IDEMPOTENCY_KEY_REUSED")
        found = client.get("/api/v1/orders").json()["orders"]
        assert len(found) == 1
        assert client.get(f"/api/v1/orders/{found[0]['order_id']}").json() == found[0]
        stranger = new_user(system)
        assert client.get(f"/api/v1/orders/{found[0]['order_id']}", headers=stranger).status_code == 404


@pytest.mark.parametrize("victim", ["user", "order"])
def test_killed_in_the_middle_no_order_without_debit_and_no_debit_without_order(system, victim):
    users = [new_user(system) for _ in range(10)]
    with system.client() as client, ThreadPoolExecutor(10) as pool:
        for user in users:
            assert until_done(client, "/api/v1/balance/deposit", {"amount_cents": 100_000}, user) == 200
        done = threading.Semaphore(0)

        def one(number):
            answer = client.post("/api/v1/orders", json={"item": "widget"}, headers=users[number % 10])
            done.release()
            return answer.status_code

        under_way = [pool.submit(one, number) for number in range(100)]
        for _ in range(25):
            done.acquire(timeout=10)
        assert system.order("kill", victim)["ok"]
        codes = [future.result() for future in under_way]
        assert any(code >= 500 for code in codes)
        assert any(code == 201 for code in codes)
        assert system.order("start", victim)["ok"]

        def settled():
            answers = [client.get("/api/v1/orders?limit=1000", headers=user) for user in users]
            balances = [client.get("/api/v1/balance", headers=user) for user in users]
            if any(answer.status_code != 200 for answer in balances) or any(
                answer.status_code != 200 for answer in answers
            ):
                return False  # the circuit is still closing
            return all(order["status"] != "pending" for answer in answers for order in answer.json()["orders"])

        assert eventually(settled, 30)
        for user in users:
            orders = client.get("/api/v1/orders?limit=1000", headers=user).json()["orders"]
            debits = client.get("/api/v1/balance/transactions?limit=1000", headers=user).json()["transactions"]
            bought = {order["order_id"] for order in orders if order["status"] == "confirmed"}
            assert bought == {entry["reference"] for entry in debits if entry["kind"] == "debit"}
            assert balance(client, user) == 100_000 - 250 * len(bought)


def test_lock_metrics_are_on_the_page(system):
    user = new_user(system)
    with system.client() as client:
        client.post("/api/v1/balance/deposit", json={"amount_cents": 1}, headers=user)
        page = client.get(system.ready["services"]["user"] + "/metrics").text
    for name in ("lock_acquisitions_total", "lock_wait_seconds_count", "lock_hold_seconds_count"):
        assert f'{name}{{operation="deposit"}}' in page


def test_without_redis_everything_that_needs_it_is_refused_and_comes_back(system):
    user = new_user(system)
    with system.client() as client:
        assert system.order("stop", "redis")["ok"]
        down = client.post("/api/v1/balance/deposit", json={"amount_cents": 1}, headers=user)
        assert (down.status_code, down.json()["code"]) == (503, "STORE_UNAVAILABLE")
        assert client.get("/health").status_code == 200
        direct = client.post(
            system.ready["services"]["user"] + "/api/v1/balance/deposit", json={"amount_cents": 1}, headers=user
        )
        assert (direct.status_code, direct.json()["code"]) == (401, "NOT_FROM_GATEWAY")
        assert system.order("start", "redis")["ok"]
        assert eventually(lambda: balance_or_none(client, user) == 0)
        assert client.post("/api/v1/balance/deposit", json={"amount_cents": 1}, headers=user).status_code == 200


def balance_or_none(client, user):
    answer = client.get("/api/v1/balance", headers=user)
    return answer.json()["balance_cents"] if answer.status_code == 200 else None

"""Bad input at every endpoint: a 4xx with a stable code, a line in the audit log where it matters, no traceback."""

from __future__ import annotations

import json
import socket
import time
from itertools import count

import jwt
import pytest

from .conftest import end, start

pytestmark = pytest.mark.xdist_group("ordersystem-bad-input")

SECRET = "a secret that this test knows, long enough"
_user = count(1)
JSON = {"content-type": "application/json"}
POSTS = (
    "/api/v1/auth/register",
    "/api/v1/auth/login",
    "/api/v1/balance/deposit",
    "/api/v1/balance/withdraw",
    "/api/v1/orders",
)


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    settings = {"GATEWAY_RATE_LIMIT": "100000", "JWT_SECRET": SECRET, "AUTH_LOCKOUT_FAILURES": "3"}
    running = start(tmp_path_factory.mktemp("bad"), **settings, AUDIT_ROTATE_BYTES="4000")
    yield running
    end(running)


@pytest.fixture
def user(system):
    return system.login(f"load_test_user_{next(_user)}")


def refused(answer, status, code):
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert answer.headers["x-error-code"] == code
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert "Traceback" not in answer.text
    return True


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize("body", [b"{", b"", b"[]", b"null", b'"text"', b"\xff\xfe", b'{"surprise": 1}'])
def test_broken_bodies(system, user, path, body):
    with system.client() as client:
        refused(client.post(path, content=body, headers={**user, **JSON}), 422, "INVALID_REQUEST")


@pytest.mark.parametrize("path", POSTS)
def test_a_body_nested_too_deep_to_be_read(system, user, path):
    with system.client() as client:
        refused(client.post(path, content=b"[" * 5000, headers={**user, **JSON}), 400, "INVALID_REQUEST")


@pytest.mark.parametrize("path", POSTS)
def test_ten_megabytes(system, user, path):
    with system.client() as client:
        refused(client.post(path, content=b"x" * 10_000_000, headers={**user, **JSON}), 413, "BODY_TOO_LARGE")

        def pieces():
            for _ in range(100):
                yield b"x" * 100_000

        refused(client.post(path, content=pieces(), headers={**user, **JSON}), 413, "BODY_TOO_LARGE")


@pytest.mark.parametrize("amount", ["-1", "0", "1.5", "NaN", "Infinity", '"7"', "true", "1e-3", "10" * 20, "null"])
@pytest.mark.parametrize("kind", ["deposit", "withdraw"])
def test_amounts_that_are_none(system, user, amount, kind):
    with system.client() as client:
        body = b'{"amount_cents": %s}' % amount.encode()
        answer = client.post(f"/api/v1/balance/{kind}", content=body, headers={**user, **JSON})
        refused(answer, 422, "INVALID_REQUEST")
        assert client.get("/api/v1/balance", headers=user).json()["balance_cents"] == 0


@pytest.mark.parametrize(
    "body", [{"item": "yacht"}, {"item": "widget", "quantity": 0}, {"item": "widget", "quantity": -1}]
)
def test_orders_of_what_is_not_sold(system, user, body):
    with system.client() as client:
        refused(client.post("/api/v1/orders", json=body, headers=user), 422, "INVALID_REQUEST")


def token(**changes):
    claims = {"iss": "ordersystem", "sub": "load_test_user_1", "jti": "j", "exp": time.time() + 3_600, **changes}
    return jwt.encode(claims, changes.pop("secret", SECRET), algorithm="HS256")


@pytest.mark.parametrize(
    ("authorization", "code"),
    [
        (None, "TOKEN_MISSING"),
        ("Bearer", "TOKEN_INVALID"),
        ("Basic dXNlcjpwYXNz", "TOKEN_INVALID"),
        ("Bearer nonsense", "TOKEN_INVALID"),
        ("Bearer " + token(exp=1), "TOKEN_EXPIRED"),
        ("Bearer " + token(iss="somebody"), "TOKEN_INVALID"),
        (
            "Bearer " + jwt.encode({"sub": "root"}, "another secret, long enough as well", algorithm="HS256"),
            "TOKEN_INVALID",
        ),
        ("Bearer " + jwt.encode({"sub": "root", "exp": 2**33}, None, algorithm="none"), "TOKEN_INVALID"),
    ],
)
def test_tokens_that_are_none(system, authorization, code):
    request_id = f"token-{next(_user)}"
    headers = {"x-request-id": request_id, **({"authorization": authorization} if authorization else {})}
    with system.client("127.0.0.33") as client:
        refused(client.get("/api/v1/balance", headers=headers), 401, code)
    event = next(event for event in system.audit("gateway") if event["request_id"] == request_id)
    assert (event["event"], event["outcome"], event["ip"]) == ("access_denied", "denied", "127.0.0.33")
    assert event["details"]["reason"] == code
    assert len(authorization or "") < 20 or authorization not in json.dumps(event)


def test_paths_and_methods_that_are_none(system, user):
    with system.client(headers=user) as client:
        refused(client.get("/nowhere"), 404, "NO_ROUTE")
        refused(client.get("/api/v1/auth/nothing"), 404, "NO_ROUTE")
        refused(client.delete("/api/v1/balance"), 405, "METHOD_NOT_ALLOWED")
        refused(client.get("/internal/v1/debits"), 404, "NO_ROUTE")
        refused(client.get("/api/v1/balance/%2e%2e/%2e%2e/%2e%2e/internal/v1/debits"), 404, "NO_ROUTE")
        refused(client.get("/api/v1/orders/ord_unknown"), 404, "ORDER_UNKNOWN")
        refused(client.get("/api/v1/orders?limit=-1"), 422, "INVALID_REQUEST")
        refused(client.get("/api/v1/balance/transactions?limit=x"), 422, "INVALID_REQUEST")


def raw(system, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", int(system.gateway.rsplit(":", 1)[1])), timeout=10) as line:
        line.sendall(request)
        line.settimeout(5)
        return line.recv(65_536)


def test_headers_can_not_be_smuggled(system):
    injected = raw(system, b"GET /health HTTP/1.1\r\nHost: x\r\nX-Request-ID: a\rb\r\n\r\n")
    assert injected.startswith((b"HTTP/1.1 400", b"HTTP/1.1 200"))
    assert b"a\rb" not in injected
    folded = raw(system, b"GET /health HTTP/1.1\r\nHost: x\r\nX-Request-ID: a\r\n Set-Cookie: b\r\n\r\n")
    assert b"Set-Cookie" not in folded
    for garbage in (b"\x00\x01\x02\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"):
        assert b"400" in raw(system, garbage)


def test_a_crafted_name_makes_no_line_of_its_own(system):
    name = 'x"}\n{"event":"login_succeeded","user":"root"}\r\n\x1b[2J'
    with system.client(headers={"x-request-id": "crafted"}) as client:
        refused(client.post("/api/v1/auth/login", json={"username": name, "password": "p"}), 401, "INVALID_CREDENTIALS")
        refused(
            client.post("/api/v1/auth/register", json={"username": name, "password": "p" * 9}), 422, "INVALID_REQUEST"
        )
    events = [event for event in system.audit("auth") if event["request_id"] == "crafted"]
    assert [(event["event"], event["user"]) for event in events] == [("login_failed", name)]


def test_guessing_locks_a_name_for_a_while(system):
    name = f"load_test_user_{next(_user)}"
    system.login(name)
    with system.client() as client:
        for _ in range(3):
            wrong = client.post("/api/v1/auth/login", json={"username": name, "password": "wrong password"})
            refused(wrong, 401, "INVALID_CREDENTIALS")
        right = client.post("/api/v1/auth/login", json={"username": name, "password": "a long password"})
        refused(right, 429, "TOO_MANY_FAILURES")
    assert "a long password" not in json.dumps(system.audit("auth"))
    assert "wrong password" not in json.dumps(system.audit("auth"))


def test_a_name_is_taken_once_and_a_token_dies_with_its_logout(system):
    name = f"load_test_user_{next(_user)}"
    user = system.login(name)
    with system.client(headers=user) as client:
        again = client.post("/api/v1/auth/register", json={"username": name, "password": "a long password"})
        refused(again, 409, "USERNAME_TAKEN")
        assert client.get("/api/v1/auth/profile").json()["username"] == name
        assert client.post("/api/v1/auth/logout").status_code == 204
        refused(client.get("/api/v1/auth/profile"), 401, "TOKEN_REVOKED")
    events = [event["event"] for event in system.audit("auth") if event["user"] == name]
    assert events == ["user_registered", "login_succeeded", "logout"]


def test_rotation_by_several_workers_loses_nothing(system):
    ids = [f"rotation-{number}" for number in range(120)]
    with system.client() as client:
        for request_id in ids:
            client.get("/api/v1/balance", headers={"x-request-id": request_id})
    written = [event["request_id"] for event in system.audit("gateway")]
    assert sorted(found for found in written if found.startswith("rotation-")) == sorted(ids)

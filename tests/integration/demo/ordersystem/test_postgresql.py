"""The same system on a real PostgreSQL: a cluster of our own under an unprivileged user."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from .conftest import end, start

pytestmark = pytest.mark.xdist_group("ordersystem-postgresql")


def binaries() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("PostgreSQL is not installed; scripts/debian-packages.sh installs it")
    return found[-1].parent


def as_nobody(*command: str) -> subprocess.CompletedProcess[str]:
    """Run as a user whom initdb accepts."""
    owner = {"user": "nobody", "group": pwd.getpwnam("nobody").pw_gid, "extra_groups": []} if os.getuid() == 0 else {}
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd="/tmp", timeout=60, **owner)


@pytest.fixture(scope="module")
def database_url():
    tools = binaries()
    # Not pytest's folder, into which nobody else may look.
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    try:
        if os.getuid() == 0:
            shutil.chown(folder, "nobody")
        data = str(folder / "data")
        as_nobody(str(tools / "initdb"), "-D", data, "-U", "tester", "--auth=trust", "--no-sync", "-E", "UTF8")
        options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off -c max_connections=60"
        as_nobody(str(tools / "pg_ctl"), "-D", data, "-w", "-l", str(folder / "log"), "-o", options, "start")
        try:
            yield f"postgresql+psycopg://tester@/postgres?host={folder}"
        finally:
            as_nobody(str(tools / "pg_ctl"), "-D", data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def system(database_url, tmp_path_factory):
    running = start(tmp_path_factory.mktemp("pg"), DATABASE_URL=database_url, GATEWAY_RATE_LIMIT="100000")
    yield running
    end(running)


def test_money_and_orders_over_two_workers(system):
    users = [system.login(f"load_test_user_{number}") for number in range(5)]
    with system.client() as client, ThreadPoolExecutor(10) as pool:
        expected = [0] * 5

        def one(number):
            index, amount = number % 5, 10 + number
            answer = client.post("/api/v1/balance/deposit", json={"amount_cents": amount}, headers=users[index])
            assert answer.status_code in (200, 503), answer.text
            return index, amount if answer.status_code == 200 else 0

        for index, amount in pool.map(one, range(100)):
            expected[index] += amount
        found = [client.get("/api/v1/balance", headers=user).json()["balance_cents"] for user in users]
        assert found == expected
        assert sum(expected) > 0
        rich = max(range(5), key=expected.__getitem__)
        bought = client.post("/api/v1/orders", json={"item": "widget"}, headers={**users[rich], "Idempotency-Key": "k"})
        assert bought.status_code == 201, bought.text
        again = client.post("/api/v1/orders", json={"item": "widget"}, headers={**users[rich], "Idempotency-Key": "k"})
        assert (again.status_code, again.json()) == (200, bought.json())
        assert client.get("/api/v1/balance", headers=users[rich]).json()["balance_cents"] == expected[rich] - 250
        poor = system.login("load_test_user_poor")
        refused = client.post("/api/v1/orders", json={"item": "gizmo"}, headers=poor)
        assert (refused.status_code, refused.json()["code"]) == (409, "INSUFFICIENT_FUNDS")


def test_names_are_taken_once(system):
    credentials = {"username": "load_test_user_twice", "password": "a long password"}
    with system.client() as client, ThreadPoolExecutor(6) as pool:
        codes = list(pool.map(lambda _: client.post("/api/v1/auth/register", json=credentials).status_code, range(6)))
    assert sorted(codes) == [201] + [409] * 5

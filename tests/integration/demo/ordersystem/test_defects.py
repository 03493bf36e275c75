"""Every defect is really there, and honest behaviour holds without it."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from proofload.demo.ordersystem.__main__ import main
from proofload.demo.ordersystem.defects.registry import ALL

from . import checks_breaker, checks_limit, checks_money  # noqa: F401 - they register themselves
from .check_registry import CHECKS
from .conftest import eventually
from .world import World

# These show only where there are processes.
WITH_PROCESSES = {"mon.per_worker_registry", "mon.reset_on_reload", "res.crash_on_overload"}


def shows(check, settings, folder, redis_url, *defects) -> bool:
    async def run() -> bool:
        folder.mkdir()
        world = World(folder, redis_url, defects, settings)
        try:
            return bool(await check(world))
        finally:
            await world.close()

    return asyncio.run(run())


@pytest.mark.parametrize("name", sorted(set(ALL) - WITH_PROCESSES))
def test_the_defect_shows_and_is_absent_without_it(name, tmp_path, redis_url):
    check, settings = CHECKS[name]
    assert shows(check, settings, tmp_path / "defect", redis_url, name)
    assert not shows(check, settings, tmp_path / "honest", redis_url)


def test_every_defect_has_a_check_and_every_check_a_defect():
    assert set(CHECKS) | WITH_PROCESSES == set(ALL)
    assert len(ALL) >= 60


def test_the_catalogue_is_told(capsys):
    assert main(["defects", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert {entry["id"] for entry in listed} == set(ALL)
    for entry in listed:
        assert set(entry) == {"id", "control", "sentence", "seen_in_public", "client_observes", "failing_case"}
        assert all(entry.values())
        assert entry["failing_case"].startswith("TC-")
    assert main(["defects"]) == 0
    assert "rl.limit_plus_one" in capsys.readouterr().out


def requests_total(system) -> list[float]:
    """What several scrapes, over connections of their own, say of all requests."""
    seen = []
    for _ in range(12):
        with system.client() as client:
            page = client.get("/metrics").text
        lines = [line for line in page.splitlines() if line.startswith("http_requests_total{")]
        seen.append(sum(float(line.rsplit(" ", 1)[1]) for line in lines))
    return seen


def test_a_scrape_sees_one_worker(start_system):
    system = start_system("--defect", "mon.per_worker_registry")
    for _ in range(20):
        with system.client() as client:
            client.get("/api/v1/balance")
    # Both workers may have had as many; what no page shows is all twenty.
    assert max(requests_total(system)) < 20


def test_counts_fall_when_a_worker_is_replaced(start_system):
    system = start_system("--defect", "mon.reset_on_reload")
    with system.client() as client:
        for _ in range(20):
            client.get("/api/v1/balance")
    assert system.order("restart", "gateway")["ok"]
    assert set(requests_total(system)) == {0.0}


def test_a_worker_dies_of_overload(start_system):
    system = start_system("--defect", "res.crash_on_overload", GATEWAY_MAX_CONCURRENCY="1", GATEWAY_MAX_QUEUE="0")
    before = set(system.status()["gateway"]["pids"])
    assert system.order("pause", "auth")["ok"]

    def overloaded() -> bool:
        with system.client() as client, ThreadPoolExecutor(8) as pool:

            def one(_):
                try:
                    return client.post("/api/v1/auth/login", json={}).status_code
                except httpx.HTTPError:
                    return 0

            return 0 in pool.map(one, range(8))

    assert eventually(overloaded, 30)
    assert eventually(lambda: set(system.status()["gateway"]["pids"]) != before)

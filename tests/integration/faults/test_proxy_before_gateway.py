"""The reference system's gateway with the fault proxy as its upstream: broken on purpose, and counted."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest
from tests.integration.faults.world import start_system

from proofload.core.clock import SystemClock
from proofload.faults.http_proxy.server import FaultProxy
from proofload.faults.journal import Journal
from proofload.faults.lease import lease
from proofload.faults.probes import answers, held_by
from proofload.faults.proxy import ProxyDriver
from proofload.record.fault_edge import spans

pytestmark = pytest.mark.xdist_group("faults")


def test_a_breaker_opens_on_injected_failures_and_the_proxy_counts_what_reached_it(tmp_path: Path) -> None:
    async def work() -> None:
        proxy = FaultProxy()
        await proxy.start()
        process, told = await asyncio.to_thread(start_system, tmp_path, GATEWAY_UPSTREAM_AUTH=proxy.url)
        try:
            proxy.upstream = told["services"]["auth"]
            await exercise(proxy, told["gateway"])
        finally:
            process.terminate()
            await asyncio.to_thread(process.wait, 30)
            await proxy.close()

    async def exercise(proxy: FaultProxy, gateway: str) -> None:
        path = "/api/v1/auth/login"
        async with asyncio.timeout(60), httpx.AsyncClient(base_url=gateway, timeout=10) as client:

            async def log_in() -> int:
                return (await client.post(path, json={"username": "nobody", "password": "none at all"})).status_code

            assert await log_in() == 401
            assert proxy.hits.of(path, "none") == 1
            async with lease(
                ProxyDriver(proxy.control),
                "status",
                fault="status",
                service="auth",
                clock=SystemClock(),
                journal=Journal(tmp_path / "journal"),
                duration_ns=60_000_000_000,
                held=held_by("status", proxy.url + "/health"),
                mended=answers(proxy.url + "/health"),
            ) as held:
                statuses = [await log_in() for _ in range(8)]
            # The breaker opens on the fifth failure: what follows is refused by the gateway and reaches nobody.
            assert min(statuses) >= 500
            assert proxy.hits.of(path, "status") == 5
            (span,) = spans(held.edges)
            assert (span.held, span.mended) == (True, True)

    asyncio.run(work())

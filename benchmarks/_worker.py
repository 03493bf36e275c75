"""One measurement in a process of its own: `python _worker.py KIND URL JSON-ARGUMENTS`, result as JSON on a line."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

import uvloop

NS = 1_000_000_000


def peak_mb() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return 0.0


async def shopper(user: Any) -> None:
    """The user of the benchmark: a coroutine that gets every answer in hand."""
    while True:
        answer = await user.get("account")
        if answer.status != 200:
            raise RuntimeError(f"answered {answer.status}")


async def sleeper(user: Any) -> None:
    await user.pause(3_600)


async def one_then_sleep(user: Any) -> None:
    await user.get("account")
    await user.pause(3_600)


def engine_for(url: str, ca: str | None = None, **options: Any) -> Any:
    from urllib.parse import urlsplit

    from proofload.drive.engine import Engine
    from proofload.drive.http.endpoint import Endpoint, TlsSettings
    from proofload.plan.operation import Operation

    tls = TlsSettings(ca_file=Path(ca)) if ca else None
    return Engine(Endpoint.of(url), {"account": Operation(path=urlsplit(url).path)}, tls=tls, **options)


async def closed(
    url: str, seconds: float, connections: int, script: bool = True, ca: str | None = None
) -> dict[str, Any]:
    from proofload.plan.workload import ConstantUsers

    engine = engine_for(url, ca)
    run: Any = shopper if script else "account"
    await engine.run(
        ConstantUsers(name="w", run=run, users=connections, for_ns=round(seconds * NS), graceful_ns=1_000_000)
    )
    delivery = engine.delivery()
    return {
        "per_second": delivery.workloads[0].achieved_per_second,
        "requests": delivery.answered,
        "cpu_us": delivery.cpu_share * delivery.wall_ns / 1_000 / max(delivery.answered, 1),
        "errors": delivery.planned - delivery.answered - delivery.unknown + len(delivery.user_errors),
    }


async def fleet(url: str, seconds: float, connections: int, processes: int) -> dict[str, Any]:
    from urllib.parse import urlsplit

    from proofload.drive.distributed.fleet import Fleet
    from proofload.drive.http.endpoint import Endpoint
    from proofload.plan.operation import Operation
    from proofload.plan.workload import ConstantUsers

    one = Fleet(processes, Endpoint.of(url), {"account": Operation(path=urlsplit(url).path)})
    try:
        load = ConstantUsers(
            name="w", run="account", users=connections, for_ns=round(seconds * NS), graceful_ns=1_000_000
        )
        await one.run(load)
        delivery = one.delivery()
    finally:
        one.close()
    cpu_us = sum(each.cpu_share for each in delivery.generators) * delivery.wall_ns / 1_000
    return {"per_second": delivery.workloads[0].achieved_per_second, "cpu_us": cpu_us / max(delivery.answered, 1)}


async def opened(url: str, seconds: float, rate: int) -> dict[str, Any]:
    from proofload.plan.workload import ConstantRate

    engine = engine_for(url)
    await engine.run(
        ConstantRate(name="w", run="account", rate=rate, for_ns=round(seconds * NS), max_users=2_000, warm_users=100)
    )
    delivery = engine.delivery()
    return {
        "planned": delivery.planned,
        "dropped": delivery.dropped,
        "late": delivery.late,
        "lag_p50_us": delivery.send_lag.p50_ns / 1_000,
        "lag_p99_us": delivery.send_lag.p99_ns / 1_000,
        "response_p99_us": delivery.response.p99_ns / 1_000,
        "per_second": delivery.workloads[0].achieved_per_second,
    }


async def burst(url: str, n: int, rounds: int) -> dict[str, Any]:
    from proofload.plan.workload import Burst

    skews = []
    for _ in range(rounds):
        engine = engine_for(url)
        await engine.run(Burst(name="w", run="account", n=n))
        skews.append(engine.delivery().workloads[0].skew_ns / 1_000)
        engine.close()
    return {"skews_us": skews}


async def paused(url: str, users: int, connected: bool) -> dict[str, Any]:
    from proofload.plan.workload import ConstantUsers

    engine = engine_for(url)
    script: Any = one_then_sleep if connected else sleeper
    load = ConstantUsers(name="w", run=script, users=users, for_ns=3_600 * NS, graceful_ns=1_000_000)
    task = asyncio.ensure_future(engine.run(load))
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        await asyncio.sleep(0.2)
        progress = engine.progress()
        if progress.users == users and (not connected or progress.answered >= users):
            break
    peak = peak_mb()
    engine.stop(at_once=True)
    await task
    return {"peak_mb": peak, "users": progress.users, "answered": progress.answered}


async def aiohttp_client(url: str, seconds: float, connections: int) -> dict[str, Any]:
    import aiohttp

    count = 0
    end = time.perf_counter() + seconds

    async def loop(session: aiohttp.ClientSession) -> None:
        nonlocal count
        while time.perf_counter() < end:
            async with session.get(url) as answer:
                await answer.read()
            count += 1

    connector = aiohttp.TCPConnector(limit=connections)
    async with aiohttp.ClientSession(connector=connector) as session:
        begin = time.perf_counter()
        await asyncio.gather(*(loop(session) for _ in range(connections)))
        took = time.perf_counter() - begin
    return {"per_second": count / took, "requests": count}


KINDS = {
    "closed": closed, "fleet": fleet, "opened": opened, "burst": burst, "paused": paused, "aiohttp": aiohttp_client,
}  # fmt: skip

if __name__ == "__main__":
    kind, target, arguments = sys.argv[1:]
    print(json.dumps(uvloop.run(KINDS[kind](target, **json.loads(arguments)))), flush=True)  # type: ignore[operator]

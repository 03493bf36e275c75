"""What writing live metrics costs the generator: CPU time per request, with and without, in pairs on one machine.

`python benchmarks/monitoring.py [PAIRS]`: a server in a process of its own answers requests and takes the pushes.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import socket
import statistics
import sys
import time
from pathlib import Path

import uvloop

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

from proofload.core.clock import SystemClock
from proofload.drive.engine import Engine
from proofload.drive.http.endpoint import Endpoint
from proofload.plan.monitoring import Monitoring
from proofload.plan.target import Target
from proofload.plan.workload import Ceilings, PerUserIterations
from proofload.suite.run_telemetry import Observing

USERS, EACH = 40, 6_400
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n" + b'{"status":"ok"}'
HEAD_END = b"\r\n\r\n"


class Served(asyncio.Protocol):
    """Answers every request alike; bodies (of pushes) are skipped by their length."""

    def __init__(self) -> None:
        self._held = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._held += data
        while (end := self._held.find(HEAD_END)) >= 0:
            head = self._held[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._held) < end + 4 + length:
                return
            self._held = self._held[end + 4 + length :]
            self._transport.write(ANSWER)
            if b"connection: close" in head:
                self._transport.close()


def serve(listening: socket.socket) -> None:
    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(Served, sock=listening)
        await server.serve_forever()

    uvloop.run(run())


class Nobody:
    """Hears everything and does nothing."""

    def doing(self, *_: object) -> None: ...
    def sent(self, *_: object) -> None: ...
    def ended(self, *_: object) -> None: ...
    def pulse(self, *_: object) -> None: ...


async def measure(address: str, *, monitored: bool) -> float:
    """Return the nanoseconds of this process's CPU for each request."""
    url = f"http://{address}"
    declared = Monitoring(pushgateway=url, remote_write=f"{url}/api/v1/write") if monitored else Monitoring()
    operations = {f"op{i}": {"path": f"/{i}"} for i in range(8)}
    target = Target.model_validate({"version": 1, "address": url, "operations": operations, "monitoring": declared})
    clock = SystemClock()
    engine = Engine(Endpoint.of(url), target.operations, ceilings=Ceilings(1_000_000, 10_000_000), clock=clock)
    async with Observing(target, "bench", [], clock, Nobody()) as observing:
        observing.watch("bench", engine)
        began = time.process_time_ns()
        for i in range(0, 8, 2):
            await engine.run(
                *(
                    PerUserIterations(name=f"w{j}", run=f"op{j}", users=USERS // 2, iterations=EACH // 4)
                    for j in (i, i + 1)
                )
            )
        engine.progress()
        used = time.process_time_ns() - began
    done = engine.progress().answered
    engine.close()
    assert done == USERS * EACH, done
    return used / done


def main() -> None:
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 6
    listening = socket.create_server(("127.0.0.1", 0))
    address = f"127.0.0.1:{listening.getsockname()[1]}"
    server = multiprocessing.get_context("fork").Process(target=serve, args=(listening,), daemon=True)
    server.start()
    uvloop.run(measure(address, monitored=True))  # warm
    ratios, plain, full = [], [], []
    for number in range(pairs):
        order = (False, True) if number % 2 else (True, False)
        cost = {monitored: uvloop.run(measure(address, monitored=monitored)) for monitored in order}
        plain.append(cost[False])
        full.append(cost[True])
        ratios.append(cost[True] / cost[False])
    server.terminate()
    without_us, with_us = (statistics.median(costs) / 1000 for costs in (plain, full))
    print(f"CPU per request: {without_us:.2f} us without, {with_us:.2f} us with")
    print(f"with / without, median of {pairs} pairs of {USERS * EACH} requests: {statistics.median(ratios):.3f}")
    print("pairs: " + " ".join(f"{ratio:.3f}" for ratio in sorted(ratios)))


if __name__ == "__main__":
    main()

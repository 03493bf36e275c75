"""A server that freezes for 1 s in 10: what an open workload must report, and what a closed one hides."""

import asyncio
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import uvloop

from proofload.drive.engine import Engine
from proofload.drive.http.endpoint import Endpoint
from proofload.plan.operation import Operation
from proofload.plan.workload import AnyWorkload, ConstantRate, ConstantUsers
from proofload.record.delivery import Delivery
from proofload.record.history import History

pytestmark = pytest.mark.alone

SECOND = 1_000_000_000


class _Staller(asyncio.Protocol):
    """Answers at once, but for one second that begins four seconds after the first request."""

    loop: asyncio.AbstractEventLoop
    begun = False

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, _data: bytes) -> None:
        if not _Staller.begun:
            _Staller.begun = True
            _Staller.loop.call_later(4.0, time.sleep, 1.0)
        self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


@pytest.fixture
def staller() -> Iterator[Endpoint]:
    """Runs in a thread of its own, so that its sleep freezes nobody else."""
    ready: list[int] = []
    is_ready, over = threading.Event(), threading.Event()

    async def main() -> None:
        _Staller.loop, _Staller.begun = asyncio.get_running_loop(), False
        server = await _Staller.loop.create_server(_Staller, "127.0.0.1", 0, backlog=1_000)
        ready.append(server.sockets[0].getsockname()[1])
        is_ready.set()
        await _Staller.loop.run_in_executor(None, over.wait)
        server.close()

    thread = threading.Thread(target=lambda: uvloop.run(main()))
    thread.start()
    assert is_ready.wait(10)
    yield Endpoint.of(f"http://127.0.0.1:{ready[0]}")
    over.set()
    thread.join()


def run(endpoint: Endpoint, workload: AnyWorkload) -> tuple[History, Delivery]:
    async def main() -> tuple[History, Delivery]:
        engine = Engine(endpoint, {"read": Operation(path="/")})
        await engine.run(workload)
        return engine.history(), engine.delivery()

    return uvloop.run(main())


def test_the_p99_from_intended_time_is_the_one_worked_out_by_hand(staller: Endpoint) -> None:
    # 200 arrivals a second for 10 s; the 200 of the frozen second wait 1 s, 0.995 s, … 0.005 s, all others nothing.
    # A hundredth of 2,000 is 20, and 20 of the 200 wait longer than 0.9 s.
    by_hand_ns = 900_000_000
    history, delivery = run(
        staller, ConstantRate(name="w", run="read", rate=200, for_ns=10 * SECOND, max_users=500, warm_users=300)
    )
    assert delivery.answered == 2_000
    response = np.sort(history.numbers("done_ns") - history.numbers("intended_ns"))
    assert response[1_979] == pytest.approx(by_hand_ns, rel=0.05)
    assert delivery.response.p99_ns == pytest.approx(by_hand_ns, rel=0.05)
    assert delivery.response.p50_ns < by_hand_ns / 10


def test_a_closed_workload_hides_it(staller: Endpoint) -> None:
    # Ten users ask as often as the arrivals above, but stand still with the server: ten requests of many are slow.
    history, delivery = run(staller, ConstantUsers(name="w", run="read", users=10, for_ns=6 * SECOND))
    service = history.numbers("done_ns") - history.numbers("sent_ns")
    assert (service > 500_000_000).sum() == 10
    assert delivery.service.p99_ns < 100_000_000

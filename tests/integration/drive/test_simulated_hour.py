"""An hour at a low rate, in seconds: real sockets, and a loop whose time jumps to the next timer when all is silent."""

from __future__ import annotations

import asyncio
import selectors
import tracemalloc
from typing import Any

import numpy as np

from proofload.core.units import NS_PER_SECOND
from proofload.drive.engine import Engine
from proofload.drive.http.endpoint import Endpoint
from proofload.plan.workload import ConstantRate

_TURN_NS = 250_000
"""What a turn of the loop takes: whoever waits awake must see time go by."""
_HOUR_S = 3_600


class JumpingTime(selectors.DefaultSelector):  # type: ignore[misc, valid-type]
    """Waits for nothing but sockets: where they are silent, the time that was to be waited is over at once."""

    def __init__(self) -> None:
        super().__init__()
        self.at_ns = NS_PER_SECOND

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        self.at_ns += _TURN_NS if ready or not timeout else round(timeout * NS_PER_SECOND)
        return ready


class SimulatedClock:
    """The clock of such a loop."""

    def __init__(self, time: JumpingTime) -> None:
        self._time = time

    def now_ns(self) -> int:
        return self._time.at_ns

    def wall_ns(self) -> int:
        return self._time.at_ns

    async def sleep_until_ns(self, due_ns: int) -> None:
        while (left_ns := due_ns - self.now_ns()) > 0:  # noqa: ASYNC110 -- a due time, no event to wait for
            await asyncio.sleep(left_ns / NS_PER_SECOND)


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer every request on a connection."""
    try:
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def drive(clock: SimulatedClock) -> tuple[Engine, int, int]:
    """Return the engine after an hour, and the memory that was in use after half of it and at its end."""
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    engine = Engine(Endpoint.of(f"http://127.0.0.1:{port}"), clock=clock)
    load = ConstantRate(name="low", run="/", rate=2, for_ns=_HOUR_S * NS_PER_SECOND, max_users=5)
    running = asyncio.create_task(engine.run(load))
    await clock.sleep_until_ns(clock.now_ns() + _HOUR_S // 2 * NS_PER_SECOND)
    half, _ = tracemalloc.get_traced_memory()
    await running
    end, _ = tracemalloc.get_traced_memory()
    server.close()
    await server.wait_closed()
    return engine, half, end


def test_an_hour_at_a_low_rate_keeps_every_appointment_and_its_memory() -> None:
    time = JumpingTime()
    loop = asyncio.SelectorEventLoop(time)
    loop.time = lambda: time.at_ns / NS_PER_SECOND  # type: ignore[method-assign]
    tracemalloc.start()
    try:
        engine, half, end = loop.run_until_complete(drive(SimulatedClock(time)))
    finally:
        tracemalloc.stop()
        loop.close()
    history = engine.history()
    intended = history.numbers("intended_ns")
    assert len(history) == engine.progress().answered == 2 * _HOUR_S
    assert set(np.diff(intended).tolist()) == {NS_PER_SECOND // 2}
    assert (history.numbers("sent_ns") - intended).max() < 2_000_000
    assert (history.numbers("sent_ns") >= intended).all()
    assert not engine.delivery().bottleneck
    # Rows lie in memory maps of a fixed size; what Python holds must not grow with the hours.
    assert end - half < 200_000

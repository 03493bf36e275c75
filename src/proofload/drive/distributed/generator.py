"""What runs in each process of a fleet: one engine with its share of the plan, told what to do over a pipe."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any

import uvloop

from proofload.core.clock import SystemClock
from proofload.core.errors import ProofloadError
from proofload.drive.distributed.clock_sync import Shipping
from proofload.drive.engine import Engine
from proofload.drive.http.endpoint import Endpoint
from proofload.plan.operation import Operation
from proofload.plan.workload import AnyWorkload

_TELL_EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class GeneratorOrder:
    """Everything that a generator needs to know."""

    endpoint: Endpoint
    operations: Mapping[str, Operation]
    options: Mapping[str, Any]
    workloads: tuple[AnyWorkload, ...]
    shard: int
    shards: int
    folder: Path
    far: bool = False
    """It runs on another machine: rows are shipped while they are made, and its own address is told with them."""


def main(pipe: Pipe, order: GeneratorOrder) -> None:
    """Run the order to its end, or until the parent says stop or is gone."""
    # The parent decides what an interrupt means, for all of its generators together.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(BrokenPipeError):
        uvloop.run(_Generator(pipe, order).run())


class _Generator:
    def __init__(self, pipe: Pipe, order: GeneratorOrder) -> None:
        self._pipe = pipe
        self._order = order
        self._start: asyncio.Future[int]
        self._barriers: dict[str, asyncio.Future[int]] = {}
        self._engine: Engine
        self._stopped = False
        self._clock = SystemClock()
        self._sending = threading.Lock()
        self._shipping: Shipping | None = None
        self._underway: asyncio.Future[None] | None = None
        """Parts that a thread is sending: nothing may overtake them."""

    async def run(self) -> None:
        order = self._order
        source, workloads = _from_here(order) if order.far else ("", order.workloads)
        loop = asyncio.get_running_loop()
        self._start = loop.create_future()
        loop.add_reader(self._pipe.fileno(), self._hear)
        # uvloop makes what it watches non-blocking, which multiprocessing's pipes can't bear.
        os.set_blocking(self._pipe.fileno(), True)
        teller: asyncio.Task[None] | None = None
        try:
            # Rows lie in files from the first on: what was done can be told even when this process is killed.
            self._engine = Engine(
                order.endpoint, order.operations, shard=order.shard, shards=order.shards, spill=order.folder,
                memory_rows=0, barrier=self._at_barrier, **order.options,
            )  # fmt: skip
            if order.far:
                self._shipping = Shipping(self._engine.rows, order.folder)
            teller = loop.create_task(self._tell())
            await self._engine.run(*workloads, start=lambda: self._ready(source))
            teller.cancel()
            await asyncio.gather(teller, return_exceptions=True)
            side = self._engine.rows.side()
            await self._ship_the_rest()
            self._send("done", self._engine.account(), self._engine.standing(), side)
        except ProofloadError as error:
            self._send("refused", type(error), getattr(error, "problems", str(error)))
        finally:
            if hasattr(self, "_engine"):
                self._engine.close()
            if teller is not None:
                teller.cancel()
            loop.remove_reader(self._pipe.fileno())
            self._pipe.close()

    async def _ready(self, source: str) -> int:
        self._send("ready", source)
        return await self._start

    def _send(self, *message: Any) -> None:
        with self._sending:
            self._pipe.send(message)

    async def _ship(self, shipping: Shipping) -> None:
        # Rows are read here, on the loop that writes them: a thread would meet rows that are numbered and not yet
        # written, or half ended. They are sent from a thread: a slow way to the parent must not make an arrival late.
        parts = list(shipping.parts())
        self._underway = asyncio.ensure_future(asyncio.to_thread(self._send_rows, parts))
        await asyncio.shield(self._underway)

    async def _ship_the_rest(self) -> None:
        if self._shipping is None:
            return
        if self._underway is not None:
            # What it sends is older, and would overwrite what follows.
            await asyncio.gather(self._underway, return_exceptions=True)
        self._send_rows(self._shipping.parts(notes=True))

    def _send_rows(self, parts: Iterable[tuple[str, Any, bytes]]) -> None:
        for part in parts:
            self._send("rows", *part)

    async def _at_barrier(self, name: str, opened: int) -> int:
        if self._stopped:
            return -1
        future: asyncio.Future[int]
        future = self._barriers[name] = asyncio.get_running_loop().create_future()
        self._send("barrier", name, opened)
        return await future

    async def _tell(self) -> None:
        while True:
            await asyncio.sleep(_TELL_EVERY_S)
            self._send("standing", self._engine.standing())
            if self._shipping is not None:
                await self._ship(self._shipping)

    def _hear(self) -> None:
        try:
            while self._pipe.poll():
                kind, *rest = self._pipe.recv()
                if kind == "start" and not self._start.done():
                    self._start.set_result(rest[0])
                elif kind == "release" and rest[0] in self._barriers:
                    self._barriers.pop(rest[0]).set_result(rest[1])
                elif kind == "ping":
                    self._send("pong", rest[0], self._clock.now_ns())
                elif kind == "stop":
                    self._halt(at_once=rest[0])
        except (EOFError, OSError):
            # Without a parent there is nobody to load for.
            asyncio.get_running_loop().remove_reader(self._pipe.fileno())
            self._halt(at_once=True)

    def _halt(self, *, at_once: bool) -> None:
        self._stopped = True
        if not self._start.done():
            self._start.set_result(0)
        for future in self._barriers.values():
            future.set_result(-1)
        self._barriers.clear()
        self._engine.stop(at_once=at_once)


def _from_here(order: GeneratorOrder) -> tuple[str, tuple[AnyWorkload, ...]]:
    """Return the address that this machine reaches the target from, and the workloads with it where they name none."""
    family = socket.AF_INET6 if ":" in order.endpoint.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            # Nothing is sent: a datagram socket that connects only looks up the way.
            probe.connect((order.endpoint.host, order.endpoint.port))
            source = str(probe.getsockname()[0])
        except OSError:
            return "", order.workloads
    named = tuple(one if one.sources else replace(one, sources=(source,)) for one in order.workloads)
    return source, named

"""What runs in each process of a fleet: one engine with its share of the plan, told what to do over a pipe."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any

import uvloop

from proofload.core.errors import ProofloadError
from proofload.drive.endpoint import Endpoint
from proofload.drive.engine import Engine
from proofload.plan.operation import Operation
from proofload.plan.workload import AnyWorkload

_TELL_EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class Order:
    """Everything that a generator needs to know."""

    endpoint: Endpoint
    operations: Mapping[str, Operation]
    options: Mapping[str, Any]
    workloads: tuple[AnyWorkload, ...]
    shard: int
    shards: int
    folder: Path


def main(pipe: Pipe, order: Order) -> None:
    """Run the order to its end, or until the parent says stop or is gone."""
    # The parent decides what an interrupt means, for all of its generators together.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(BrokenPipeError):
        uvloop.run(_Generator(pipe, order).run())


class _Generator:
    def __init__(self, pipe: Pipe, order: Order) -> None:
        self._pipe = pipe
        self._order = order
        self._start: asyncio.Future[int]
        self._barriers: dict[str, asyncio.Future[int]] = {}
        self._engine: Engine
        self._stopped = False

    async def run(self) -> None:
        order = self._order
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
            teller = loop.create_task(self._tell())
            await self._engine.run(*order.workloads, start=self._ready)
            self._pipe.send(("done", self._engine.account(), self._engine.standing(), self._engine.rows.side()))
        except ProofloadError as error:
            self._pipe.send(("refused", type(error), getattr(error, "problems", str(error))))
        finally:
            if hasattr(self, "_engine"):
                self._engine.close()
            if teller is not None:
                teller.cancel()
            loop.remove_reader(self._pipe.fileno())
            self._pipe.close()

    async def _ready(self) -> int:
        self._pipe.send(("ready",))
        return await self._start

    async def _at_barrier(self, name: str, opened: int) -> int:
        if self._stopped:
            return -1
        future: asyncio.Future[int]
        future = self._barriers[name] = asyncio.get_running_loop().create_future()
        self._pipe.send(("barrier", name, opened))
        return await future

    async def _tell(self) -> None:
        while True:
            await asyncio.sleep(_TELL_EVERY_S)
            self._pipe.send(("standing", self._engine.standing()))

    def _hear(self) -> None:
        try:
            while self._pipe.poll():
                kind, *rest = self._pipe.recv()
                if kind == "start" and not self._start.done():
                    self._start.set_result(rest[0])
                elif kind == "release" and rest[0] in self._barriers:
                    self._barriers.pop(rest[0]).set_result(rest[1])
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

"""Where the generators of a fleet live: a place starts one and hands back how to talk to it."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection as Pipe
from multiprocessing.process import BaseProcess
from typing import Any, Protocol

from proofload.core.errors import ToolError
from proofload.drive.distributed import generator
from proofload.drive.distributed.generator import GeneratorOrder

_LAST_WORDS_S = 2.0

Hear = Callable[[Sequence[Any] | None], None]
"""Hears a message of a generator; None once nothing more can come."""


class Generator(Protocol):
    """One generator as the fleet sees it, wherever it runs."""

    where: str
    """What people call its place; empty on this machine."""
    own_clock: bool
    """Its monotonic clock may differ from ours."""

    def listen(self, hear: Hear) -> None:
        """Hand every message to `hear`, in the thread of the running loop."""
        ...

    def tell(self, *message: Any) -> None:
        """Send a message; a generator that is gone no longer needs it."""
        ...

    def how_it_ended(self) -> str:
        """Return how its process ended, once nothing more was heard of it."""
        ...

    def end(self, *, kill: bool) -> None:
        """Wait a little until it has ended, or kill it; free what it took. More than once does no harm."""
        ...


class Places(Protocol):
    """Somewhere generators can be started."""

    async def start(self, order: GeneratorOrder) -> Generator:
        """Start a generator. Raises ToolError where that can't be done."""
        ...

    def close(self) -> None:
        """Give back what all of them shared."""
        ...


class ThisMachine:
    """Every generator is a process of this machine: one clock for all, rows in files that we can read ourselves."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("spawn")

    async def start(self, order: GeneratorOrder) -> Generator:
        """Start a process."""
        ours, theirs = self._context.Pipe()
        try:
            process = self._context.Process(
                target=generator.main, args=(theirs, order), name=f"proofload-{order.shard}", daemon=True
            )
            process.start()
        except (TypeError, AttributeError) as error:
            raise ToolError(
                f"fleet: got a plan that can't go to another process ({error}); use scripts in files"
            ) from error
        finally:
            theirs.close()
        return _Process(process, ours)

    def close(self) -> None:
        """Nothing is shared."""


class _Process:
    where = ""
    own_clock = False

    def __init__(self, process: BaseProcess, pipe: Pipe) -> None:
        self._process: BaseProcess | None = process
        self._pipe = pipe
        self._code: int | None = None

    def listen(self, hear: Hear) -> None:
        loop = asyncio.get_running_loop()

        def receive() -> None:
            try:
                while self._pipe.poll():
                    hear(self._pipe.recv())
            except (EOFError, OSError):
                with contextlib.suppress(OSError):
                    loop.remove_reader(self._pipe.fileno())
                hear(None)

        loop.add_reader(self._pipe.fileno(), receive)
        # uvloop makes what it watches non-blocking, which multiprocessing's pipes can't bear.
        os.set_blocking(self._pipe.fileno(), True)

    def tell(self, *message: Any) -> None:
        with contextlib.suppress(OSError):
            self._pipe.send(message)

    def how_it_ended(self) -> str:
        if self._process is not None:
            self._process.join(_LAST_WORDS_S)
            self._code = self._process.exitcode
        code = self._code
        return f"killed by signal {-code}" if code is not None and code < 0 else f"exit status {code}"

    def end(self, *, kill: bool) -> None:
        if self._process is None:
            return
        with contextlib.suppress(OSError):
            asyncio.get_running_loop().remove_reader(self._pipe.fileno())
        if kill and self._process.is_alive():
            self._process.kill()
        self._process.join(_LAST_WORDS_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._code = self._process.exitcode
        self._pipe.close()
        self._process.close()
        self._process = None

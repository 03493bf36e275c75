"""Generators as actors of a Ray cluster, one for each core of each node; they call back over a connection of their own.

Ray places them and tells their logs apart; it is not in the way of load, rows or clocks. Each actor connects to a
listener of ours with a key that only this run knows, and from there on talks as any other generator does.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import os
import secrets
import shutil
import socket
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing.connection import Client, Listener
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any

from proofload.core.clock import SystemClock
from proofload.core.errors import PlanError, Problem, SafetyError, ToolError
from proofload.core.units import NS_PER_SECOND
from proofload.drive.distributed import generator
from proofload.drive.distributed.generator import GeneratorOrder
from proofload.drive.distributed.spawn import Generator, Hear
from proofload.drive.http.endpoint import Endpoint

_CONNECTS_WITHIN_S = 60
_LAST_WORDS_S = 2.0
_LOCAL = "local"


class RayNodes:
    """The nodes of a cluster as places for generators. `address` is Ray's own, or `local` for one of this machine."""

    def __init__(self, address: str, processes: int | None = None) -> None:
        self.address = address
        self._ray = _ray()
        self._connect()
        self._slots = self._free_slots()
        self.processes = len(self._slots) if processes is None else processes
        """How many generators there is room for, or were asked for."""
        if not 1 <= self.processes <= len(self._slots):
            self.close()
            got = f"{self.processes} generators" if self._slots else "no free core"
            raise PlanError(
                [
                    Problem(
                        "--cluster",
                        got,
                        f"at most {len(self._slots)}, one for each free core",
                        "add nodes, or ask for fewer with --processes",
                    )
                ]
            )
        ours = self._ray.get_runtime_context().get_node_id()
        self._host = next(one["NodeManagerAddress"] for one in self._ray.nodes() if one["NodeID"] == ours)
        self._key = secrets.token_bytes(32)

    @property
    def nodes(self) -> Sequence[str]:
        """Return the address of the node of each generator, in the order of their numbers."""
        return [host for _, host in self._slots[: self.processes]]

    def check(self, endpoint: Endpoint) -> None:
        """Raise SafetyError where the target's address means another machine on one of the nodes."""
        for host in self.nodes:
            self._refuse_elsewhere(endpoint, host)

    def _refuse_elsewhere(self, endpoint: Endpoint, host: str) -> None:
        if host != self._host and _only_here(endpoint):
            raise SafetyError(
                f"cluster: got the target {endpoint.host}, which on {host} is that machine's own; expected an "
                "address that means the same everywhere"
            )

    async def start(self, order: GeneratorOrder) -> Generator:
        """Start an actor on the node whose turn it is, and wait until it has called back."""
        node, host = self._slots[order.shard]
        self._refuse_elsewhere(order.endpoint, host)
        listener = Listener((self._host, 0), authkey=self._key)
        strategy = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node, soft=False)
        # A generator that dies stays dead: started again, it would send a second time what was sent already.
        remote = self._ray.remote(num_cpus=1, max_restarts=0, max_task_retries=0)(_Host)
        actor = remote.options(scheduling_strategy=strategy).remote()
        try:
            called = actor.run.remote(listener.address, self._key, replace(order, far=True))
            pipe = await self._accept(listener, called, host)
        except (TypeError, AttributeError) as error:
            raise ToolError(
                f"cluster: got a plan that can't go to another machine ({error}); use scripts in files"
            ) from error
        finally:
            listener.close()
        return _Actor(self._ray, actor, called, pipe, f"{host} ({node[:8]})")

    async def _accept(self, listener: Listener, called: Any, host: str) -> Pipe:
        accepting = asyncio.ensure_future(asyncio.to_thread(_accept, listener))
        clock = SystemClock()
        deadline_ns = clock.now_ns() + _CONNECTS_WITHIN_S * NS_PER_SECOND
        while not accepting.done():
            await asyncio.wait([accepting], timeout=0.2)
            gone, _ = self._ray.wait([called], timeout=0)
            if (gone and not accepting.done()) or clock.now_ns() > deadline_ns:
                why = _why(self._ray, called) if gone else f"no call within {_CONNECTS_WITHIN_S} s"
                _wake(listener)
                await asyncio.gather(accepting, return_exceptions=True)
                raise ToolError(f"cluster: the generator on {host} did not call back ({why}); is proofload there?")
        return accepting.result()

    def close(self) -> None:
        """Leave the cluster; one that we started ourselves ends with us."""
        self._ray.shutdown()

    def _connect(self) -> None:
        options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
        try:
            if self.address == _LOCAL:
                self._ray.init(include_dashboard=False, **options)
            else:
                self._ray.init(address=self.address, **options)
        except (ConnectionError, OSError, RuntimeError, ValueError) as error:
            first = str(error).strip().splitlines()[0]
            raise ToolError(
                f"--cluster {self.address}: got {first}, expected a Ray cluster that answers; see docs/scale.md"
            ) from error

    def _free_slots(self) -> list[tuple[str, str]]:
        """Return (node id, its address) for each core, the nodes in turn, so that few generators spread widely."""
        nodes = sorted(
            (one for one in self._ray.nodes() if one["Alive"]),
            key=lambda one: (one["NodeManagerAddress"], one["NodeID"]),
        )
        cores = [(int(one["Resources"].get("CPU", 0)), one["NodeID"], one["NodeManagerAddress"]) for one in nodes]
        return [
            (node, host)
            for turn in range(max((count for count, _, _ in cores), default=0))
            for count, node, host in cores
            if turn < count
        ]


class _Host:
    """The actor: runs one generator until its end."""

    def run(self, address: tuple[str, int], key: bytes, order: GeneratorOrder) -> None:
        """Call the parent back, and do what it says."""
        folder = Path(tempfile.mkdtemp(prefix="proofload-generator-"))
        try:
            with Client(address, authkey=key) as pipe:
                pipe_socket = socket.socket(fileno=os.dup(pipe.fileno()))
                pipe_socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                pipe_socket.close()
                generator.main(pipe, replace(order, folder=folder))
        finally:
            shutil.rmtree(folder, ignore_errors=True)


class _Actor:
    own_clock = True

    def __init__(self, ray: Any, actor: Any, called: Any, pipe: Pipe, where: str) -> None:
        self.where = where
        self._ray = ray
        self._actor = actor
        self._called = called
        self._pipe = pipe
        self._reader: threading.Thread | None = None
        self._ended = False

    def listen(self, hear: Hear) -> None:
        loop = asyncio.get_running_loop()

        def receive() -> None:
            # A thread may wait for the rest of a message; the loop may not.
            message: Sequence[Any] | None = ()
            while message is not None:
                try:
                    message = self._pipe.recv()
                except (EOFError, OSError):
                    message = None
                with contextlib.suppress(RuntimeError):
                    loop.call_soon_threadsafe(hear, message)

        self._reader = threading.Thread(target=receive, name=f"generator {self.where}", daemon=True)
        self._reader.start()

    def tell(self, *message: Any) -> None:
        with contextlib.suppress(OSError):
            self._pipe.send(message)

    def how_it_ended(self) -> str:
        gone, _ = self._ray.wait([self._called], timeout=_LAST_WORDS_S)
        return _why(self._ray, self._called) if gone else "its connection broke"

    def end(self, *, kill: bool) -> None:
        if self._ended:
            return
        self._ended = True
        if not kill:
            self._ray.wait([self._called], timeout=_LAST_WORDS_S)
        with contextlib.suppress(Exception):  # Ray's own kinds; what is gone need not be killed
            self._ray.kill(self._actor, no_restart=True)
        with contextlib.suppress(OSError):
            # Closing alone does not wake a thread that reads.
            told = socket.socket(fileno=os.dup(self._pipe.fileno()))
            with contextlib.suppress(OSError):
                told.shutdown(socket.SHUT_RDWR)
            told.close()
        if self._reader is not None:
            self._reader.join(_LAST_WORDS_S)
        self._pipe.close()


def _only_here(endpoint: Endpoint) -> bool:
    """Return whether the target's address means another machine on every machine."""
    if endpoint.unix_socket is not None:
        return True
    try:
        return ipaddress.ip_address(endpoint.host).is_loopback
    except ValueError:
        return endpoint.host == "localhost"


def _accept(listener: Listener) -> Pipe:
    pipe: Pipe = listener.accept()
    told = socket.socket(fileno=os.dup(pipe.fileno()))
    told.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    told.close()
    return pipe


def _wake(listener: Listener) -> None:
    """End a thread that waits for a call which won't come."""
    with contextlib.suppress(OSError):
        socket.create_connection(tuple(listener.address), timeout=1).close()


def _why(ray: Any, called: Any) -> str:
    try:
        ray.get(called, timeout=0)
    except Exception as error:  # noqa: BLE001 -- whatever it was, it is told and not hidden
        return f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
    return "it ended"


def _ray() -> Any:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
        import ray.util.scheduling_strategies
    except ImportError as error:
        raise PlanError(
            [Problem("--cluster", "no Ray here", "the extra 'cluster'", "pip install 'proofload[cluster]'")]
        ) from error
    return ray

"""The supervisor: one thread that owns every process of the system, in the order in which they start and end."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from proofload.demo.ordersystem.common import switches
from proofload.demo.ordersystem.supervisor import control
from proofload.demo.ordersystem.supervisor.layout import Layout
from proofload.demo.ordersystem.supervisor.process import fork


class StartError(Exception):
    """The system, or one service of it, did not come up. The message says which and why."""


class OrderError(Exception):
    """An order that can't be carried out. The message says why."""


@dataclass
class Service:
    """One service: how a worker of it is run, and which run now."""

    name: str
    run: Callable[[], None]
    is_healthy: Callable[[], bool]
    log: Path
    workers: int
    address: str
    state: str = "stopped"
    """running, paused or stopped."""
    pids: set[int] = field(default_factory=set)
    restarts: int = 0
    restart_at_s: float | None = None


class Supervisor:
    """Runs services until it is told to end, and carries out orders that come over the control socket."""

    START_DEADLINE_S = 30.0
    STOP_DEADLINE_S = 4.0

    def __init__(self, layout: Layout, services: list[Service]) -> None:
        self.layout = layout
        self.services = {service.name: service for service in services}
        self._ending = False
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._wake_write.setblocking(False)
        self._orders: dict[str, Callable[[Service], None]] = {
            "start": self.start,
            "stop": self.stop,
            "kill": self.kill,
            "pause": self.pause,
            "resume": self.resume,
            "restart": self.restart,
        }

    def run(self, on_ready: Callable[[], None]) -> None:
        """Start everything, call `on_ready`, stay until SIGTERM, SIGINT or the order `down`, then end everything."""
        listener = control.listen(self.layout.control)
        self._listen_to_signals()
        try:
            self._selector.register(listener, selectors.EVENT_READ)
            self._selector.register(self._wake_read, selectors.EVENT_READ)
            self._start_all()
            if not self._ending:
                on_ready()
            while not self._ending:
                self._turn(listener)
        finally:
            self._end_all()
            listener.close()
            with contextlib.suppress(OSError):
                self.layout.control.unlink()

    def _start_all(self) -> None:
        first, *others = self.services.values()  # the store comes first: the others ask it at once
        self.start(first)
        for service in others:
            self._fork_workers(service)
        for service in others:
            self._await_health(service)

    def _listen_to_signals(self) -> None:
        def end(_number: int, _frame: object) -> None:
            self._ending = True

        signal.signal(signal.SIGTERM, end)
        signal.signal(signal.SIGINT, end)
        signal.signal(signal.SIGHUP, end)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        signal.set_wakeup_fd(self._wake_write.fileno(), warn_on_full_buffer=False)

    def _turn(self, listener: socket.socket) -> None:
        due = [service.restart_at_s for service in self.services.values() if service.restart_at_s is not None]
        timeout_s = max(0.0, min(due) - time.monotonic()) if due else None
        for key, _ in self._selector.select(timeout_s):
            if key.fileobj is listener:
                line, _ = listener.accept()
                with line:
                    control.send_reply(line, self._carry_out(control.read_request(line)))
            else:
                with contextlib.suppress(BlockingIOError):
                    self._wake_read.recv(4096)
        self._reap()
        for service in self.services.values():
            if service.restart_at_s is not None and service.restart_at_s <= time.monotonic():
                service.restart_at_s = None
                self._fork_workers(service)

    # -- orders

    def _carry_out(self, request: Mapping[str, Any]) -> dict[str, Any]:
        what, name = request.get("do"), request.get("service")
        error = None
        if what == "down":
            self._ending = True
        elif what in ("mute", "unmute"):
            if name in switches.NAMES:
                switches.throw(self.layout.switches, name, off=what == "mute")
            else:
                error = f"got {name!r}, expected one of {', '.join(switches.NAMES)}"
        elif what in self._orders and name in self.services:
            try:
                self._orders[what](self.services[name])
            except (OrderError, StartError) as refused:
                error = str(refused)
        elif what in self._orders:
            error = f"got service {name!r}, expected one of {', '.join(self.services)}"
        elif what != "status":
            error = f"got order {what!r}, expected one of status, down, mute, unmute, {', '.join(self._orders)}"
        return {"ok": False, "error": error} if error else {"ok": True, "services": self.status()}

    def status(self) -> dict[str, dict[str, Any]]:
        """Return what runs, by service."""
        self._reap()
        return {
            service.name: {
                "state": service.state,
                "pids": sorted(service.pids),
                "workers": service.workers,
                "restarts": service.restarts,
                "address": service.address,
                "log": str(service.log),
            }
            for service in self.services.values()
        }

    def start(self, service: Service) -> None:
        """Start the service and wait until it is healthy; wake it if it is paused."""
        if service.state == "paused":
            self.resume(service)
        self._reap()
        self._fork_workers(service)
        self._await_health(service)

    def stop(self, service: Service) -> None:
        """End the service in order, and by force if it takes too long. What is in flight may finish."""
        self._signal(service, signal.SIGCONT)
        self._end(service, signal.SIGTERM, self.STOP_DEADLINE_S)

    def kill(self, service: Service) -> None:
        """End the service at once, as a crash would."""
        self._end(service, signal.SIGKILL, self.STOP_DEADLINE_S)

    def restart(self, service: Service) -> None:
        """Stop and start the service."""
        self.stop(service)
        self.start(service)

    def pause(self, service: Service) -> None:
        """Freeze the service: connections are still taken by the kernel and nobody answers."""
        if service.state != "running":
            raise OrderError(f"{service.name} is {service.state}; only a running service can be paused")
        self._signal(service, signal.SIGSTOP)
        service.state = "paused"

    def resume(self, service: Service) -> None:
        """Let a frozen service go on."""
        if service.state != "paused":
            raise OrderError(f"{service.name} is {service.state}, not paused")
        self._signal(service, signal.SIGCONT)
        service.state = "running"

    # -- processes

    def _fork_workers(self, service: Service) -> None:
        service.state = "running"
        while len(service.pids) < service.workers:
            service.pids.add(fork(service.log, service.run))

    def _await_health(self, service: Service) -> None:
        deadline_s = time.monotonic() + self.START_DEADLINE_S
        while not service.is_healthy():
            if self._ending:
                return
            if self._reap_at_start(service):
                raise StartError(
                    f"{service.name} ended while it started; {service.log} ends with:\n{_tail(service.log)}"
                )
            if time.monotonic() > deadline_s:
                raise StartError(f"{service.name} was not healthy after {self.START_DEADLINE_S:g} s; see {service.log}")
            time.sleep(0.02)

    def _reap_at_start(self, service: Service) -> bool:
        before = len(service.pids)
        self._reap(restart=False)
        if len(service.pids) == before:
            return False
        self.kill(service)
        return True

    def _reap(self, restart: bool = True) -> None:
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, _status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                for service in self.services.values():
                    if pid in service.pids:
                        service.pids.discard(pid)
                        if restart and service.state == "running" and not self._ending:
                            self._plan_restart(service, pid)

    def _plan_restart(self, service: Service, pid: int) -> None:
        service.restarts += 1
        wait_s = min(0.2 * 2 ** min(service.restarts - 1, 5), 5.0)
        service.restart_at_s = time.monotonic() + wait_s
        print(f"{service.name}: worker {pid} ended unbidden; another in {wait_s:g} s", file=sys.stderr, flush=True)

    def _signal(self, service: Service, number: int) -> None:
        for pid in service.pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _end(self, service: Service, number: int, patience_s: float) -> None:
        service.state = "stopped"
        service.restart_at_s = None
        self._signal(service, number)
        forced_at_s = time.monotonic() + patience_s
        while service.pids:
            self._reap()
            if time.monotonic() > forced_at_s:
                self._signal(service, signal.SIGKILL)
            time.sleep(0.005)

    def _end_all(self) -> None:
        self._ending = True
        # The gateway first, the store last: nobody is to lose what he still needs.
        for service in reversed(self.services.values()):
            service.state = "stopped"
            self._signal(service, signal.SIGCONT)
            if service is not next(iter(self.services.values())):
                self._signal(service, signal.SIGTERM)
        for service in reversed(self.services.values()):
            self._end(service, signal.SIGTERM, self.STOP_DEADLINE_S)


def _tail(log: Path, lines: int = 12) -> str:
    try:
        return "\n".join("  " + line for line in log.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return "  (no log)"


def write_atomically(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file that is there whole or not at all."""
    partial = path.with_name(path.name + f".{os.getpid()}.partial")
    partial.write_text(json.dumps(content, indent=2) + "\n")
    partial.replace(path)

"""Stops, pauses, kills and restarts a service through the control socket of the system that supervises it.

One JSON object a line each way: `{"do": "stop", "service": "auth"}` and `{"ok": true, "services": {...}}`.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from proofload.faults.driver import StepDriver
from proofload.faults.recipe import FaultError, ask, order_step

MUTE = "mute"
"""Switches off what the supervisor calls metrics or audit, to measure what that costs."""
_KINDS = ("stop", "pause", "kill", "restart")


class SupervisedDriver(StepDriver):
    """Breaks one service of a supervised system. `start` mends them all: it wakes what is paused, too."""

    name = "supervised"

    def __init__(self, control: str, service: str) -> None:
        def step(kind: str, may_be_gone: bool = False) -> partial[dict[str, Any]]:
            return partial(order_step, control, {"do": kind, "service": service}, may_be_gone)

        # The services of such a system end with their supervisor: one that is gone has left nothing broken.
        start = step("start", may_be_gone=True)
        unmute = step("unmute", may_be_gone=True)
        super().__init__({**{kind: (step(kind), start) for kind in _KINDS}, MUTE: (step(MUTE), unmute)})
        self.control, self.service = control, service

    async def status(self) -> dict[str, Any]:
        """Return what the supervisor says of the service: `state`, `pids`, `address`."""
        reply = await asyncio.to_thread(ask, self.control, {"do": "status"})
        services = reply.get("services", {})
        if self.service not in services:
            known = ", ".join(services) or "none"
            raise FaultError(f"control socket {self.control}: got no service {self.service!r}, expected one of {known}")
        return dict(services[self.service])

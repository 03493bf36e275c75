"""What a case tells those who watch: what it does now, what it has sent, which faults are in force."""

from __future__ import annotations

from typing import Protocol

from proofload.core.clock import Clock
from proofload.record.pulse import Pulse


class Audience(Protocol):
    """Hears what a case is doing, for whoever watches."""

    def doing(self, case_id: str, what: str, until_ns: int | None = None) -> None:
        """Hear that a case does or waits for something, until an instant where one is known."""
        ...

    def ended(self, case_id: str, outcome: str) -> None:
        """Hear that a case has ended."""
        ...

    def sent(self, case_id: str, requests: int) -> None:
        """Hear how many requests a case has sent so far."""
        ...

    def pulse(self, case_id: str, pulse: Pulse) -> None:
        """Hear now and then how a running case's load is doing."""
        ...


class CaseProgress:
    """What one case has turned to, in order."""

    def __init__(self, case_id: str, clock: Clock, audience: Audience) -> None:
        self._case_id = case_id
        self._clock = clock
        self._audience = audience
        self.phases: list[tuple[int, str]] = []
        """When this case turned to something else, and to what."""

    def as_case(self, case_id: str, phases: list[tuple[int, str]]) -> None:
        """Tell watchers of the case on whose behalf this is done."""
        self._case_id, self.phases = case_id, phases

    def doing(self, what: str, until_ns: int | None = None) -> None:
        """Say what this case does now."""
        if not self.phases or self.phases[-1][1] != what:
            self.phases.append((self._clock.now_ns(), what))
        self._audience.doing(self._case_id, what, until_ns)

    async def wait_until_ns(self, due_ns: int, what: str) -> None:
        """Wait for an instant, and say for what."""
        self.doing(what, due_ns)
        await self._clock.sleep_until_ns(due_ns)

"""How much may be asked of a system that nobody has tested before, and a client that keeps to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from proofload.core.errors import TargetError
from proofload.core.units import NS_PER_SECOND
from proofload.drive.user import Answer, User

_TOO_MANY = 429
_ALSO_REJECTIONS = frozenset({403, 420, 503, 509})
"""What limiters answer that do not say 429; taken for a rejection only where the same request was served before."""
_PATIENCE = 3
_KNOCK_GROWS = 20
"""A client that waits knocks again after a twentieth of the time it has waited."""
_SOONEST_KNOCK_NS = 25_000_000


@dataclass(frozen=True, slots=True)
class Manners:
    """Ceilings of probing: they hold beside those of the target file."""

    per_second: int = 200
    most_requests: int = 3_000
    longest_ns: int = 300 * NS_PER_SECOND
    """How long all of it may take."""


@dataclass(slots=True)
class Budget:
    """What is left of the manners, shared by all clients, and what was learned of answers."""

    manners: Manners
    ends_ns: int
    sent: int = 0
    usual: int = 0
    """The status of a request that is not limited; 0 until one was answered."""
    unanswered: int = 0
    rejected: int = 0
    """The status of a rejection; 0 until one was seen."""

    @property
    def spent(self) -> bool:
        """Return whether no more requests may be sent."""
        return self.sent >= self.manners.most_requests

    def note_answer(self, answer: Answer) -> None:
        """Give up on a target that does not answer. Raises TargetError."""
        self.unanswered = 0 if answer.status else self.unanswered + 1
        if self.unanswered >= _PATIENCE:
            why = answer.fault.name.lower().replace("_", " ")
            raise TargetError(f"got no answer {_PATIENCE} times in a row ({why}), expected an HTTP server; is it up?")

    def is_rejection(self, status: int) -> bool:
        """Return whether an answer is the limiter's no, and learn from it which status that has."""
        if self.rejected:
            return status == self.rejected
        if status == _TOO_MANY or (self.usual and status in _ALSO_REJECTIONS and status != self.usual):
            self.rejected = status
            return True
        self.usual = self.usual or status
        return False


@dataclass(slots=True)
class PoliteClient:
    """One client that asks politely and remembers how it went."""

    user: User
    probe: str
    budget: Budget
    rows: list[int] = field(default_factory=list)
    last: Answer | None = None
    _due_ns: int = 0

    def now_ns(self) -> int:
        """Return the instant now."""
        return self.user.wire.now_ns()

    async def ask(self, headers: Mapping[str, str] | None = None) -> Answer:
        """Send the probe once, no sooner than the ceiling on the rate allows."""
        await self.user.pause_until_ns(max(self._due_ns, self.now_ns()))
        self._due_ns = self.now_ns() + NS_PER_SECOND // self.budget.manners.per_second
        self.budget.sent += 1
        answer = await (self.user.request(self.probe, headers=headers) if headers else self.user.request(self.probe))
        self.rows.append(answer.row)
        self.budget.note_answer(answer)
        self.last = answer
        return answer

    async def is_rejected(self) -> bool:
        """Send the probe once; return whether it was rejected."""
        return self.budget.is_rejection((await self.ask()).status)

    async def exhaust(self, rejections: int = 3) -> int:
        """Send until so many in a row were rejected; return how many were admitted before the first of all."""
        admitted = in_a_row = 0
        first_no = False
        while in_a_row < rejections and not self.budget.spent and self.now_ns() < self.budget.ends_ns:
            if await self.is_rejected():
                in_a_row, first_no = in_a_row + 1, True
            else:
                in_a_row = 0
                admitted += not first_no
        return admitted

    async def knock(self, longest_ns: int) -> bool:
        """Ask again and again, ever more slowly, until admitted; return whether that came about in time."""
        began_ns = self.now_ns()
        until_ns = min(began_ns + longest_ns, self.budget.ends_ns)
        while not self.budget.spent:
            waited_ns = self.now_ns() - began_ns
            pause_ns = min(NS_PER_SECOND, max(_SOONEST_KNOCK_NS, waited_ns // _KNOCK_GROWS))
            if self.now_ns() + pause_ns > until_ns:
                return False
            await self.user.pause_until_ns(self.now_ns() + pause_ns)
            if not await self.is_rejected():
                return True
        return False

    async def wait_until_ns(self, due_ns: int) -> None:
        """Wait for an instant, or for the end of what probing may take."""
        await self.user.pause_until_ns(min(due_ns, self.budget.ends_ns))

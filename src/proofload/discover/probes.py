"""What is sent to find a limiter out: spend an allowance, knock until it comes back, and see what came back.

A window gives the whole allowance back at once, a bucket one by one, a sliding counter one by one after a window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from proofload.core.units import NS_PER_MS, NS_PER_SECOND, format_duration
from proofload.discover.budget import PoliteClient
from proofload.record.history import History

_MOST_OF = 0.8
"""A window gives back the whole allowance; what gives back less than this share of it is something else."""
_ADMISSIONS = 25
"""How many admissions of a trickle are waited for: they tell its rate to a twenty-fifth."""
IN_A_ROW = 4
"""How many requests in a row must be served beside a spent allowance: one may have had a token that flowed in."""
_ROUNDS = 3
_CONTROLS = 8
_MOST_BESIDE = 20
_FORGED = "198.51.100.77"
_LEAST_QUEUED = 12
_DELAYED = 5
"""How many times as long as the first answer took the others have to be apart: nobody delays a first request."""
HALF, REST, AGAIN = 0.0, 0.6, 1.1
"""When the second client spends, as shares of the window: half, the other half, and whatever it gets then."""


@dataclass(slots=True)
class Spent:
    """What the first client saw."""

    first: int = 0
    """How many were admitted before the first rejection."""
    second: int = 0
    """How many were admitted once it was served again."""
    back_after_ns: int = 0
    """How long after its first request it was served again; 0 where it never was."""
    known: bool = False
    """Whether the above is all there is to come."""
    rows: list[int] = field(default_factory=list)


async def spend(client: PoliteClient, seen: Spent, longest_ns: int) -> None:
    """Spend the allowance, knock until served again, and spend what came back."""
    began_ns = client.now_ns()
    seen.rows = client.rows
    seen.first = await client.exhaust()
    if not client.budget.rejected or not await client.knock(longest_ns):
        return
    assert client.last is not None
    seen.back_after_ns = client.last.done_ns - began_ns
    seen.second = 1 + await client.exhaust()


def came_back_at_once(seen: Spent) -> bool:
    """Return whether the allowance came back as a whole, as that of a window does."""
    return seen.first > 1 and seen.second >= _MOST_OF * seen.first


async def watch_trickle(client: PoliteClient, seen: Spent) -> None:
    """Keep the limiter empty while a number of admissions trickle in."""
    each_ns = max(1, seen.back_after_ns)
    shortest_ns = NS_PER_SECOND // client.budget.manners.per_second
    longest_ns = pause_ns = min(NS_PER_SECOND, max(each_ns // 4, shortest_ns))
    until_ns = client.now_ns() + min(120 * NS_PER_SECOND, max(2 * NS_PER_SECOND, 2 * _ADMISSIONS * each_ns))
    admitted = 0
    while admitted < _ADMISSIONS and client.now_ns() < min(until_ns, client.budget.ends_ns) and not client.budget.spent:
        await client.wait_until_ns(client.now_ns() + pause_ns)
        # Twice as soon after an admission, later after a rejection: asked about as often as something trickles in.
        if await client.is_rejected():
            pause_ns = min(longest_ns, pause_ns * 3 // 2)
        else:
            admitted += 1
            pause_ns = max(shortest_ns, pause_ns // 2)


async def second_cycle(client: PoliteClient, longest_ns: int) -> None:
    """Knock once more until served, and spend that, too: a window on the clock shows its true length now."""
    if await client.knock(longest_ns):
        await client.exhaust()


async def spend_in_halves(client: PoliteClient, size: int, window_ns: int) -> None:
    """Spend half now, half late in the window, and come back after its end: a sliding log gives back half, no more."""
    began_ns = client.now_ns()
    for _ in range(size // 2):
        await client.ask()
    await client.wait_until_ns(began_ns + round(REST * window_ns))
    await client.exhaust()
    late_ns = min(NS_PER_SECOND, round(0.4 * window_ns))
    await client.wait_until_ns(began_ns + round(AGAIN * window_ns) + late_ns)
    await client.exhaust()


@dataclass(slots=True)
class Bounds:
    """What the limit covers, and what opens it: True, False, or None where it could not be told."""

    scope: Literal["client_ip", "user", "global", ""] = ""
    """Whose limit it is: client_ip, user or global; empty where it could not be told."""
    new_connection_opens: bool | None = None
    forged_header_opens: bool | None = None
    unlimited: list[str] = field(default_factory=list)
    """Paths that were answered while the client was limited."""
    served: list[str] = field(default_factory=list)
    """Paths that were answered with a success at any time."""


async def try_round(client: PoliteClient, paths: tuple[str, ...], found: Bounds) -> None:
    """With the allowance spent, see who is served all the same, by more requests than can have flowed in meanwhile."""
    size = await client.exhaust(1)

    async def asked(question: str) -> bool | None:
        for _ in range(_ROUNDS):
            opens = await _opens(client, question, size, found)
            if opens is not None:
                return opens
        return None

    found.new_connection_opens = await asked("connection")
    found.forged_header_opens = await asked("header")
    for path in paths:
        if await asked(path):
            found.unlimited.append(path)


async def _opens(client: PoliteClient, question: str, size: int, found: Bounds) -> bool | None:
    """Return whether a question is answered beside a spent allowance of `size`; None where it can't be told."""
    in_a_row = max(1, min(IN_A_ROW, size))
    # One served request may always have had a token that flowed in.
    for _ in range(_ROUNDS if in_a_row == 1 else 1):
        await client.exhaust(1)
        flowed = await _served_meanwhile(client)
        if flowed > max(0, _CONTROLS * (in_a_row - 1) // in_a_row - 1):
            # They flow in so fast that they would serve all that is asked next.
            return None
        await client.exhaust(1)
        for _ in range(in_a_row):
            # One that is rejected settles it: a new allowance would have held them all.
            if await _ask(client, question, found):
                return False
        if not flowed and await _began_anew(client, question, size, in_a_row):
            return None
    return True


async def _served_meanwhile(client: PoliteClient) -> int:
    """Return how many of so many plain requests were served though the allowance was spent: tokens flow in."""
    served = 0
    for _ in range(_CONTROLS):
        served += not await client.is_rejected()
    return served


async def _began_anew(client: PoliteClient, question: str, size: int, in_a_row: int) -> bool:
    """Return whether the whole allowance may have come back while the question was asked, as a window began."""
    if question == "connection":
        # The last connection has all but one of its own; of a new window less is left.
        return await client.exhaust(1) <= size - max(2, in_a_row)
    return not await client.is_rejected()


@dataclass(slots=True)
class Beside:
    """Whether one client is served while another has spent its allowance: each goes through its own part, in turn."""

    size: int = 0
    served: int = 0
    asked: int = 0
    flowed: int = 0
    measured_ns: int = 1
    """How long it was looked how many tokens flow in."""
    from_ns: int = 0
    to_ns: int = 0
    limited_again: bool = False

    async def spend(self, client: PoliteClient) -> None:
        """Spend the allowance, and see how fast tokens flow in."""
        self.size = await client.exhaust(1)
        began_ns = client.now_ns()
        self.flowed = await _served_meanwhile(client)
        self.measured_ns = max(1, client.now_ns() - began_ns)
        await client.exhaust(1)
        self.from_ns = client.now_ns()

    async def ask(self, client: PoliteClient) -> None:
        """Ask as the other client, until one is rejected or nearly so many were served as one allowance holds."""
        while self.asked < max(1, min(_MOST_BESIDE, self.size - self._left)) and self.served == self.asked:
            self.asked += 1
            self.served += not await client.is_rejected()
        self.to_ns = client.now_ns()

    async def ask_again(self, client: PoliteClient) -> None:
        """See whether the first client is still limited, but for a token or two."""
        for _ in range(self._left):
            self.limited_again = self.limited_again or await client.is_rejected()

    @property
    def _left(self) -> int:
        """Return how many the other client leaves of an allowance, which one counter for both would have left."""
        return 3 if self.size > 5 else 1

    @property
    def is_served(self) -> bool | None:
        """Return whether the other client has an allowance of its own; None where it can't be told."""
        if self.served < self.asked:
            return False
        if not self.flowed:
            return True if self.limited_again else None
        flowed = (self.flowed + 1) * (self.to_ns - self.from_ns) // self.measured_ns + 1
        return True if self.served > flowed else None


async def _ask(client: PoliteClient, question: str, found: Bounds) -> bool:
    """Return whether the varied request was rejected."""
    if question == "connection":
        client.user.reconnect()
        return await client.is_rejected()
    if question == "header":
        told = {"X-Forwarded-For": _FORGED, "X-Real-IP": _FORGED, "Forwarded": f"for={_FORGED}"}
        return client.budget.is_rejection((await client.ask(told)).status)
    client.budget.sent += 1
    answer = await client.user.get(question)
    if answer.ok and question not in found.served:
        found.served.append(question)
    return answer.status == client.budget.rejected


def queueing(history: History, rows: Sequence[int]) -> str:
    """Return what shows that a limiter delays in place of rejecting; empty where nothing does.

    Answers come at even distances, which a slow target does not keep, long after a first one that came at once.
    """
    chosen = np.asarray(rows, dtype=np.int64)
    chosen = chosen[history.numbers("status")[chosen] > 0]
    if len(chosen) < _LEAST_QUEUED:
        return ""
    done = history.numbers("done_ns")[chosen].astype(np.int64)
    first_ns = int(done[0] - history.numbers("sent_ns")[chosen[0]])
    gaps = np.diff(done)[len(done) // 2 :]
    low, middle, high = (int(one) for one in np.percentile(gaps, (10, 50, 90)))
    if middle < _DELAYED * max(first_ns, NS_PER_MS) or (high - low) * 10 > middle:
        return ""
    rate = NS_PER_SECOND / middle
    return (
        f"nothing was rejected, but answers came evenly every {format_duration(middle)} and the first after "
        f"{format_duration(first_ns)}: this looks like a limiter that delays requests to {rate:.3g} a second instead "
        "of rejecting them (nginx without nodelay), which can't be declared; with nodelay it could be tested"
    )

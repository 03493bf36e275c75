"""What is sent to find a limiter out: spend an allowance, knock until it comes back, and see what came back.

A window gives the whole allowance back at once, a bucket one by one, a sliding counter one by one after a window.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from proofload.core.units import NS_PER_SECOND
from proofload.discover.budget import PoliteClient

_MOST_OF = 0.8
"""A window gives back the whole allowance; what gives back less than this share of it is something else."""
_ADMISSIONS = 25
"""How many admissions of a trickle are waited for: they tell its rate to a twenty-fifth."""
_FORGED = "198.51.100.77"
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
    """With the allowance spent, see who is served all the same. Each question stands between two rejections."""
    await client.exhaust(1)

    async def asked(question: str) -> bool | None:
        for _ in range(3):
            if not await client.is_rejected():
                await client.exhaust(1)
                continue
            rejected = await _ask(client, question, found)
            if await client.is_rejected() or rejected:
                return not rejected
        return None

    found.new_connection_opens = await asked("connection")
    found.forged_header_opens = await asked("header")
    for path in paths:
        if await asked(path):
            found.unlimited.append(path)


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

"""Client addresses that nobody has used before, so that every step of a case begins with a whole allowance."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from proofload.core.errors import ToolError
from proofload.core.seeds import stream
from proofload.plan.target import Target

# Not the whole of 127/8: the first /16 holds 127.0.0.1 and what people bind by hand.
_LOOPBACK = ipaddress.IPv4Network("127.64.0.0/10")


class Addresses:
    """Hands out each address once. On loopback there are millions; elsewhere there are those that were declared."""

    def __init__(self, seed: int, host: str, declared: Sequence[str] = ()) -> None:
        self._declared = tuple(declared)
        self._fresh = iter(self._declared) if self._declared else _loopback(seed) if _is_ipv4_loopback(host) else None
        self._given = 0

    @property
    def many(self) -> bool:
        """Return whether there are addresses to choose from at all."""
        return self._fresh is not None

    def fresh(self) -> str | None:
        """Return an address that was not handed out before, or None where this machine has only its own.

        Raises ToolError where the declared addresses are used up.
        """
        if self._fresh is None:
            return None
        source = next(self._fresh, None)
        if source is None:
            raise ToolError(
                f"sources: got a request for one more client address, expected at most the {len(self._declared)} "
                "declared; declare more under `sources` or run fewer cases at once"
            )
        self._given += 1
        return source


def has_many(target: Target) -> bool:
    """Return whether clients of the target can be told apart by their addresses."""
    return bool(target.sources) or _is_ipv4_loopback(urlsplit(target.address).hostname or "")


def _is_ipv4_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.IPv4Address(host) in ipaddress.IPv4Network("127.0.0.0/8")
    except ValueError:
        return False


def _loopback(seed: int) -> Iterator[str]:
    # A start that follows from the seed keeps two runs against one server apart; an odd step visits every address once.
    size = _LOOPBACK.num_addresses
    at = stream(seed, "sources").randrange(size)
    for _ in range(size):
        at = (at + 40_503) % size
        address = _LOOPBACK[at]
        if address.packed[3] not in (0, 255):
            yield str(address)

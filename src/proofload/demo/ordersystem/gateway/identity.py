"""Whose request it is: never what a client merely claims."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping

ClientIp = Callable[[tuple[str, int], Mapping[bytes, bytes]], str]


class TrustedProxies:
    """Tells the client's address: the peer of the connection, unless that peer is a proxy we were told to trust.

    X-Forwarded-For is then read from its end, past every trusted proxy, to the first address that isn't one.
    """

    def __init__(self, trusted: tuple[str, ...]) -> None:
        self._networks = tuple(ipaddress.ip_network(text, strict=False) for text in trusted)

    def __call__(self, peer: tuple[str, int], headers: Mapping[bytes, bytes]) -> str:
        """Return the address of the client."""
        client = peer[0]
        if not self._networks or not self._trusts(client):
            return client
        claimed = headers.get(b"x-forwarded-for", b"").decode("latin-1").split(",")
        for hop in reversed([part.strip() for part in claimed if part.strip()]):
            if not _is_address(hop):
                break
            client = hop
            if not self._trusts(hop):
                break
        return client

    def _trusts(self, address: str) -> bool:
        return _is_address(address) and any(ipaddress.ip_address(address) in network for network in self._networks)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True

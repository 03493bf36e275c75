"""What an IP address is, and whether a list covers it. Pure: nothing is resolved or asked here."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

_LEAST_PREFIX = {4: 16, 6: 48}


def parse_ip(text: str) -> IPAddress:
    """Return the address, an IPv4 one that is dressed as IPv6 as what it really is. Raises ValueError.

    >>> parse_ip("::ffff:127.0.0.1")
    IPv4Address('127.0.0.1')
    """
    address = ipaddress.ip_address(text.split("%", 1)[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def parse_network(text: str) -> IPNetwork:
    """Return the network of an entry of `allow`; a single address is a network of one. Raises ValueError.

    A network wider than /16 (IPv4) or /48 (IPv6) is refused: nobody owns that by a single token.

    >>> parse_network("192.0.2.10")
    IPv4Network('192.0.2.10/32')
    """
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError("an IP address or network such as 192.0.2.10 or 192.0.2.0/24") from None
    least = _LEAST_PREFIX[network.version]
    if network.prefixlen < least:
        raise ValueError(f"a network of /{least} or narrower")
    return network


def is_loopback(address: IPAddress) -> bool:
    """Return whether the address is this machine's loopback; 0.0.0.0 and :: are not taken for it."""
    return address.is_loopback


def is_listed(address: IPAddress, allow: Iterable[IPNetwork]) -> bool:
    """Return whether an entry of `allow` covers the address. No entry covers one that names no single machine."""
    if address.is_unspecified or address.is_multicast:
        return False
    return any(address.version == network.version and address in network for network in allow)

"""Who may be loaded: loopback always; any other address only when it is listed *and* shows the owner's token.

The check is made after DNS resolution and again by the engine for every address that it connects to.
"""

from __future__ import annotations

import http.client
import ipaddress
import secrets
import socket
import ssl
from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

from proofload.core.errors import PlanError, Problem, SafetyError
from proofload.plan.target import Target

CHALLENGE_PATH = "/.well-known/proofload.txt"
_TIMEOUT_S = 5.0
_MOST_BYTES = 4_096

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
Vet = Callable[[str], None]
Resolve = Callable[[str, int], Iterable[str]]
Fetch = Callable[[str, int, str, bool], str]
"""(ip, port, host, tls) to the text at CHALLENGE_PATH. Raises OSError where there is none."""


def parse_ip(text: str) -> IPAddress:
    """Return the address, an IPv4 one that is dressed as IPv6 as what it really is.

    >>> parse_ip("::ffff:127.0.0.1")
    IPv4Address('127.0.0.1')
    """
    address = ipaddress.ip_address(text.split("%", 1)[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def is_loopback(address: IPAddress) -> bool:
    """Return whether the address is this machine's loopback; 0.0.0.0 and :: are not taken for it."""
    return address.is_loopback


def parse_allow(entries: Iterable[str]) -> list[IPNetwork]:
    """Return the networks that `allow` lists. Raises PlanError with every entry that is no address or network.

    A network wider than /16 (IPv4) or /48 (IPv6) is refused: nobody owns that by a single token.
    """
    networks: list[IPNetwork] = []
    problems: list[Problem] = []
    for i, entry in enumerate(entries):
        try:
            network = ipaddress.ip_network(entry, strict=False)
        except ValueError:
            problems.append(Problem(f"allow[{i}]", repr(entry), "an IP address or network such as 192.0.2.10"))
            continue
        least = 16 if network.version == 4 else 48
        if network.prefixlen < least:
            problems.append(Problem(f"allow[{i}]", repr(entry), f"a network of /{least} or narrower"))
        networks.append(network)
    if problems:
        raise PlanError(problems)
    return networks


def is_listed(address: IPAddress, allow: Iterable[IPNetwork]) -> bool:
    """Return whether an entry of `allow` covers the address."""
    return any(address.version == network.version and address in network for network in allow)


def resolve(host: str, port: int) -> list[str]:
    """Return every address that the name stands for now. Raises SafetyError where it stands for none."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise SafetyError(f"{host}: stands for no address ({error.strerror or error}); nothing was sent") from error
    return sorted({str(info[4][0]) for info in found})


def fetch_challenge(ip: str, port: int, host: str, tls: bool) -> str:
    """Return what `ip` answers at CHALLENGE_PATH, following no redirect. Raises OSError where it answers otherwise."""
    connection: http.client.HTTPConnection
    if tls:
        context = ssl.create_default_context()
        connection = http.client.HTTPSConnection(host, port, timeout=_TIMEOUT_S, context=context)
        raw = socket.create_connection((ip, port), timeout=_TIMEOUT_S)
        connection.sock = context.wrap_socket(raw, server_hostname=host)
    else:
        connection = http.client.HTTPConnection(ip, port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", CHALLENGE_PATH, headers={"Host": host})
        answer = connection.getresponse()
        if answer.status != http.client.OK:
            raise OSError(f"status {answer.status}")
        return answer.read(_MOST_BYTES).decode("utf-8", "replace")
    except http.client.HTTPException as error:
        raise OSError(type(error).__name__) from error
    finally:
        connection.close()


def prove_ownership(target: Target, *, resolve: Resolve = resolve, fetch: Fetch = fetch_challenge) -> Vet:
    """Return a function that vets every address to connect to; it raises SafetyError for one that is not proven.

    Every address that the target's name stands for is proven now. Raises SafetyError before anything is sent to an
    address that is neither loopback nor listed, and before any load where the challenge is not answered.
    """
    parts = urlsplit(target.address)
    host, tls = parts.hostname or "", parts.scheme == "https"
    port = parts.port or (443 if tls else 80)
    allow = parse_allow(target.allow)
    proven: set[IPAddress] = set()
    for text in resolve(host, port):
        address = parse_ip(text)
        if is_loopback(address):
            continue
        _refuse_unlisted(host, address, allow)
        _challenge(target, address, port, host, tls, fetch)
        proven.add(address)

    def vet(ip: str) -> None:
        address = parse_ip(ip)
        if is_loopback(address) or address in proven:
            return
        _refuse_unlisted(host, address, allow)
        raise SafetyError(
            f"{host}: now stands for {address}, which has not answered the challenge; start the run again to prove it"
        )

    return vet


def _refuse_unlisted(host: str, address: IPAddress, allow: list[IPNetwork]) -> None:
    if address.is_unspecified or address.is_multicast or not is_listed(address, allow):
        raise SafetyError(
            f"{host}: got the address {address}, expected loopback (127.0.0.0/8 or ::1); "
            f"to load a system of your own, list it under `allow` and let it answer {CHALLENGE_PATH}: docs/target.md"
        )


def _challenge(target: Target, address: IPAddress, port: int, host: str, tls: bool, fetch: Fetch) -> None:
    if target.ownership is None:
        raise SafetyError(
            f"{host}: {address} is listed under `allow`, but `ownership.token` is not set: docs/target.md"
        )
    try:
        told = fetch(str(address), port, host, tls)
    except OSError as error:
        raise SafetyError(f"{host}: {address} did not answer {CHALLENGE_PATH} ({error}); no load was sent") from error
    expected = target.ownership.token.get_secret_value().encode()
    if not expected or not secrets.compare_digest(told.strip().encode(), expected):
        raise SafetyError(f"{host}: {address} answered {CHALLENGE_PATH} with another token; no load was sent")

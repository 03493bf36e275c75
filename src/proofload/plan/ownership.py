"""Who may be loaded: loopback always; any other address only when it is listed *and* shows the owner's token.

The check is made after DNS resolution and again by the engine for every address that it connects to.
"""

from __future__ import annotations

import http.client
import io
import secrets
import socket
import ssl
from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast
from urllib.parse import urlsplit

from proofload.core.clock import SystemClock
from proofload.core.errors import PlanError, Problem, SafetyError, TargetError
from proofload.core.text import visible
from proofload.core.units import NS_PER_SECOND
from proofload.plan.addresses import IPAddress, IPNetwork, is_listed, is_loopback, parse_ip, parse_network
from proofload.plan.faults import ProxyFault, ToxiproxyFault
from proofload.plan.target import Target, Tls

CHALLENGE_PATH = "/.well-known/proofload.txt"
_TIMEOUT_S = 5.0
_MOST_BYTES = 16_384

Vet = Callable[[str], None]
Resolve = Callable[[str, int], Iterable[str]]
Fetch = Callable[[str, int, str, ssl.SSLContext | None], str]
"""(ip, port, host, TLS context or None) to the text at CHALLENGE_PATH. Raises OSError where there is none."""


def parse_allow(entries: Iterable[str]) -> list[IPNetwork]:
    """Return the networks that `allow` lists. Raises PlanError with every entry that is no narrow network."""
    networks: list[IPNetwork] = []
    problems: list[Problem] = []
    for i, entry in enumerate(entries):
        try:
            networks.append(parse_network(entry))
        except ValueError as error:
            problems.append(Problem(f"allow[{i}]", repr(visible(entry, 80)), str(error), "see docs/target.md"))
    if problems:
        raise PlanError(problems)
    return networks


def resolve(host: str, port: int) -> list[str]:
    """Return every address that the name stands for now. Raises TargetError where it stands for none."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or type(error).__name__
        raise TargetError(
            f"{host}: got no address for this name ({why}), expected one; nothing was sent; "
            "is `address` right, and does name resolution work here?"
        ) from error
    return sorted({str(info[4][0]) for info in found})


def fetch_challenge(ip: str, port: int, host: str, tls: ssl.SSLContext | None) -> str:
    """Return what `ip` answers at CHALLENGE_PATH within five seconds in all, following no redirect.

    Raises OSError where it answers anything but 200 with a short body.
    """
    clock = SystemClock()
    deadline_ns = clock.now_ns() + int(_TIMEOUT_S * NS_PER_SECOND)
    name = f"[{host}]" if ":" in host else host
    request = f"GET {CHALLENGE_PATH} HTTP/1.1\r\nHost: {name}:{port}\r\nConnection: close\r\n\r\n"
    with socket.create_connection((ip, port), timeout=_TIMEOUT_S) as raw:
        connection = tls.wrap_socket(raw, server_hostname=host) if tls else raw
        with connection:
            connection.sendall(request.encode("ascii"))
            received = b""
            # One deadline for the whole answer: who sends a byte a second does not hold us.
            while len(received) <= _MOST_BYTES and (left_ns := deadline_ns - clock.now_ns()) > 0:
                connection.settimeout(left_ns / NS_PER_SECOND)
                part = connection.recv(4_096)
                if not part:
                    return _body(received)
                received += part
    raise OSError("the answer has no end" if len(received) > _MOST_BYTES else "timed out")


def _body(received: bytes) -> str:
    answer = http.client.HTTPResponse(cast("Any", _Received(received)), method="GET")
    try:
        answer.begin()
        if answer.status != http.client.OK:
            raise OSError(f"status {answer.status}")
        return answer.read().decode("utf-8", "replace")
    except (http.client.HTTPException, ValueError) as error:
        raise OSError(f"no HTTP answer: {type(error).__name__}") from error


class _Received:
    """As much of a socket as reading an answer needs that has already arrived."""

    def __init__(self, received: bytes) -> None:
        self._received = received

    def makefile(self, _mode: str) -> io.BytesIO:
        return io.BytesIO(self._received)


def prove_ownership(target: Target, *, resolve: Resolve = resolve, fetch: Fetch = fetch_challenge) -> Vet:
    """Return a function that vets every address to connect to; it raises SafetyError for one that is not proven.

    Every address that the target's name stands for is proven now. Raises SafetyError before anything is sent to an
    address that is neither loopback nor listed, and before any load where the challenge is not answered. What is read
    or steered beside the target, such as a metrics page, has to be loopback or listed too.
    """
    parts = urlsplit(target.address)
    host, is_tls = parts.hostname or "", parts.scheme == "https"
    port = parts.port or (443 if is_tls else 80)
    allow = parse_allow(target.allow)
    tls = _context(target.tls or Tls()) if is_tls else None
    for place, url in _beside(target):
        _check_beside(place, url, allow, resolve)
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


def _beside(target: Target) -> Iterator[tuple[str, str]]:
    """Return every URL that is not loaded but asked, with the key where it stands."""
    for name, service in target.services.items():
        yield f"services.{name}.health", service.health or ""
        yield f"services.{name}.metrics", service.metrics or ""
    metrics, audit = target.policies.metrics, target.policies.audit
    if metrics is not None:
        yield "policies.metrics.url", metrics.url or ""
        yield "policies.metrics.prometheus", metrics.prometheus or ""
    if audit is not None:
        yield "policies.audit.loki", audit.loki or ""
    for name, fault in target.faults.items():
        if isinstance(fault, ProxyFault):
            yield f"faults.{name}.control", fault.control
        elif isinstance(fault, ToxiproxyFault):
            yield f"faults.{name}.api", fault.api


def _check_beside(place: str, url: str, allow: list[IPNetwork], resolve: Resolve) -> None:
    parts = urlsplit(url)
    if not parts.hostname:
        return
    for text in resolve(parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)):
        address = parse_ip(text)
        if not is_loopback(address) and not is_listed(address, allow):
            raise SafetyError(
                f"{place}: got the address {address}, expected loopback (127.0.0.0/8 or ::1) or an address that "
                "`allow` lists: docs/target.md"
            )


def _context(tls: Tls) -> ssl.SSLContext:
    """Return how certificates are checked. Raises PlanError for a file that is no certificate."""
    try:
        context = ssl.create_default_context(cafile=tls.ca)
        if not tls.verify:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if tls.certificate is not None:
            context.load_cert_chain(tls.certificate, tls.key)
    except (OSError, ValueError) as error:
        files = ", ".join(one for one in (tls.ca, tls.certificate, tls.key) if one)
        why = getattr(error, "strerror", None) or type(error).__name__
        raise PlanError([Problem("tls", f"{files} ({why})", "PEM files to read", "see docs/target.md")]) from error
    return context


def _refuse_unlisted(host: str, address: IPAddress, allow: list[IPNetwork]) -> None:
    if not is_listed(address, allow):
        raise SafetyError(
            f"{host}: got the address {address}, expected loopback (127.0.0.0/8 or ::1); "
            f"to load a system of your own, list it under `allow` and let it answer {CHALLENGE_PATH}: docs/target.md"
        )


def _challenge(
    target: Target, address: IPAddress, port: int, host: str, tls: ssl.SSLContext | None, fetch: Fetch
) -> None:
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

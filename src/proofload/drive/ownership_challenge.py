"""Resolves a target's name and has every address behind it prove that its owner allows load, before any is sent.

The check is made after DNS resolution and again by the engine for every address that it connects to. The rules are
those of `plan/ownership.py`.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
from collections.abc import Callable, Iterable
from typing import Any, cast
from urllib.parse import urlsplit

from proofload.core.clock import SystemClock
from proofload.core.errors import PlanError, Problem, SafetyError, TargetError
from proofload.core.units import NS_PER_SECOND
from proofload.plan.addresses import IPAddress, is_loopback, parse_ip
from proofload.plan.ownership import (
    CHALLENGE_PATH,
    Vet,
    check_answer,
    owners_token,
    parse_allow,
    refuse_unlisted,
    refuse_unlisted_beside,
    urls_beside,
    vet_proven,
)
from proofload.plan.target import Target, Tls

_TIMEOUT_S = 5.0
_MOST_BYTES = 16_384

Resolve = Callable[[str, int], Iterable[str]]
Fetch = Callable[[str, int, str, ssl.SSLContext | None], str]
"""(ip, port, host, TLS context or None) to the text at CHALLENGE_PATH. Raises OSError where there is none."""


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
    for place, url in urls_beside(target):
        for text in _resolve_url(url, resolve):
            refuse_unlisted_beside(place, parse_ip(text), allow)
    proven: set[IPAddress] = set()
    for text in resolve(host, port):
        address = parse_ip(text)
        if is_loopback(address):
            continue
        refuse_unlisted(host, address, allow)
        _challenge(target, address, port, host, tls, fetch)
        proven.add(address)
    return vet_proven(host, allow, proven)


def _resolve_url(url: str, resolve: Resolve) -> Iterable[str]:
    parts = urlsplit(url)
    return resolve(parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)) if parts.hostname else ()


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


def _challenge(
    target: Target, address: IPAddress, port: int, host: str, tls: ssl.SSLContext | None, fetch: Fetch
) -> None:
    token = owners_token(target, host, address)
    try:
        told = fetch(str(address), port, host, tls)
    except OSError as error:
        raise SafetyError(f"{host}: {address} did not answer {CHALLENGE_PATH} ({error}); no load was sent") from error
    check_answer(told, token, host, address)

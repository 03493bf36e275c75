"""Looks for secrets by their digests, so that what is kept of a run never holds the secrets themselves."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import quote, quote_plus

from proofload.record.ledger import AuditEntry

LEAST_SECRET = 6
"""A shorter text is found in too many others."""


def forms_of(secret: str) -> set[str]:
    """Return the secret in every form in which a log may hold it: plain, in a URL, in JSON, in Base64."""
    if len(secret) < LEAST_SECRET:
        return set()
    coded = base64.b64encode(secret.encode()).decode().rstrip("=")
    return {secret, quote(secret, safe=""), quote_plus(secret), json.dumps(secret)[1:-1], coded}


def digests_of(secrets: Iterable[str]) -> tuple[str, ...]:
    """Return `bytes:mark:sha256` for each form of each secret, in order: to be made while the secrets are known.

    The mark is twelve bits of a checksum of the first bytes, so that few places of a long log need the digest made.

    >>> [digest[:14] for digest in digests_of(["hunter22"])]
    ['11:e81:882885b', '8:c65:20d2fe5e']
    """
    found = {form.encode() for secret in secrets for form in forms_of(secret)}
    return tuple(sorted(f"{len(form)}:{_mark(form):03x}:{hashlib.sha256(form).hexdigest()}" for form in found))


def secrets_in(entries: Sequence[AuditEntry], digests: Iterable[str]) -> list[AuditEntry]:
    """Return the entries that hold, anywhere in their text, what one of the digests was made of."""
    return [entry for entry, _ in found_secrets(entries, digests)]


def found_secrets(entries: Sequence[AuditEntry], digests: Iterable[str]) -> list[tuple[AuditEntry, str]]:
    """Return the entries that hold such a secret, each with its text with all of them blanked."""
    by_mark: dict[int, list[tuple[int, str]]] = defaultdict(list)
    for one in digests:
        size, mark, digest = one.split(":", 2)
        by_mark[int(mark, 16)].append((int(size), digest))
    found = []
    for entry in entries if by_mark else ():
        data = entry.text.encode("utf-8", "surrogatepass")
        if blanked := _blanked(data, by_mark):
            found.append((entry, blanked.decode("utf-8", "replace")))
    return found


def _blanked(data: bytes, by_mark: Mapping[int, Sequence[tuple[int, str]]]) -> bytes:
    """Return a text with its secrets blanked, or nothing where it holds none."""
    kept: list[bytes] = []
    begun = 0
    for place in range(len(data) - LEAST_SECRET + 1):
        if place < begun or (some := by_mark.get(_mark(data[place : place + LEAST_SECRET]))) is None:
            continue
        sizes = [n for n, digest in some if hashlib.sha256(data[place : place + n]).hexdigest() == digest]
        if sizes:
            kept += [data[begun:place], "«secret»".encode()]
            begun = place + max(sizes)
    return b"".join([*kept, data[begun:]]) if kept else b""


def _mark(data: bytes) -> int:
    return zlib.crc32(data[:LEAST_SECRET]) & 0xFFF

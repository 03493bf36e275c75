"""Looks for secrets by their digests, so that what is kept of a run never holds the secrets themselves."""

from __future__ import annotations

import base64
import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
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
    """Return `length:sha256` for each form of each secret, in order: to be made while the secrets are known.

    >>> [digest[:10] for digest in digests_of(["hunter22"])]
    ['11:882885b', '8:20d2fe5e']
    """
    found = {form for secret in secrets for form in forms_of(secret)}
    return tuple(sorted(f"{len(form)}:{_digest(form)}" for form in found))


def secrets_in(entries: Sequence[AuditEntry], digests: Iterable[str]) -> list[AuditEntry]:
    """Return the entries that hold, anywhere in their text, what one of the digests was made of."""
    return [entry for entry, _ in found_secrets(entries, digests)]


def found_secrets(entries: Sequence[AuditEntry], digests: Iterable[str]) -> list[tuple[AuditEntry, str]]:
    """Return the entries that hold such a secret, each with its text with all of them blanked."""
    by_length: dict[int, set[str]] = defaultdict(set)
    for one in digests:
        size, _, digest = one.partition(":")
        if size.isdecimal() and int(size) >= LEAST_SECRET:
            by_length[int(size)].add(digest)
    found = []
    for entry in entries:
        blanked = entry.text
        for length in sorted(by_length, reverse=True):
            blanked = _blanked(blanked, length, by_length[length])
        if blanked != entry.text:
            found.append((entry, blanked))
    return found


def _blanked(text: str, length: int, digests: set[str]) -> str:
    kept: list[str] = []
    place = begun = 0
    while place + length <= len(text):
        if _digest(text[place : place + length]) in digests:
            kept += [text[begun:place], "«secret»"]
            place += length
            begun = place
        else:
            place += 1
    return "".join([*kept, text[begun:]])


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

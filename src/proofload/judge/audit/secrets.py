"""Looks for secrets by their digests, so that what is kept of a run never holds the secrets themselves."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache
from urllib.parse import quote, quote_plus

import numpy as np
from numpy.typing import NDArray

from proofload.record.ledger import AuditEntry

LEAST_SECRET = 6
"""A shorter text is found in too many others."""
_MARK = 0xFFF
_CHUNK_BYTES = 4 << 20


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
    found: list[tuple[AuditEntry, str]] = []
    for some in _in_chunks(entries) if by_mark else ():
        places = _places([data for _, data in some], by_mark.keys())
        for number, (entry, data) in enumerate(some):
            if number in places and (blanked := _blanked(data, places[number], by_mark)):
                found.append((entry, blanked.decode("utf-8", "replace")))
    return found


def _in_chunks(entries: Sequence[AuditEntry]) -> Iterator[list[tuple[AuditEntry, bytes]]]:
    """Yield the entries with their texts as bytes, some megabytes at a time."""
    some: list[tuple[AuditEntry, bytes]] = []
    size = 0
    for entry in entries:
        data = entry.text.encode("utf-8", "surrogatepass")
        some.append((entry, data))
        size += len(data)
        if size > _CHUNK_BYTES:
            yield some
            some, size = [], 0
    yield some


def _places(texts: Sequence[bytes], marks: Collection[int]) -> dict[int, list[int]]:
    """Return for each text, by its number, at which places in it a secret may begin: those with the mark of one."""
    begins = np.cumsum([0, *(len(text) for text in texts)])
    data = np.frombuffer(b"".join(texts), dtype=np.uint8)
    count = len(data) - LEAST_SECRET + 1
    if count <= 0:
        return {}
    # A checksum is the exclusive or of what each byte adds to it at its place, so all places are worked out at once.
    found = np.full(count, zlib.crc32(bytes(LEAST_SECRET)) & _MARK, dtype=np.uint16)
    for place, table in enumerate(_tables()):
        found ^= table[data[place : place + count]]
    likely = np.zeros(_MARK + 1, dtype=np.bool_)
    likely[list(marks)] = True
    at = np.flatnonzero(likely[found])
    numbers = np.searchsorted(begins, at, side="right") - 1
    places: dict[int, list[int]] = defaultdict(list)
    for number, place in zip(numbers.tolist(), (at - begins[numbers]).tolist(), strict=True):
        places[number].append(place)
    return places


@cache
def _tables() -> tuple[NDArray[np.uint16], ...]:
    """Return what each value of a byte adds to the mark, by the place of the byte."""
    zero = zlib.crc32(bytes(LEAST_SECRET))
    return tuple(
        np.array(
            [
                (zlib.crc32(bytes(place) + bytes([value]) + bytes(LEAST_SECRET - place - 1)) ^ zero) & _MARK
                for value in range(256)
            ],
            dtype=np.uint16,
        )
        for place in range(LEAST_SECRET)
    )


def _blanked(data: bytes, places: Iterable[int], by_mark: Mapping[int, Sequence[tuple[int, str]]]) -> bytes:
    """Return a text with its secrets blanked, or nothing where it holds none."""
    kept: list[bytes] = []
    begun = 0
    for place in places:
        if place < begun:
            continue
        known = by_mark.get(_mark(data[place : place + LEAST_SECRET]), ())
        sizes = [n for n, digest in known if hashlib.sha256(data[place : place + n]).hexdigest() == digest]
        if sizes:
            kept += [data[begun:place], "«secret»".encode()]
            begun = place + max(sizes)
    return b"".join([*kept, data[begun:]]) if kept else b""


def _mark(data: bytes) -> int:
    return zlib.crc32(data[:LEAST_SECRET]) & _MARK

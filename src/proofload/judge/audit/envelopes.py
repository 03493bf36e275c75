"""Takes the lines of a log out of the envelopes of Docker, Kubernetes and journald, and strips colours."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from proofload.judge.audit.fields import named
from proofload.judge.audit.formats import Fields, json_object, parse
from proofload.plan.policies import AuditPolicy
from proofload.record.ledger import AuditEntry, value_at

_CRI = re.compile(r"\d{4}-\d\d-\d\dT\S+ (?:stdout|stderr) ([FP])(?::\S*)? ?(.*)", re.DOTALL)
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_INNER = ("log", "message", "MESSAGE", "msg", "line", "log_processed")
"""Where an envelope of JSON keeps the line."""
_BOM = ("\ufeff", "\\xef\\xbb\\xbf", "ï»¿")


def decode(policy: AuditPolicy, entries: Sequence[AuditEntry]) -> tuple[AuditEntry, ...]:
    """Return the entries as the target wrote them, without envelopes and blank lines, with the fields of each.

    Lines that a container's log has cut are put together again. A line that is in no known form keeps its text.
    """
    coloured = _coloured(entries)
    event = named(policy, "event")
    decoded: list[AuditEntry] = []
    begun: dict[str, str] = {}
    for entry in entries:
        if entry.source not in coloured and not begun.get(entry.source) and _is_plain(policy, entry, event):
            # A copy: matching tells entries apart by identity, and a reader may hand out one line twice.
            decoded.append(AuditEntry(entry.source, entry.line, entry.text, entry.fields, entry.read_ns))
            continue
        text = _plain(entry.text, colours=entry.source in coloured)
        inner, whole = unwrap(policy, text)
        inner = begun.pop(entry.source, "") + inner
        if not whole:
            begun[entry.source] = inner
            continue
        inner = _plain(inner, colours=entry.source in coloured)
        if not inner.strip():
            continue
        fields = entry.fields if inner == entry.text and policy.format == "json" else None
        fields = parse(policy, inner) if fields is None else fields
        decoded.append(replace(entry, text=inner, fields=_merged(policy, fields) if fields is not None else None))
    return tuple(decoded)


def unwrap(policy: AuditPolicy, text: str) -> tuple[str, bool]:
    r"""Return the line inside an envelope, or the line itself, and whether it goes to its end.

    >>> unwrap(AuditPolicy(), '{"log":"{\\"event\\":1}\\n","stream":"stdout"}')
    ('{"event":1}', True)
    >>> unwrap(AuditPolicy(), '2026-01-01T00:00:00Z stdout P {"ev')
    ('{"ev', False)
    """
    if found := _CRI.fullmatch(text):
        return found[2], found[1] == "F"
    outer = json_object(text)
    if outer is None or value_at(outer, named(policy, "event")) is not None:
        return text, True
    for name in _INNER:
        inner = _bytes_as_text(outer.get(name))
        if isinstance(inner, str) and _is_a_line(policy, inner):
            cut = name == "log" and "stream" in outer and not inner.endswith("\n")
            return inner.removesuffix("\n").removesuffix("\r"), not cut
    return text, True


def _is_a_line(policy: AuditPolicy, inner: str) -> bool:
    """Return whether an envelope's text may be a line of the log, and no message of an entry that lacks an event."""
    if policy.format != "json":
        return parse(policy, inner) is not None
    return True if inner.endswith("\n") else json_object(inner) is not None or inner.lstrip().startswith("{")


def _merged(policy: AuditPolicy, fields: Fields) -> Fields:
    """Return the fields of a line; a collector may have read the JSON already, and put it below a key of its own."""
    event = named(policy, "event")
    if value_at(fields, event) is None:
        for name in _INNER:
            inner = fields.get(name)
            if isinstance(inner, Mapping) and value_at(inner, event) is not None:
                return inner
    return fields


def _bytes_as_text(value: object) -> object:
    # journald writes what is no printable UTF-8 as a list of bytes.
    if isinstance(value, list) and value and all(isinstance(one, int) and 0 <= one < 256 for one in value):
        return bytes(value).decode("utf-8", "backslashreplace")
    return value


def _is_plain(policy: AuditPolicy, entry: AuditEntry, event: str) -> bool:
    """Return whether a line is the JSON object of an entry as it stands, as most are: nothing need be taken off."""
    return policy.format == "json" and value_at(entry.fields, event) is not None and entry.text[:1] == "{"


def _coloured(entries: Sequence[AuditEntry]) -> set[str]:
    lines: Counter[str] = Counter()
    marked: Counter[str] = Counter()
    for entry in entries:
        lines[entry.source] += bool(entry.text.strip())
        marked[entry.source] += "\x1b[" in entry.text or "\\u001b[" in entry.text
    return {source for source, count in marked.items() if 2 * count > lines[source]}


def _plain(text: str, *, colours: bool) -> str:
    # Colours of a logger are in most lines; in one line of many they are what a client sent, and are kept.
    for mark in _BOM:
        text = text.removeprefix(mark)
    return _ANSI.sub("", text) if colours else text

"""Reads one line of a log in the format that the target declares: JSON, logfmt, RFC 5424, or text by a pattern."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache

from proofload.plan.policies import AuditPolicy

Fields = Mapping[str, object]

_PAIR = re.compile(r'([^\s="]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s"]*))(?=\s|$)')
_ESCAPED = re.compile(r"\\(.)")
_SYSLOG = re.compile(
    r"<(?P<priority>\d{1,3})>(?P<version>\d{1,2}) (?P<timestamp>\S+) (?P<hostname>\S+) (?P<app_name>\S+) "
    r"(?P<procid>\S+) (?P<msgid>\S+) (?P<data>-|(?:\[(?:[^\]\"\\]|\"(?:[^\"\\]|\\.)*\"|\\.)*\])+)(?: (?P<message>.*))?",
    re.DOTALL,
)
_ELEMENT = re.compile(r'\[([^\s\]=]+)((?:\s+[^\s=\]]+="(?:[^"\\]|\\.)*")*)\s*\]')
_PREFIX = re.compile(r'[^"{}]*(?=\{)')


def parse(policy: AuditPolicy, text: str) -> Fields | None:
    """Return the fields of a line, or None where it is not in the declared format."""
    if policy.format == "logfmt":
        return logfmt(text)
    if policy.format == "rfc5424":
        return syslog(text)
    if policy.format == "text":
        found = _compiled(policy.pattern or "").search(text)
        return {name: value for name, value in found.groupdict().items() if value is not None} if found else None
    return json_object(text)


def json_object(text: str) -> Fields | None:
    """Return the one JSON object of a line: with a prefix without quotes before it, or the comma of a list after it.

    >>> json_object('auth-1  | {"a": 1}'), json_object('{"a": 1},'), json_object('{"a": {"a": 1}'), json_object("[1]")
    ({'a': 1}, {'a': 1}, None, None)
    """
    bare = text.strip()
    if not bare.startswith("{") and (prefix := _PREFIX.match(bare)):
        bare = bare[prefix.end() :]
    try:
        value = json.loads(bare.removesuffix(","))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def logfmt(text: str) -> Fields | None:
    r"""Return the pairs of a logfmt line, or None for a line without two of them.

    >>> logfmt('time=2 event=login user="a \\"b\\"" note=')
    {'time': '2', 'event': 'login', 'user': 'a "b"', 'note': ''}
    >>> logfmt("Server is listening on port=80")
    """
    pairs: dict[str, object] = {}
    for name, quoted, plain in _PAIR.findall(text):
        pairs[name] = _ESCAPED.sub(_unescaped, quoted) if quoted else plain
    return pairs if len(pairs) >= 2 else None


def syslog(text: str) -> Fields | None:
    """Return the header, the structured data and the message of an RFC 5424 line, all side by side.

    A parameter is found by its own name, and as `element.name`; a message that is JSON, or logfmt, is taken apart.

    >>> syslog('<34>1 2026-01-01T00:00:00Z gw auth 7 login [meta@1 user="a" ip="::1"] {"event": "x"}')["event"]
    'x'
    """
    found = _SYSLOG.fullmatch(text.strip().lstrip("\ufeff"))
    if found is None:
        return None
    header = {name: value for name, value in found.groupdict("").items() if value not in ("", "-") and name != "data"}
    data: dict[str, object] = {}
    for element, inside in _ELEMENT.findall(found["data"]):
        pairs = {name: _ESCAPED.sub(_unescaped, quoted or plain) for name, quoted, plain in _PAIR.findall(inside)}
        data.update(pairs)
        data[element] = pairs
    message = (found["message"] or "").lstrip("\ufeff")
    within = json_object(message) or logfmt(message) or {}
    return {"time": found["timestamp"], "event": found["msgid"], **header, **data, **within}


@lru_cache(maxsize=16)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def _unescaped(found: re.Match[str]) -> str:
    return {"n": "\n", "r": "\r", "t": "\t"}.get(found[1], found[1])

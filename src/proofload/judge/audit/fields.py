"""Reads what an entry holds in a field, by our names: as a text, an address or an instant, whatever the spelling."""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache

from proofload.core.units import NS_PER_SECOND
from proofload.plan.policies import AuditPolicy
from proofload.record.ledger import AuditEntry

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NUMBER = re.compile(r"\d+(?:\.\d+)?(?:[eE]\+?\d+)?")
_COMMA = re.compile(r"(?<=:\d\d),(?=\d)")
_COMMON_LOG = "%d/%b/%Y:%H:%M:%S %z"
_MOST_SECONDS = 10**11
_NOTHING = frozenset({"", "-"})


def named(policy: AuditPolicy, what: str) -> str:
    """Return what the target calls a field."""
    return policy.fields.get(what, what)


def text_of(policy: AuditPolicy, entry: AuditEntry, what: str) -> str:
    """Return what an entry holds in a field, as a text; empty for nothing, and for the `-` of logs."""
    path, fields = policy.fields.get(what, what), entry.fields
    # Asked for each field of each entry by several rules; most entries are flat, and hold texts.
    value = fields.get(path) if type(fields) is dict else None
    return as_text(value if type(value) is str else entry.value(path))


def as_text(value: object) -> str:
    """Return a value of a field as a text; a list of one is that one.

    >>> [as_text(value) for value in ("a", 7, None, "-", ["a"], 7.0, False)]
    ['a', '7', '', '', 'a', '7', 'False']
    """
    if isinstance(value, str):
        text = value.strip()
        return "" if text in _NOTHING else text
    if value is None:
        return ""
    if isinstance(value, list | tuple) and len(value) == 1:
        return as_text(value[0])
    text = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()
    return "" if text in _NOTHING else text


def parse_address(value: object) -> Address | None:
    """Return an address as one value, however it is written: with a port, in brackets, mapped, the first of a list.

    >>> [str(parse_address(text)) for text in ("::ffff:127.0.0.1", "127.0.0.1:5432", "[::1]:80", "10.0.0.1, 10.0.0.2")]
    ['127.0.0.1', '127.0.0.1', '::1', '10.0.0.1']
    >>> parse_address("0:0:0:0:0:0:0:1") == parse_address("::1"), parse_address("localhost")
    (True, None)
    """
    return _address(as_text(value))


@lru_cache(maxsize=4096)
def _address(text: str) -> Address | None:
    text = text.split(",", 1)[0].strip().strip("\"'")
    text = re.sub(r"^for=", "", text, flags=re.IGNORECASE).split(";", 1)[0].strip("\"'")
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    text = text.removeprefix("/").partition("%")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def parse_time_ns(value: object) -> int | None:
    """Return a time in nanoseconds since the epoch: ISO 8601 (UTC where no zone is given), or a number by its size.

    >>> parse_time_ns("1970-01-01T00:00:02Z"), parse_time_ns(2), parse_time_ns("2000000000000"), parse_time_ns("x")
    (2000000000, 2000000000, 2000000000000000000, None)
    >>> parse_time_ns("01/Jan/1970:00:00:02 +0000") == parse_time_ns("1970-01-01 01:00:02,000+01:00") == 2_000_000_000
    True
    """
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float):
        return _epoch_ns(value)
    return _parsed_ns(as_text(value).strip("[]\"'"))


# Several rules ask for the time of the same entry, one after the other.
@lru_cache(maxsize=1 << 16)
def _parsed_ns(text: str) -> int | None:
    if _NUMBER.fullmatch(text):
        return _epoch_ns(float(text) if not text.isdigit() else int(text[:30]))
    moment = _moment(text)
    if moment is None:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) * 1_000


def _epoch_ns(value: int | float) -> int | None:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    # Seconds, milliseconds, microseconds or nanoseconds: in this century the size alone tells.
    for unit_ns, below in ((NS_PER_SECOND, _MOST_SECONDS), (1_000_000, 10**14), (1_000, 10**17)):
        if value < below:
            return round(value * unit_ns)
    return round(value)


def _moment(text: str) -> datetime | None:
    readers: tuple[Callable[[], datetime], ...] = (
        lambda: datetime.fromisoformat(_COMMA.sub(".", text.removesuffix(" UTC"))),
        lambda: datetime.strptime(text, _COMMON_LOG),
        lambda: parsedate_to_datetime(text),
    )
    for read in readers:
        try:
            return read()
        except (ValueError, TypeError, OverflowError):
            continue
    return None

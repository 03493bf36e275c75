"""What was counted, by whom: readings of counters and entries of audit logs, as read and not yet judged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Sample:
    """One series at one instant: `name{labels} value`, raw, never a rate."""

    name: str
    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class Reading:
    """What one source of counters said. The values held at some instant inside [asked_ns, answered_ns]."""

    source: str
    label: str
    """What the reading was taken for, such as `TC-MON-001/before`."""
    asked_ns: int
    answered_ns: int
    samples: tuple[Sample, ...]
    error: str = ""
    """Why nothing could be read; the samples are then empty."""

    def of(self, name: str, labels: Mapping[str, str]) -> Iterator[Sample]:
        """Return the series of a name that bear these labels, whatever else they bear."""
        for sample in self.samples:
            if sample.name == name and all(sample.labels.get(label) == value for label, value in labels.items()):
                yield sample

    def total(self, name: str, labels: Mapping[str, str]) -> float:
        """Return the sum over those series: of several workers, routes or codes; 0 where there is none."""
        return sum(sample.value for sample in self.of(name, labels))


def value_at(fields: object, path: str) -> object:
    """Return the value at `path`: a key as it stands, or names and places in lists joined by dots; None for nothing.

    A dot may also be part of a key, at any depth.

    >>> fields = {"event": {"action": "in"}, "http.request": {"id": "r1"}, "ips": ["::1"], "a.b": None, "a": {"b": 2}}
    >>> [value_at(fields, path) for path in ("event.action", "http.request.id", "ips.0", "a.b", "event.kind", "ips.x")]
    ['in', 'r1', '::1', 2, None, None]
    """
    # A dict first, by its exact type: to ask whether something is a Mapping takes ten times as long, for every field.
    if type(fields) is dict or isinstance(fields, Mapping):
        if (whole := fields.get(path)) is not None or "." not in path:
            return whole
        parts = path.split(".")
        for cut in range(len(parts) - 1, 0, -1):
            inner = fields.get(".".join(parts[:cut]))
            if inner is not None and (found := value_at(inner, ".".join(parts[cut:]))) is not None:
                return found
    elif isinstance(fields, Sequence) and not isinstance(fields, str):
        first, _, rest = path.partition(".")
        if first.isdecimal() and len(first) < 6 and int(first) < len(fields):
            return value_at(fields[int(first)], rest) if rest else fields[int(first)]
    return None


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One line of an audit log, as found."""

    source: str
    """The file or stream that it stood in."""
    line: int
    """Its place in that source, from 1."""
    text: str
    """The line as it stood, without its end."""
    fields: Mapping[str, object] | None
    """The JSON object that the line holds, or None where it holds none."""
    read_ns: int
    """When it was read; it was written before that."""

    def value(self, path: str) -> object:
        """Return what the line holds in a field, which may be nested; None for nothing."""
        return value_at(self.fields, path)


@dataclass(frozen=True, slots=True)
class Ledgers:
    """Everything read from the target's own books in a run."""

    readings: tuple[Reading, ...] = ()
    audit: tuple[AuditEntry, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    """What else was learnt, by name, such as `audit.error` where the log could not be read."""
    aggregated: tuple[AuditEntry, ...] = ()
    """The copy of the audit log that a log server holds, where the log itself was read from its files."""

    def reading(self, label: str, source: str | None = None) -> Reading | None:
        """Return the first reading taken for `label`, from `source` where one is named."""
        for reading in self.readings:
            if reading.label == label and source in (None, reading.source):
                return reading
        return None

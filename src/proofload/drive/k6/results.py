"""Reads the JSON lines or the CSV of `k6 run --out json|csv=FILE` into a history; what k6 does not tell stays untold.

k6 stamps a request when it ENDS, on the wall clock, and gives its parts as durations. So `done` is the stamp, and
`sent` is the earliest instant at which a byte can have left: the stamp less every part, the wait for a connection
included. The source address is empty, the user is 0, and `intended` is when the request was begun: k6 knows no more.
"""

from __future__ import annotations

import csv
import gzip
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import polars as pl

from proofload.core.clock import Anchor
from proofload.core.errors import PlanError, Problem
from proofload.core.units import NS_PER_SECOND
from proofload.drive.k6 import csv_points
from proofload.plan.operation import Operation
from proofload.plan.target import Target
from proofload.record.exchange import NEVER_NS, Ending, Fault
from proofload.record.history import CLOCK_COLUMN, SCHEMA, History

WORKLOAD = "k6"
DROPPED = "(iteration)"
"""The operation of a row that stands for an iteration that k6 dropped: which requests it held, nobody knows."""
_PARTS = ("http_req_duration", "http_req_blocked", "http_req_connecting", "http_req_tls_handshaking")
_WANTED = frozenset({"http_reqs", "dropped_iterations", *_PARTS})
_LEAST_DOUBT_NS = 1_000
"""Durations are floats of milliseconds, and two clocks' readings lie between a request's end and its stamp."""
_STAMP = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)")
_FIELD = re.compile(r"\\\$\\\{[^}]*\\\}")
_NEVER_LEFT = range(1100, 1200), range(1210, 1220), range(1300, 1400)
"""k6's error codes for names that have no address, connections that never came about, and certificates refused."""
_REMEDY = "make it with: k6 run --out json=results.json script.js"
_CUT_OFF = "the file ends in the middle of a line: k6 was stopped before it had written everything"


@dataclass(frozen=True, slots=True)
class K6Results:
    """One run of k6 in our words."""

    history: History
    paths: tuple[str, ...]
    """The path (with its query) that each row asked for; empty for dropped iterations."""
    anchor: Anchor
    elsewhere: int = 0
    """Requests to other hosts than the target, which are not among the rows."""
    doubts: tuple[str, ...] = ()
    """Why the file may not be the whole of what k6 sent."""


@dataclass(slots=True)
class K6Request:
    """What the points of one request say: when it ended (wall clock), its tags, and its parts in milliseconds."""

    at: int
    tags: Mapping[str, str]
    values_ms: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class _Read:
    requests: list[K6Request] = field(default_factory=list)
    dropped_at: list[int] = field(default_factory=list)
    doubt_ns: int = _LEAST_DOUBT_NS
    finest: int = 0
    doubts: list[str] = field(default_factory=list)


def read_results(path: Path, target: Target) -> K6Results:
    """Return what k6 sent to the target. Raises PlanError where the file holds no run of k6 that can be read."""
    read = _Read()
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
            _gather(read, lines, path)
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise PlanError([Problem(str(path), str(error), "the JSON lines of a k6 run", _REMEDY)]) from error
    if not read.requests and not read.dropped_at:
        raise PlanError([Problem(str(path), "no request", "points of http_reqs and http_req_duration", _REMEDY)])
    untold = sum("http_req_duration" not in one.values_ms for one in read.requests)
    if untold:
        read.doubts.append(f"{untold} requests have no http_req_duration, so when they were sent is not known")
    return _in_our_words(read, target)


def _gather(read: _Read, lines: Iterable[str], path: Path) -> None:
    current: K6Request | None = None
    for number, metric, data in _points(read, lines, path):
        try:
            stamp = str(data["time"])
            at = wall_ns(stamp)
            value = float(data["value"])
            tags = data.get("tags") or {}
        except (KeyError, TypeError, ValueError) as error:
            got = f"a point of {metric} without {error}"
            raise PlanError([Problem(f"{path}:{number}", got, "a point as k6 writes it", _REMEDY)]) from error
        if metric == "dropped_iterations":
            read.dropped_at += [at] * round(value)
            continue
        read.finest = max(read.finest, _digits(stamp))
        # The points of one request stand together, with one stamp and the same tags.
        if current is None or metric in current.values_ms or current.at != at or current.tags != tags:
            current = K6Request(at, tags)
            read.requests.append(current)
        current.values_ms[metric] = value
    read.doubt_ns = max(_LEAST_DOUBT_NS, 10 ** (9 - read.finest))


def _points(read: _Read, lines: Iterable[str], path: Path) -> Iterator[tuple[int, str, Mapping[str, Any]]]:
    whole = iter(lines)
    first = next(whole, "")
    lines = itertools.chain([first], whole)
    yield from _of_csv(read, lines, path) if first.startswith(csv_points.HEAD) else _of_json(read, lines, path)


def _of_csv(read: _Read, lines: Iterable[str], path: Path) -> Iterator[tuple[int, str, Mapping[str, Any]]]:
    torn = 0
    try:
        for number, metric, point in csv_points.points(lines):
            if torn:
                break
            torn = 0 if point is not None else number
            if point is not None and metric in _WANTED:
                yield number, metric, point
        else:
            read.doubts += [_CUT_OFF] if torn else []
            return
    except csv.Error as error:
        raise PlanError([Problem(str(path), str(error), "CSV as k6 writes it", _REMEDY)]) from error
    raise PlanError([Problem(f"{path}:{torn}", "too few or too many columns", "CSV as k6 writes it", _REMEDY)])


def _of_json(read: _Read, lines: Iterable[str], path: Path) -> Iterator[tuple[int, str, Mapping[str, Any]]]:
    broken: tuple[int, str] | None = None
    for number, line in enumerate(lines, 1):
        if broken is not None:
            raise PlanError([Problem(f"{path}:{broken[0]}", repr(broken[1][:60]), "a JSON object", _REMEDY)])
        if not line.strip():
            continue
        try:
            content = json.loads(line)
        except ValueError:
            # Only the last line may be cut off: k6 was killed while it wrote.
            broken = number, line
            continue
        if not isinstance(content, dict):
            raise PlanError([Problem(f"{path}:{number}", repr(line[:60]), "a JSON object", _REMEDY)])
        metric, data = content.get("metric"), content.get("data")
        if content.get("type") == "Point" and metric in _WANTED and isinstance(data, dict):
            yield number, str(metric), data
    if broken is not None:
        read.doubts.append(_CUT_OFF)


def _in_our_words(read: _Read, target: Target) -> K6Results:
    own = urlsplit(target.address)
    mine = [one for one in read.requests if _is_mine(own, target.operations, one.tags)]
    zero = min([one.at - _took_ns(one) for one in mine] + read.dropped_at, default=0)
    named = _Names(target.operations)
    rows = [{**row_of(one, zero), "operation": named.of(one.tags), "path": named.path(one.tags)} for one in mine]
    rows += [{**_BLANK, "operation": DROPPED, "intended_ns": at - zero, "path": ""} for at in read.dropped_at]
    rows.sort(key=lambda row: int(row["intended_ns"]))
    # Source, user and connection are what k6 does not tell.
    kinds = {name: pl.String if kind == pl.Categorical else kind for name, kind in SCHEMA.items()}
    frame = pl.DataFrame(rows, schema={**kinds, "path": pl.String}).with_columns(
        pl.lit(read.doubt_ns, dtype=pl.Int64).alias(CLOCK_COLUMN)
    )
    return K6Results(
        History(frame.drop("path")),
        tuple(frame["path"].to_list()),
        Anchor(0, zero, read.doubt_ns),
        len(read.requests) - len(mine),
        tuple(read.doubts),
    )


_BLANK: dict[str, Any] = {
    "workload": WORKLOAD,
    "operation": "",
    "user": 0,
    "source": "",
    "connection": 0,
    "intended_ns": 0,
    "sent_ns": NEVER_NS,
    "first_byte_ns": NEVER_NS,
    "done_ns": NEVER_NS,
    "ending": int(Ending.DROPPED),
    "fault": int(Fault.NO_USER_FREE),
    "status": 0,
    "bytes_out": 0,
    "bytes_in": 0,
    "request_id": "",
}


def row_of(one: K6Request, zero: int) -> dict[str, Any]:
    """Return the columns of a request, `zero` being the wall-clock instant that counts as 0."""
    status, done, took = _number(one.tags.get("status")), one.at - zero, _took_ns(one)
    row = {**_BLANK, "intended_ns": done - took, "sent_ns": done - took, "done_ns": done, "status": status}
    if status and "http_req_duration" in one.values_ms:
        return {**row, "ending": int(Ending.ANSWERED), "fault": int(Fault.NONE)}
    code = _number(one.tags.get("error_code"))
    if any(code in codes for codes in _NEVER_LEFT):
        refused = Fault.CONNECT_REFUSED if code == 1212 else Fault.CONNECT_FAILED
        return {**row, "sent_ns": NEVER_NS, "ending": int(Ending.NOT_SENT), "fault": int(refused), "status": 0}
    # The parts of what was never answered are incomplete: it may have been sent at any time since the run began.
    fault = Fault.TIMEOUT if code == 1050 else Fault.CLOSED
    return {**row, "sent_ns": 0, "ending": int(Ending.UNKNOWN), "fault": int(fault), "status": 0}


def _took_ns(one: K6Request) -> int:
    return round(sum(max(0.0, one.values_ms.get(part, 0.0)) for part in _PARTS) * 1_000_000)


@dataclass(slots=True)
class _Names:
    """Tells which declared operation a request was: by the name that the script gave it, else by method and path."""

    operations: Mapping[str, Operation]
    known: dict[tuple[str, str, str], str] = field(default_factory=dict)

    def of(self, tags: Mapping[str, str]) -> str:
        name, method, path = str(tags.get("name", "")), str(tags.get("method", "")), _path(tags)
        key = (name, method, path)
        if key not in self.known:
            self.known[key] = name if name in self.operations else self._matching(method, path)
        return self.known[key]

    def path(self, tags: Mapping[str, str]) -> str:
        """Return the path that a request asked for; that of its operation where the script's name hides it."""
        hidden = self.operations.get(str(tags.get("url", "")))
        return hidden.path if hidden is not None else _path(tags)

    def _matching(self, method: str, path: str) -> str:
        bare = path.split("?", 1)[0]
        # A path as it stands goes before one with fields in it.
        for name, one in sorted(self.operations.items(), key=lambda pair: "${" in pair[1].path):
            shape = _FIELD.sub("[^/]+", re.escape(one.path.split("?", 1)[0]))
            if one.method == method and re.fullmatch(shape, bare):
                return name
        return f"{method} {bare}"


def _is_mine(own: Any, operations: Mapping[str, Operation], tags: Mapping[str, Any]) -> bool:
    """Return whether a request went to the target. A request that its script named has that name for its URL, too."""
    url = str(tags.get("url", ""))
    return _is_at(own, url) or (url == tags.get("name") and url in operations)


def _is_at(own: Any, url: str) -> bool:
    try:
        parts = urlsplit(url)
        default = {"http": 80, "https": 443}
        return (parts.scheme, parts.hostname, parts.port or default.get(parts.scheme)) == (
            own.scheme,
            own.hostname,
            own.port or default.get(own.scheme),
        )
    except ValueError:
        return False


def _path(tags: Mapping[str, str]) -> str:
    parts = urlsplit(str(tags.get("url", "")))
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def wall_ns(stamp: str) -> int:
    """Return nanoseconds since the epoch; Python's own reader of dates knows microseconds only."""
    found = _STAMP.fullmatch(stamp)
    if found is None:
        raise ValueError(f"an instant such as 2026-11-23T12:00:00.123456Z, got {stamp!r}")
    whole = datetime.fromisoformat(found[1] + found[3].replace("Z", "+00:00"))
    return int(whole.timestamp()) * NS_PER_SECOND + int((found[2] or "0").ljust(9, "0"))


def _digits(stamp: str) -> int:
    found = _STAMP.fullmatch(stamp)
    return len(found[2] or "") if found else 0


def _number(text: object) -> int:
    return int(str(text)) if str(text).isdecimal() else 0

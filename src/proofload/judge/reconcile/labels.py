"""Fits the labels of the target's request counter to ours: other names and spellings, and labels that are not there."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field

from proofload.plan.policies import MetricsPolicy
from proofload.record.ledger import Reading, Sample

Key = tuple[str, str, str]
"""Route, method, status; empty where the counter has no such label."""

PARTS = ("route", "method", "status")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})
_ALIASES = {
    "route": ("http_route", "handler", "path", "uri", "url", "endpoint", "path_template", "target"),
    "method": ("http_method", "http_request_method", "request_method", "verb"),
    "status": ("status_code", "code", "http_status_code", "http_response_status_code", "response_code", "status_class"),
}
"""What frameworks call these labels; tried only where `policies.metrics.labels` is left as it is by default."""
_CLASSES = {
    "informational": "1xx",
    "success": "2xx",
    "redirection": "3xx",
    "redirect": "3xx",
    "client_error": "4xx",
    "server_error": "5xx",
}
_PARAMETER = re.compile(r"\$?\{.*\}|:.+|<.+>|\[.+\]|\*+\w*|\(\?P<.*")
_CATCH_ALL = re.compile(r"\*+\w*|\{[^}]*(?::path|\*|\+)\}|\{\*.*\}|<path:.*>|:\w+[*+]|\[\.\.\..*\]")
_STATUS = re.compile(r"([1-5]\d\d)(?:\.0)?(?:\s.*)?")
_CLASS = re.compile(r"([1-5])(?:xx)?", re.IGNORECASE)
ID_SEGMENT = re.compile(r"\d+|[0-9a-f]{8}-[0-9a-f-]{27}|[a-z]+_[0-9a-f-]{16,}|[0-9a-f]{16,}", re.IGNORECASE)
"""What is an id in a path, and no name of a thing."""


@dataclass(frozen=True, slots=True)
class Labels:
    """How the series of one counter are told apart, in our words."""

    names: Mapping[str, str] = field(default_factory=dict)
    """Our word for a label to the target's, for those that can be compared."""
    routes: Mapping[str, str] = field(default_factory=dict)
    """What a value of the route label means: one of our routes, or a catch-all that several of ours go under."""
    ours: Mapping[str, str] = field(default_factory=dict)
    """Which of our routes are counted under a catch-all, and which one."""
    by_class: bool = False
    absent: tuple[str, ...] = ()
    """Our words for labels that the counter does not have."""
    unfit: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Our words for labels whose values mean nothing to us, with some of these values."""
    found: tuple[str, ...] = ()
    """All label names of the counter."""

    @property
    def in_route(self) -> bool:
        """Return whether the method is told by the route label, as in `GET /orders/{id}`."""
        return "method" not in self.names and any(split_route(text)[0] for text in self.routes)

    def of_series(self, labels: Mapping[str, str]) -> Key:
        """Return what a series counts, with empty texts for what its labels do not tell."""
        text = labels.get(self.names["route"], "") if "route" in self.names else ""
        in_route, bare = split_route(text)
        method = labels.get(self.names["method"], "").upper() if "method" in self.names else ""
        status = labels.get(self.names["status"], "") if "status" in self.names else ""
        return self.routes.get(text, bare), method or (in_route if self.in_route else ""), self._status(status)

    def of_answer(self, route: str, method: str, status: str) -> Key:
        """Return the key under which the target should count an answer of ours."""
        place = self.place(route, method)
        return (*place, self._status(status) if "status" in self.names else "")

    def place(self, route: str, method: str) -> tuple[str, str]:
        """Return route and method as they stand in keys."""
        told = "method" in self.names or self.in_route
        return self.ours.get(route, route) if "route" in self.names else "", method.upper() if told else ""

    def _status(self, text: str) -> str:
        status = read_status(text)
        return f"{status[0]}xx" if self.by_class and status[:1].isdigit() else status


def fit_labels(
    readings: Iterable[Reading], policy: MetricsPolicy, where: Mapping[str, str], routes: Iterable[str]
) -> Labels:
    """Return how the labels of the request counter fit our `routes`, methods and statuses."""
    series = [sample.labels for reading in readings for sample in counters(reading.samples, policy, where)]
    values = {name: sorted({one[name] for one in series if name in one}) for name in set().union(*series)}
    wanted = sorted(set(routes))
    meanings = {name: _meanings(found, wanted) for name, found in values.items()}
    fits: dict[str, Callable[[str], bool]] = {
        "route": lambda name: bool(meanings[name][0]),
        "method": lambda name: any(value.upper() in _METHODS for value in values[name]),
        "status": lambda name: any(_is_status(value) for value in values[name]),
    }
    names: dict[str, str] = {}
    unfit: dict[str, tuple[str, ...]] = {}
    for part in PARTS:
        name = _chosen(part, policy, values.keys(), fits[part])
        if name is not None and fits[part](name):
            names[part] = name
        elif name is not None:
            unfit[part] = tuple(values[name][:8])
    absent = tuple(part for part in PARTS if part not in names and part not in unfit)
    meaning, under = meanings[names["route"]] if "route" in names else ({}, {})
    statuses = [read_status(value) for value in values.get(names.get("status", ""), ())]
    by_class = any(status.endswith("xx") for status in statuses)
    return Labels(names, meaning, under, by_class, absent, unfit, tuple(sorted(values)))


def counters(samples: Iterable[Sample], policy: MetricsPolicy, where: Mapping[str, str]) -> list[Sample]:
    """Return the series of the request counter that bear the labels of `where`; NaN and infinities count nothing."""
    # OpenMetrics names the sample `x_total` and the family `x`; the policy may have been given either.
    names = {policy.requests_total, policy.requests_total.removesuffix("_total") + "_total"}
    return [
        sample
        for sample in samples
        if sample.name in names
        and math.isfinite(sample.value)
        and all(sample.labels.get(name) == value for name, value in where.items())
    ]


def read_status(text: str) -> str:
    """Return a status, or a class of them, in one spelling; what is neither is returned as it is.

    >>> [read_status(text) for text in ("404", "5XX", "4", "200 OK", "SERVER_ERROR", "fine")]
    ['404', '5xx', '4xx', '200', '5xx', 'fine']
    """
    bare = text.strip()
    if found := _STATUS.fullmatch(bare):
        return found[1]
    if found := _CLASS.fullmatch(bare):
        return f"{found[1]}xx"
    return _CLASSES.get(bare.lower().replace(" ", "_"), text)


def split_route(text: str) -> tuple[str, str]:
    """Return the method that a route label begins with, and the rest.

    >>> split_route("GET /orders/{id}"), split_route("/orders")
    (('GET', '/orders/{id}'), ('', '/orders'))
    """
    first, _, rest = text.strip().partition(" ")
    return (first.upper(), rest.strip()) if rest and first.upper() in _METHODS else ("", text)


def canonical(route: str) -> tuple[str, ...]:
    """Return the segments of a route, in one spelling: parameters as `{}`, no host, no slash at the end.

    >>> canonical("/Orders/:id/") == canonical("/orders/{id}") == canonical("http://gw/orders/<int:id>")
    True
    """
    bare = re.sub(r"^https?://[^/]*|(?<!\()\?.*$", "", split_route(route)[1]).strip("^$")
    segments = [part for part in re.split(r"/(?![^{(<]*[})>])", bare) if part]
    return tuple("{}" if _PARAMETER.fullmatch(part) else part.casefold() for part in segments)


def is_raw(label: str, template: str, ids: Set[str] = frozenset()) -> bool:
    """Return whether a label holds a path with an id in it where the template has a parameter."""
    shape, path = canonical(template), split_route(label)[1].split("?", 1)[0].strip("/").split("/")
    if "{}" not in shape or len(shape) != len(path):
        return False
    return all(
        (ID_SEGMENT.fullmatch(given) is not None or given in ids) if want == "{}" else given.casefold() == want
        for want, given in zip(shape, path, strict=True)
    )


def _chosen(part: str, policy: MetricsPolicy, names: Set[str], fits: Callable[[str], bool]) -> str | None:
    declared = policy.labels.get(part, part)
    if declared in names:
        return declared
    if "labels" in policy.model_fields_set and part in policy.labels:
        return None
    return next((name for name in _ALIASES[part] if name in names and fits(name)), None)


def _meanings(values: Sequence[str], routes: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return which of our routes each value means, and which of our routes go under a catch-all."""
    shapes = {canonical(route): route for route in routes}
    meaning: dict[str, str] = {}
    for value in values:
        if found := _meant(value, routes, shapes):
            meaning[value] = found
    told = set(meaning.values())
    alone = [route for route in routes if route not in told]
    # Two operations of ours may be one route of the target: their parameters only have other names.
    under = {route: same for route in alone for same in told if canonical(same) == canonical(route)}
    for value in sorted(values, key=len, reverse=True):
        path = split_route(value)[1]
        if value in meaning or not _CATCH_ALL.fullmatch(path.rstrip("/").rpartition("/")[2]):
            continue
        head = canonical(path)[:-1]
        covered = [route for route in alone if route not in under and canonical(route)[: len(head)] == head]
        if covered:
            meaning[value] = path
            under.update(dict.fromkeys(covered, path))
    return meaning, under


def _meant(value: str, routes: Sequence[str], shapes: Mapping[tuple[str, ...], str]) -> str | None:
    path = split_route(value)[1]
    if path in routes:
        return path
    if not path.strip():
        return None
    if (same := shapes.get(canonical(path))) is not None:
        return same
    return next((route for route in routes if is_raw(value, route)), None)


def _is_status(text: str) -> bool:
    status = read_status(text)
    return status[:1].isdigit() and len(status) == 3

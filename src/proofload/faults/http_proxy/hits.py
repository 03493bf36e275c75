"""Counts what reached a service: by method, path and what the proxy did with it. Only ever upwards."""

from __future__ import annotations

from collections import Counter

_MOST_PATHS = 10_000
_OTHER = "(other)"


class HitCounter:
    """Requests that arrived, counted on arrival, whatever becomes of them."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str, str]] = Counter()

    def count(self, method: str, path: str, fault: str) -> None:
        """Count a request; `fault` is the kind that hit it, or `none`."""
        key = (method, path, fault)
        if key not in self._counts and len(self._counts) >= _MOST_PATHS:
            key = (method, _OTHER, fault)
        self._counts[key] += 1

    @property
    def total(self) -> int:
        """Return all requests so far."""
        return self._counts.total()

    def of(self, path: str = "/", fault: str | None = None) -> int:
        """Return the requests whose path begins so, those with one fate only where it is named."""
        return sum(n for (_, at, fate), n in self._counts.items() if at.startswith(path) and fault in (None, fate))

    def to_json(self) -> list[dict[str, str | int]]:
        """Return all counts."""
        return [{"method": m, "path": p, "fault": f, "count": n} for (m, p, f), n in sorted(self._counts.items())]

    def to_metrics(self) -> bytes:
        """Return all counts as a page that Prometheus and `services.NAME.metrics` of a target can read."""
        lines = ["# HELP http_requests_total Requests that reached the service.", "# TYPE http_requests_total counter"]
        lines += [
            f'http_requests_total{{method="{_escaped(m)}",path="{_escaped(p)}",fault="{f}"}} {n}'
            for (m, p, f), n in sorted(self._counts.items())
        ]
        return ("\n".join(lines) + "\n").encode()


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

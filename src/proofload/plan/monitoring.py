"""The monitoring stack that a run reads from and writes to, as a user declares it. None of it has to be up."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr

from proofload.core.units import NS_PER_SECOND
from proofload.plan.values import Declared, DurationNs, HttpUrl


class GrafanaDeclared(Declared):
    """A Grafana server that gets annotations of the run, and dashboards by `proofload grafana push`."""

    url: HttpUrl
    """Address of Grafana."""
    token: SecretStr | None = None
    """A service account's token, as `${env:NAME}`; it is never written down."""


class Monitoring(Declared):
    """Where a run writes its own live metrics and events, and which Prometheus server knows the target."""

    prometheus: HttpUrl | None = None
    """A Prometheus server that scrapes the target: its counts are compared as well."""
    pushgateway: HttpUrl | None = None
    """A Pushgateway that gets the metrics of the run, grouped by run."""
    at_the_end: Literal["keep", "delete"] = "keep"
    """What becomes of the Pushgateway's group: kept and marked as finished, or deleted."""
    remote_write: HttpUrl | None = None
    """Where to send the metrics by remote write, such as http://127.0.0.1:9090/api/v1/write."""
    listen: str | None = Field(default=None, pattern=r"^(\[[0-9A-Fa-f:]+\]|[0-9A-Za-z.-]+):\d{1,5}$")
    """Address and port of a /metrics page of the runner itself, such as 127.0.0.1:9464."""
    loki: HttpUrl | None = None
    """A Loki server that gets the run's own events: begin, verdicts, faults, end."""
    grafana: GrafanaDeclared | None = None
    """Grafana, for annotations."""
    every: DurationNs = Field(default=2 * NS_PER_SECOND, ge=NS_PER_SECOND // 5, le=300 * NS_PER_SECOND)
    """How often metrics are written."""

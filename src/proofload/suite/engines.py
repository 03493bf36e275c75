"""Who sends what the cases of a run ask for: our own engine, a real k6, or the nodes of a cluster."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from proofload.core.clock import Clock
from proofload.core.errors import SafetyError
from proofload.drive.distributed.cluster.engine import Cluster, ClusterEngine
from proofload.drive.engine import Engine
from proofload.drive.http.endpoint import Endpoint, TlsSettings
from proofload.drive.k6.engine import K6Engine
from proofload.drive.k6.process import version
from proofload.plan.target import Target
from proofload.plan.workload import Ceilings

OWN, K6 = "proofload", "k6"
SETUP = "setup"
"""The pseudo-case whose history holds the making of test users."""
RESTORING = "-restore"
"""What the name of a pseudo-case ends with that brings back what a case disturbed."""
READYING = "-ready"
"""What the name of a pseudo-case ends with that waits until the target is sound before a case."""
_KEPT_HEADERS = ("x-request-id", "content-type", "date")


@dataclass(frozen=True)
class Sending:
    """Makes the engine of each case. Whoever sends, test users are made and services restored by our own."""

    name: str
    """The engine with its version, as evidence has it."""
    cluster: Cluster | None

    @classmethod
    def by(cls, engine: str, cluster: str | None, endpoint: Endpoint) -> Sending:
        """Return who sends, once it is there: `engine` is OWN or K6, `cluster` the address of a Ray cluster.

        Raises ToolError where k6 or the cluster can't be had, SafetyError where its nodes may not load the target.
        """
        return cls(version() if engine == K6 else engine, _join(cluster, endpoint) if cluster is not None else None)

    def engine(self, prefix: str, target: Target, *, clock: Clock, seed: int, vet: Callable[[str], None]) -> Engine:
        """Return a new engine whose request ids begin with the prefix."""
        ceilings = target.ceilings
        made: Engine = self._kind(prefix)(
            Endpoint.of(target.address),
            target.operations,
            ceilings=Ceilings(ceilings.requests_per_second, ceilings.total_requests, ceilings.duration),
            clock=clock,
            seed=seed,
            keep_headers=kept_headers(target),
            id_prefix=f"{prefix}-",
            vet=vet,
            tls=TlsSettings.of(target.tls),
        )
        return made

    def end(self) -> None:
        """Give back what sending took."""
        if self.cluster is not None:
            self.cluster.end()

    def _kind(self, prefix: str) -> Callable[..., Any]:
        if prefix.endswith((SETUP, RESTORING, READYING)):
            return Engine
        if self.cluster is not None:
            return functools.partial(ClusterEngine, cluster=self.cluster)
        return Engine if self.name == OWN else K6Engine


def kept_headers(target: Target) -> Sequence[str]:
    """Return the names of the response headers that are kept as evidence."""
    return sorted({*_KEPT_HEADERS, *target.told_headers()})


def _join(address: str, endpoint: Endpoint) -> Cluster:
    from proofload.drive.distributed.cluster import RayNodes

    nodes = RayNodes(address)
    try:
        nodes.check(endpoint)
    except SafetyError:
        nodes.close()
        raise
    return Cluster(nodes)

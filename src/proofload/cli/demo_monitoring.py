"""The demo beside a real Prometheus and Pushgateway, where they are installed; without them it says what it does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from proofload.demo.prometheus_stack import Stack, not_installed
from proofload.demo.reference_system import ReferenceSystem
from proofload.plan.monitoring import Monitoring
from proofload.plan.target import Target

NOT_THERE = "metrics were read from /metrics directly: not installed are "


@contextmanager
def monitored(
    target: Target, system: ReferenceSystem, folder: Path, *, wanted: bool
) -> Iterator[tuple[Target, list[str]]]:
    """Hold while the stack runs, and give the target that declares it, with what has to be said beside the verdicts."""
    if not wanted:
        yield target, []
        return
    missing = not_installed()
    if missing:
        yield target, [NOT_THERE + ", ".join(missing)]
        return
    scrape = {"gateway": system.ready.gateway, **system.ready.services}
    with Stack.start(folder / "monitoring", scrape) as stack:
        declared = Monitoring(prometheus=stack.prometheus.url, pushgateway=stack.pushgateway.url)
        yield target.model_copy(update={"monitoring": declared}), []

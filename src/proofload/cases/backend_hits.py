"""What a service itself counted of one operation, by the readings of its metrics page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from proofload.judge.breaker import BackendHits
from proofload.judge.evidence import Evidence
from proofload.plan.operation import Operation
from proofload.record.ledger import Reading


def counted(reading: Reading, counter: str, operation: Operation) -> int | None:
    """Return the counter's value for the operation: the series of which some label names its path; None without any."""
    names = {operation.path, operation.counted_as}
    told = [one for one in reading.samples if one.name == counter and names & set(one.labels.values())]
    return round(sum(one.value for one in told)) if told else None


def hits_between(evidence: Evidence, service: str, operation: str, prefix: str) -> Iterator[BackendHits]:
    """Yield how many calls of the operation reached the service between each two readings labelled with the prefix.

    A page that could not be read, or whose count fell, tells nothing.
    """
    known, asked = evidence.target.services.get(service), evidence.target.operations[operation]
    if known is None or known.metrics is None:
        return
    readings: Sequence[Reading] = sorted(
        (one for one in evidence.ledgers.readings if one.source == service and one.label.startswith(prefix)),
        key=lambda one: one.asked_ns,
    )
    for before, after in pairwise(readings):
        was, now = counted(before, known.hits, asked), counted(after, known.hits, asked)
        if was is not None and now is not None and now >= was and not before.error and not after.error:
            yield BackendHits(before.answered_ns, after.asked_ns, now - was, now - was)

"""The four moments of a fault, as they stand in the history of a run."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass


class Edge(enum.StrEnum):
    """Between APPLIED and UNDOING the fault surely held; between APPLYING and UNDONE it may have."""

    APPLYING = "applying"
    APPLIED = "applied"
    UNDOING = "undoing"
    UNDONE = "undone"


@dataclass(frozen=True, slots=True)
class FaultEdge:
    """One moment of one fault. `proven` is what a probe of the target said: took hold (APPLIED) or mended (UNDONE)."""

    fault: str
    service: str
    edge: Edge
    at_ns: int
    proven: bool = False
    evidence: str = ""


@dataclass(frozen=True, slots=True)
class FaultSpan:
    """One fault on one service: errors are excused in the wide span and demanded only in the narrow one."""

    fault: str
    service: str
    wide_from_ns: int
    narrow_from_ns: int
    narrow_to_ns: int
    wide_to_ns: int
    held: bool
    """The taking hold was probed and proven."""
    mended: bool
    """The mending was probed and proven."""


def spans(edges: Sequence[FaultEdge]) -> list[FaultSpan]:
    """Return the spans of all faults that went through their four moments, in the order of their beginning.

    A fault with a moment missing has no span: nothing can be demanded because of it.
    """
    open_edges: dict[tuple[str, str], dict[Edge, FaultEdge]] = {}
    found: list[FaultSpan] = []
    for edge in sorted(edges, key=lambda one: one.at_ns):
        moments = open_edges.setdefault((edge.fault, edge.service), {})
        if edge.edge is Edge.APPLYING:
            moments.clear()
        moments[edge.edge] = edge
        if edge.edge is Edge.UNDONE:
            if len(moments) == len(Edge):
                found.append(
                    FaultSpan(
                        edge.fault,
                        edge.service,
                        moments[Edge.APPLYING].at_ns,
                        moments[Edge.APPLIED].at_ns,
                        moments[Edge.UNDOING].at_ns,
                        edge.at_ns,
                        moments[Edge.APPLIED].proven,
                        edge.proven,
                    )
                )
            moments.clear()
    return sorted(found, key=lambda span: span.wide_from_ns)

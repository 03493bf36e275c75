"""A fault has a span only when it went through all four moments."""

from proofload.record.fault_edge import Edge, FaultEdge, spans


def edges(*moments: tuple[Edge, int, bool]) -> list[FaultEdge]:
    return [FaultEdge("stop", "auth", edge, at, proven) for edge, at, proven in moments]


def test_four_moments_make_a_span() -> None:
    (span,) = spans(
        edges((Edge.APPLYING, 1, False), (Edge.APPLIED, 2, True), (Edge.UNDOING, 8, False), (Edge.UNDONE, 9, True))
    )
    assert (span.wide_from_ns, span.narrow_from_ns, span.narrow_to_ns, span.wide_to_ns) == (1, 2, 8, 9)
    assert span.held
    assert span.mended


def test_a_fault_that_never_took_hold_has_none() -> None:
    assert spans(edges((Edge.APPLYING, 1, False), (Edge.UNDOING, 8, False), (Edge.UNDONE, 9, True))) == []


def test_the_same_fault_twice_makes_two_spans() -> None:
    once = ((Edge.APPLYING, 1, False), (Edge.APPLIED, 2, True), (Edge.UNDOING, 3, False), (Edge.UNDONE, 4, True))
    again = tuple((edge, at + 10, proven) for edge, at, proven in once)
    assert [span.wide_from_ns for span in spans(edges(*once, *again))] == [1, 11]

"""Between two readings a service's own counter tells how many calls reached it, or nothing."""

from __future__ import annotations

from tests.unit.cases.tape import S, Tape, preset

from proofload.cases.backend_hits import hits_between
from proofload.judge.breaker import BackendHits
from proofload.record.ledger import Ledgers, Reading, Sample


def read(label: str, at_ns: int, value: float, *, route: str = "/api/v1/orders", error: str = "") -> Reading:
    samples = (Sample("http_requests_total", {"endpoint": route}, value),)
    return Reading("order", label, at_ns, at_ns + 10, samples, error)


def between(*readings: Reading) -> list[BackendHits]:
    evidence = Tape("TC-CB-002").evidence(preset(), ledgers=Ledgers(readings))
    return list(hits_between(evidence, "order", "orders", "while open"))


def test_each_pair_of_readings_tells_what_came_between_them() -> None:
    first, second, third = read("while open 0", S, 5), read("while open 4", 2 * S, 5), read("while open 12", 3 * S, 7)
    assert between(first, second, third) == [
        BackendHits(S + 10, 2 * S, 0, 0),
        BackendHits(2 * S + 10, 3 * S, 2, 2),
    ]


def test_a_page_that_tells_no_path_or_fell_or_was_not_read_tells_nothing() -> None:
    first = read("while open 0", S, 5)
    assert between(first, read("while open 4", 2 * S, 6, route="/other")) == []
    assert between(first, read("while open 4", 2 * S, 1)) == []
    assert between(first, read("while open 4", 2 * S, 6, error="refused")) == []
    assert between(first, read("before", 2 * S, 6)) == []

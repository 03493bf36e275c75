"""Counts that tell routes apart, and ids that show raw paths, for whatever operations and limits a target declares."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.cases.tape import preset

from proofload.cases.monitoring.counts import countable, ids_of, sending, share, totals_of
from proofload.judge.reconcile.labels import is_raw
from proofload.plan.operation import Operation
from proofload.plan.policies import Policies, RateLimitPolicy
from proofload.plan.target import Target

TARGET = preset()
CLIENTS = 6


def limited(count: int, limit: int | None) -> tuple[Target, list[str]]:
    operations = {f"read{n}": Operation(name=f"read{n}", path=f"/read{n}") for n in range(count)}
    limits = () if limit is None else (RateLimitPolicy(limit=limit, window="60s", probe="read0"),)  # type: ignore[arg-type]
    target = TARGET.model_copy(update={"operations": operations, "policies": Policies(rate_limit=limits)})
    return target, sorted(operations)


@given(count=st.integers(1, 60), limit=st.none() | st.integers(1, 2_000), also=st.integers(0, 300))
def test_no_two_operations_are_sent_equally_often(count: int, limit: int | None, also: int) -> None:
    target, names = limited(count, limit)
    totals = totals_of(target, names, CLIENTS, {"read0": also})
    assert list(totals) == names
    assert len(set(totals.values())) == count
    each = max(sum(share(total, CLIENTS, index) for total in totals.values()) for index in range(CLIENTS))
    if limit is None:
        assert min(totals.values()) >= 29 or count > 12
    elif limit >= 40 * count:
        assert each <= limit // 2
        assert len({total + (also if name == "read0" else 0) for name, total in totals.items()}) == count


def test_a_limit_of_one_service_counts_where_it_covers_what_is_sent() -> None:
    target, names = limited(2, 1_000)
    tight = RateLimitPolicy(limit=20, window="60s", probe="read1", service="shop", applies_to=("/read1",))  # type: ignore[arg-type]
    both = target.model_copy(update={"policies": Policies(rate_limit=(*target.policies.rate_limit, tight))})
    assert (
        max(totals_of(both, names, CLIENTS).values()) <= 10 * CLIENTS < max(totals_of(target, names, CLIENTS).values())
    )


@pytest.mark.parametrize(
    ("path", "route", "ids"),
    [
        ("/orders/42", "/orders/{id}", ("42", "43")),
        ("/orders/ord_0f?full=1", "/orders/:order", ("ord_0f", "ord_0a")),
        ("/orders", None, ()),
        ("/a/b/c", "/{rest:path}", ()),
        ("/users/${user.name}", None, ("anna", "ben")),
    ],
)
def test_two_ids_are_sent_where_a_route_has_a_parameter(path: str, route: str | None, ids: tuple[str, ...]) -> None:
    operation = Operation(name="read", path=path, route=route)
    assert ids_of(operation, ("anna", "ben")) == ids
    target = TARGET.model_copy(update={"operations": {"read": operation}})
    assert countable(target) == ["read"]


class Recorder:
    """A user that keeps what it is told to send."""

    def __init__(self, index: int) -> None:
        self.index, self.identity, self.token = index, {"name": "anna"}, "t0ken"
        self.sent: list[tuple[str, dict[str, str]]] = []
        self.anew = 0

    def reconnect(self) -> None:
        self.anew += 1

    async def request(self, name: str) -> None:
        self.sent.append((name, {}))

    async def get(self, path: str, *, name: str, headers: dict[str, str]) -> None:
        assert name == "read"
        self.sent.append((path, headers))


def test_both_ids_are_sent_with_the_token_and_a_part_over_new_connections() -> None:
    operation = Operation(
        name="read",
        path="/orders/42?x=1",
        route="/orders/{id}",
        auth="bearer",
        headers={"X-Key": "k", "X-Me": "${user.name}"},
    )
    user = Recorder(5)
    coroutine = sending(operation, 29, CLIENTS)(user)  # type: ignore[arg-type]
    with pytest.raises(StopIteration):
        coroutine.send(None)
    assert len(user.sent) == share(29, CLIENTS, 5) == 4
    others = [(path, headers) for path, headers in user.sent if path != "read"]
    assert others == [("/orders/43?x=1", {"X-Key": "k", "X-Me": "anna", "Authorization": "Bearer t0ken"})] * 2
    assert is_raw("/orders/43", operation.counted_as)
    assert user.anew == 1

"""No client address is handed out twice."""

import ipaddress
from itertools import islice

import pytest

from proofload.cases.addresses import Addresses
from proofload.core.errors import ToolError


def test_loopback_has_addresses_enough_and_gives_each_once() -> None:
    sources = Addresses(7, "127.0.0.1")
    given = [sources.fresh() for _ in range(5_000)]
    assert len(set(given)) == 5_000
    assert all(one is not None and ipaddress.ip_address(one).is_loopback for one in given)
    assert not any(one is not None and one.endswith((".0", ".255")) for one in given)


def test_the_seed_decides_which() -> None:
    def first(seed: int) -> list[str | None]:
        sources = Addresses(seed, "localhost")
        return [sources.fresh() for _ in range(20)]

    assert first(1) == first(1)
    assert not set(first(1)) & set(first(2))


def test_elsewhere_there_is_only_what_was_declared() -> None:
    assert Addresses(1, "::1").fresh() is None
    assert not Addresses(1, "gateway.example").many
    declared = Addresses(1, "gateway.example", ["10.0.0.1", "10.0.0.2"])
    assert list(islice(iter(declared.fresh, None), 2)) == ["10.0.0.1", "10.0.0.2"]
    with pytest.raises(ToolError, match="at most the 2 declared"):
        declared.fresh()

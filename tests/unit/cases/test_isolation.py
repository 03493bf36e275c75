"""Who may run beside whom follows from what the target declares, and from nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from proofload.cases.isolation import (
    ANY_SERVICE,
    EVERYTHING,
    UNKNOWN_SERVICE,
    clash,
    disturbed_by,
    gateway_service,
    service_of,
    store_services,
    used_by,
)
from proofload.plan.target import Target

SHOP: dict[str, Any] = {
    "version": 1,
    "address": "http://127.0.0.1:8080",
    "operations": {
        "buy": {"path": "/buy", "service": "inventory"},
        "pay": {"path": "/pay", "service": "purse"},
        "look": {"path": "/look"},
    },
    "services": {
        "edge": {"health": "http://127.0.0.1:8080/health"},
        "inventory": {"depends_on": ["purse"]},
        "mail": {"depends_on": ["inventory"]},
        "purse": {},
        "memory": {"health": "tcp://127.0.0.1:6379"},
    },
    "policies": {"circuit_breaker": [{"service": "purse", "operation": "look"}]},
}
TARGET = Target.model_validate(SHOP)


def test_an_operation_calls_the_service_that_it_names_or_that_a_circuit_names_for_it() -> None:
    assert service_of(TARGET, "buy") == "inventory"
    assert service_of(TARGET, "look") == "purse"
    bare = Target.model_validate({**SHOP, "policies": {}})
    assert service_of(bare, "look") is None
    assert used_by(bare, ["look", "buy"]) == {ANY_SERVICE, "service:inventory"}


@pytest.mark.parametrize(
    ("broken", "disturbed"),
    [
        ("inventory", {"service:inventory", "service:mail"}),
        ("purse", {"service:purse", "service:inventory", "service:mail"}),
        ("edge", {EVERYTHING}),
        ("memory", {EVERYTHING}),
        (UNKNOWN_SERVICE, {EVERYTHING}),
    ],
)
def test_what_depends_on_a_broken_service_is_disturbed_with_it(broken: str, disturbed: set[str]) -> None:
    assert disturbed_by(TARGET, [broken]) == disturbed


def test_the_gateway_is_known_by_its_address_and_a_store_by_nobody_calling_it() -> None:
    assert gateway_service(TARGET) == "edge"
    assert store_services(TARGET) == ("memory",)


def test_calls_of_nobody_knows_which_service_clash_with_any_that_is_broken() -> None:
    assert clash(frozenset({ANY_SERVICE}), frozenset({"service:purse"}))
    assert not clash(frozenset({ANY_SERVICE}), frozenset({"quiet"}))
    assert not clash(frozenset({"service:mail"}), frozenset({"service:purse"}))
    assert clash(frozenset(), frozenset({EVERYTHING}))

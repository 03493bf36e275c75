"""The same system under other names, its controls in another order: the same verdicts. No case may know the demo."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import yaml

from proofload.demo.reference_system import ReferenceSystem
from proofload.suite.catalogue import CORE
from tests.e2e.cli import decided

WINDOW = "5"
SERVICES = {"auth": "identity", "user": "purse", "order": "inventory", "redis": "memory", "gateway": "edge"}
OPERATIONS = {
    "register": "enrol",
    "login": "sign_in",
    "profile": "whoami",
    "balance": "purse_read",
    "deposit": "put_in",
    "withdraw": "take_out",
    "order": "buy",
    "orders": "bought",
    "no_such_order": "unknown_purchase",
}
CODES = {"RATE_LIMITED": "too_fast", "CIRCUIT_OPEN": "resting", "LOCK_CONTENTION": "busy_user", "OVERLOADED": "full"}
LABELS = {"service": "component", "route": "endpoint", "method": "verb", "status": "code"}
TEN_MORE = (
    *("TC-RL-003", "TC-RL-004", "TC-CB-004", "TC-NEG-001", "TC-NEG-004"),
    *("TC-NEG-005", "TC-NEG-009", "TC-INT-003", "TC-INT-004", "TC-LOCK-004"),
)


def renamed(environ: dict[str, str]) -> dict[str, Any]:
    """Return the demo's own declaration with every name changed that a target file may choose."""
    text = (resources.files("proofload.plan.presets") / "ordersystem.yaml").read_text(encoding="utf-8")
    target: dict[str, Any] = yaml.safe_load(re.sub(r"\$\{env:(\w+)\}", lambda found: environ.get(found[1], ""), text))
    target["name"] = "corner shop"
    target["users"] |= {"prefix": "load_test_zz_", "register": "enrol", "login": "sign_in"}
    target["operations"] = {OPERATIONS[name]: _operation(one) for name, one in reversed(target["operations"].items())}
    target["services"] = {
        SERVICES[name]: one | ({"depends_on": ["purse"]} if "depends_on" in one else {})
        for name, one in reversed(target["services"].items())
    }
    target["faults"] = {SERVICES[name]: one for name, one in reversed(target["faults"].items())}
    policies = target["policies"]
    policies["rate_limit"] = [_limit(one) for one in reversed(policies["rate_limit"])]
    policies["circuit_breaker"] = [_circuit(one) for one in reversed(policies["circuit_breaker"])]
    policies["locks"] = [_lock(one) for one in reversed(policies["locks"])]
    metrics = policies["metrics"]
    metrics["labels"] = {name: LABELS[name] for name in ("route", "method", "status")}
    metrics["only"] = {LABELS[name]: value for name, value in metrics["only"].items()}
    audit = policies["audit"]
    audit["tells"] = {OPERATIONS[name]: events for name, events in audit["tells"].items()}
    for key in ("order", "book", "deposit", "balance"):
        policies["orders"][key] = OPERATIONS[policies["orders"][key]]
    policies["overload"]["operation"] = OPERATIONS[policies["overload"]["operation"]]
    policies["latency"]["operations"] = [OPERATIONS[name] for name in policies["latency"]["operations"]]
    return target


def _operation(one: dict[str, Any]) -> dict[str, Any]:
    return one | ({"service": SERVICES[one["service"]]} if "service" in one else {})


def _limit(one: dict[str, Any]) -> dict[str, Any]:
    service = {"service": SERVICES[one["service"]]} if "service" in one else {}
    return (
        one | service | {"name": f"limit of {one['name'][::-1]}", "probe": OPERATIONS[one["probe"]], "code": "too_fast"}
    )


def _circuit(one: dict[str, Any]) -> dict[str, Any]:
    failing = {"failing_operation": OPERATIONS[one["failing_operation"]]} if "failing_operation" in one else {}
    named = {"service": SERVICES[one["service"]], "operation": OPERATIONS[one["operation"]]}
    return one | named | failing | {"code_when_open": "resting"}


def _lock(one: dict[str, Any]) -> dict[str, Any]:
    names = {"name": f"{one['name'][::-1]} lock", "code": "busy_user"}
    return one | names | {key: OPERATIONS[one[key]] for key in ("operation", "balance")}


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Path]:
    """A running reference system that speaks of itself in other words, and the target file that declares it."""
    settings = {
        "GATEWAY_RATE_WINDOW": WINDOW,
        "GATEWAY_RATE_LIMIT_USER": "90",
        "BREAKER_OPEN": WINDOW,
        "LOCK_HOLD": "0.1",
        "GATEWAY_MAX_CONCURRENCY_USER": "8",
        "GATEWAY_QUEUE_PATIENCE_USER": "0.25",
        "SPOKEN_CODES": ",".join("=".join(pair) for pair in CODES.items()),
        "SPOKEN_LABELS": ",".join("=".join(pair) for pair in LABELS.items()),
    }
    with ReferenceSystem.start(tmp_path / "system", settings=settings) as system:
        place = tmp_path / "proofload.yaml"
        place.write_text(yaml.safe_dump(renamed({**os.environ, **system.environ(WINDOW)})), encoding="utf-8")
        yield place


@pytest.mark.slow
def test_nine_cases_and_ten_more_pass_under_other_names(shop: Path, tmp_path: Path) -> None:
    cases = [*CORE, *TEN_MORE]
    ran = decided("run", *cases, "--target", shop, "--json", cwd=tmp_path, timeout_s=280)
    assert {case: ran.outcomes().get(case) for case in cases} == dict.fromkeys(cases, "PASS"), ran.out

"""A declared fault becomes the driver that it names, and what is declared wrongly is said at its place."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from proofload.faults.declared import driver_of
from proofload.faults.recipe import FaultError
from proofload.plan.faults import FaultDeclared

FAULT: TypeAdapter[FaultDeclared] = TypeAdapter(FaultDeclared)

DECLARED: list[tuple[dict[str, Any], tuple[str, ...]]] = [
    ({"driver": "command", "stop": ["true"], "start": ["true"]}, ("stop",)),
    (
        {"driver": "supervised", "control": "/run/control.sock", "service": "auth"},
        ("stop", "pause", "kill", "restart", "mute"),
    ),
    ({"driver": "proxy", "control": "http://127.0.0.1:9002"}, ("status", "fail_n", "delay", "reset", "black_hole")),
    ({"driver": "docker", "container": "auth"}, ("stop", "kill", "pause")),
    ({"driver": "docker", "container": "auth", "network": "lab"}, ("stop", "kill", "pause", "disconnect")),
    ({"driver": "kubernetes", "workload": "deployment/auth"}, ("stop", "restart")),
    (
        {"driver": "toxiproxy", "api": "http://127.0.0.1:8474", "proxy": "auth"},
        ("stop", "delay", "reset", "black_hole"),
    ),
]


@pytest.mark.parametrize(("declared", "kinds"), DECLARED)
def test_every_driver_is_made_from_its_declaration(declared: dict[str, Any], kinds: tuple[str, ...]) -> None:
    driver = driver_of(FAULT.validate_python(declared))
    assert driver.name == declared["driver"]
    assert driver.kinds == kinds


def test_every_driver_is_tested_here() -> None:
    declarable = set(FAULT.json_schema()["discriminator"]["mapping"])
    assert {declared["driver"] for declared, _ in DECLARED} == declarable


@pytest.mark.parametrize(
    "declared",
    [
        {"driver": "command", "stop": "systemctl stop auth", "start": ["true"]},
        {"driver": "command", "stop": [], "start": ["true"]},
        {"driver": "docker", "container": "--privileged"},
        {"driver": "docker", "container": "auth; touch x"},
        {"driver": "docker", "container": "auth", "network": "-f"},
        {"driver": "kubernetes", "workload": "auth"},
        {"driver": "kubernetes", "workload": "deployment/auth --all"},
        {"driver": "kubernetes", "workload": "deployment/auth", "namespace": "--all"},
        {"driver": "toxiproxy", "api": "file:///etc/passwd", "proxy": "auth"},
        {"driver": "proxy", "control": "http://127.0.0.1:9002", "delay": "2"},
        {"driver": "proxy", "control": "http://127.0.0.1:9002", "status": 99},
        {"driver": "melt"},
    ],
)
def test_what_can_t_be_carried_out_is_refused(declared: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        FAULT.validate_python(declared)


def test_a_client_that_is_not_there_is_known_before_anything_is_broken() -> None:
    driver = driver_of(FAULT.validate_python({"driver": "docker", "container": "auth", "client": ["no-such-docker"]}))
    with pytest.raises(FaultError, match="no-such-docker"):
        driver.undo_recipe("stop")


def test_a_program_is_written_down_with_its_whole_path(tmp_path: Path) -> None:
    driver = driver_of(FAULT.validate_python({"driver": "command", "stop": ["true"], "start": ["true", "; touch x"]}))
    (step,) = driver.undo_recipe("stop")["steps"]
    assert step["command"][0].startswith("/")
    assert step["command"][1:] == ["; touch x"]

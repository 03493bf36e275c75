"""`proofload init` writes a target file with which the rate-limit cases PASS as it stands."""

import os
import pty
import subprocess
from pathlib import Path

import pytest
from tests.e2e.cli import COMMAND, decided, environ, proofload

from proofload.demo.reference_system import ReferenceSystem
from proofload.plan.reader import read_target

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("gateways")]


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("nginx", ("token_bucket", 10, 1, 21)),
        ("haproxy", ("sliding_window_counter", 20, 5, None)),
        ("traefik", ("token_bucket", 10, 1, 20)),
    ],
)
def test_the_rate_limit_cases_pass_with_what_was_written(
    name: str, model: tuple[str, int, int, int | None], addresses: dict[str, str], tmp_path: Path
) -> None:
    made = proofload("init", f"{addresses[name]}/api/", "--name", name, "--yes", cwd=tmp_path)
    assert made.status == 0, made.err
    assert "next: proofload check-target" in made.err
    (policy,) = read_target(tmp_path / "proofload.yaml", {}).policies.rate_limit
    assert (policy.algorithm, policy.limit, policy.window / 1e9, policy.burst) == model, made.err
    assert (policy.scope, policy.exempt, policy.applies_to) == ("client_ip", ("/health",), ("/api/*",))
    ran = decided("run", "TC-RL-001", "TC-RL-002", "--json", "--quiet", cwd=tmp_path)
    headers = "PASS" if name == "traefik" else "SKIPPED"
    assert ran.outcomes() == {"TC-RL-001": "PASS", "TC-RL-002": headers}, ran.out


def test_the_reference_system_is_described_with_its_log_in_and_counter(tmp_path: Path) -> None:
    settings = {"GATEWAY_RATE_WINDOW": "3"}
    with ReferenceSystem.start(tmp_path / "system", settings=settings) as system:
        documents = [part for url in system.ready.services.values() for part in ("--openapi", f"{url}/openapi.json")]
        made = proofload("init", system.ready.gateway, *documents, "--yes", cwd=tmp_path)
        assert made.status == 0, made.err
        rates = ("TC-RL-001", "TC-RL-002")
        ran = decided("run", *rates, "TC-MON-001", "--json", "--quiet", of=rates, cwd=tmp_path)
    outcomes = ran.outcomes()
    assert (outcomes["TC-RL-001"], outcomes["TC-RL-002"]) == ("PASS", "PASS"), ran.out
    assert outcomes["TC-MON-001"] in ("PASS", "INCONCLUSIVE"), ran.out
    target = read_target(tmp_path / "proofload.yaml", {})
    assert target.users is not None
    assert (target.users.login, target.users.register_, target.users.token) == ("login", "register", "access_token")
    assert target.operations["orders"].auth == "bearer"
    assert target.policies.metrics is not None
    assert target.policies.metrics.only == {"service": "gateway"}
    text = (tmp_path / "proofload.yaml").read_text()
    assert "# not here: POST /api/v1/orders: changes something" in text


def test_a_person_is_asked_and_a_file_is_never_overwritten(addresses: dict[str, str], tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "init", "--no-limit"], cwd=tmp_path, env=environ(), stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    os.write(ours, f"{addresses['nginx']}/api/\n\n".encode())
    told = b""
    try:
        while part := os.read(ours, 4096):
            told += part
    except OSError:
        pass  # the other side of a terminal is gone when its process has ended
    os.close(ours)
    assert process.wait(60) == 0, told
    assert b"Address of the gateway" in told
    written = (tmp_path / "proofload.yaml").read_text()
    assert "policies: {}" in written
    again = proofload("init", f"{addresses['nginx']}/api/", "--yes", cwd=tmp_path)
    assert again.status == 12
    assert "got a file that is there" in again.err
    assert (tmp_path / "proofload.yaml").read_text() == written


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        ([], 12, "init: got no address"),
        (["http://127.0.0.1:1"], 13, "got no answer (connect refused)"),
        (["http://192.0.2.7"], 14, "expected loopback"),
        (["http://127.0.0.1:1", "--openapi", "nowhere.json"], 12, "nowhere.json: got"),
        (["http://127.0.0.1:1", "--openapi", "http://192.0.2.7/openapi.json"], 14, "expected loopback"),
    ],
)
def test_what_is_wrong_is_said(arguments: list[str], status: int, told: str, tmp_path: Path) -> None:
    ran = proofload("init", *arguments, cwd=tmp_path)
    assert ran.status == status, ran.err
    assert told in ran.err
    assert not (tmp_path / "proofload.yaml").exists()

"""`proofload discover` names the limiter of real gateways and of the reference system, and says when it can't."""

import re
from pathlib import Path

import pytest
from tests.e2e.cli import proofload
from tests.e2e.conftest import TARGET
from tests.integration.gateways import servers

from proofload.demo.reference_system import ReferenceSystem
from proofload.plan.reader import parse_target

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("gateways")]


def declared(told: str) -> dict[str, object]:
    """Return what the printed policy declares, read as part of a target file."""
    head = "version: 1\naddress: http://127.0.0.1:1\noperations: {read: {path: /api/}}\n"
    (policy,) = parse_target(head + told, "printed", {}).policies.rate_limit
    headers = [policy.headers.limit, policy.headers.retry_after]
    found = policy.model_dump(include={"algorithm", "limit", "burst", "scope", "exempt", "applies_to", "status"})
    return {**found, "window_s": policy.window / 1e9, "headers": headers}


def test_a_gateway_is_named(addresses: dict[str, str], tmp_path: Path) -> None:
    # nginx, HAProxy and Traefik are named by the tests of init.
    ran = proofload("discover", f"{addresses['envoy']}/api/", cwd=tmp_path)
    assert declared(ran.out) == {
        "algorithm": "token_bucket", "limit": 10, "window_s": 1, "burst": 20, "scope": "client_ip",
        "exempt": ("/health",), "applies_to": ("/api/*",), "status": 429, "headers": [None, None],
    }, ran.out  # fmt: skip
    assert ran.status == 0 or "# fits as well" in ran.out, ran.out
    assert "watching what trickles in" in ran.err


def test_the_reference_system_is_named(tmp_path: Path) -> None:
    settings = {"GATEWAY_RATE_WINDOW": "3"}
    with ReferenceSystem.start(tmp_path / "system", settings=settings) as system:
        ran = proofload("discover", f"{system.ready.gateway}/api/v1/auth/profile", "-q", cwd=tmp_path)
    assert declared(ran.out) == {
        "algorithm": "fixed_window", "limit": 100, "window_s": 3, "burst": None, "scope": "client_ip",
        "exempt": ("/health", "/metrics"), "applies_to": ("/api/*",), "status": 429,
        "headers": ["X-RateLimit-Limit", "Retry-After"],
    }, ran.out  # fmt: skip
    assert ran.status == 0, ran.out
    assert "the probe itself is answered 401" in ran.out
    assert ran.err == ""


def test_an_operation_of_a_target_file_is_asked_with_its_log_in(tmp_path: Path) -> None:
    settings = {"GATEWAY_RATE_WINDOW": "2", "GATEWAY_RATE_LIMIT": "20"}
    with ReferenceSystem.start(tmp_path / "system", settings=settings) as system:
        (tmp_path / "proofload.yaml").write_text(TARGET.format(gateway=system.ready.gateway, limit=100, more=""))
        ran = proofload("discover", "--target", "proofload.yaml", "--operation", "profile", "--json", cwd=tmp_path)
        lasting = proofload("discover", "--target", "proofload.yaml", "--operation", "register", cwd=tmp_path)
    policy = ran.json["policy"]
    assert (policy["algorithm"], policy["limit"], policy["scope"]) == ("fixed_window", 20, "client_ip"), ran.out
    assert not any("is answered 401" in note for note in ran.json["notes"])
    assert lasting.status == 12


def test_no_limit_is_said_within_the_ceiling(tmp_path: Path) -> None:
    with servers.upstream(tmp_path / "upstream") as address:
        ran = proofload("discover", f"{address}/api/", "--most", "150", "--rate", "500/s", "--json", cwd=tmp_path)
    assert ran.status == 11
    assert ran.json["policy"] is None
    assert ran.json["requests"] == 150
    assert re.search("nothing was rejected: 150 requests .* answered 200", ran.json["why_not"])


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (["http://127.0.0.1:1/"], 13, "expected an HTTP server; is it up?"),
        (["http://192.0.2.7/"], 14, "got the address 192.0.2.7, expected loopback"),
        (["ftp://127.0.0.1/"], 12, "expected such as http://127.0.0.1:8080/api/"),
        ([], 12, "got neither of URL and --target, expected exactly one"),
        (["http://127.0.0.1:1/", "--rate", "fast", "--for", "long"], 12, "--for: got 'long'"),
    ],
)
def test_what_is_wrong_is_said(arguments: list[str], status: int, told: str, tmp_path: Path) -> None:
    ran = proofload("discover", *arguments, cwd=tmp_path)
    assert ran.status == status, ran.err
    assert told in ran.err

"""`proofload run` on a target of one's own: never green on silence, and every mistake is said."""

import http.server
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from proofload.demo.reference_system import ReferenceSystem
from tests.e2e.cli import decided, proofload
from tests.e2e.conftest import TARGET, Declare
from tests.listening import Listener


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@pytest.mark.parametrize("system", [{"GATEWAY_RATE_LIMIT": "1000000"}], indirect=True)
def test_a_limiter_that_is_switched_off_fails(tmp_path: Path, system: ReferenceSystem, declare: Declare) -> None:
    ran = decided("run", "TC-RL-001", "--target", declare(system.ready.gateway), "--json", cwd=tmp_path)
    assert ran.status == 10
    assert "rl.never_rejects" in ran.rules("TC-RL-001")


def test_load_that_a_ceiling_kept_from_being_sent_is_inconclusive(
    tmp_path: Path, system: ReferenceSystem, declare: Declare
) -> None:
    target = declare(system.ready.gateway, more="ceilings: {total_requests: 60}")
    ran = proofload("run", "TC-RL-001", "TC-RL-002", "--target", target, "--json", cwd=tmp_path)
    assert ran.status == 11, ran.out
    assert set(ran.outcomes().values()) == {"INCONCLUSIVE"}


def test_a_limit_declared_twice_as_high_fails(tmp_path: Path, system: ReferenceSystem, declare: Declare) -> None:
    ran = decided("run", "TC-RL-001", "--target", declare(system.ready.gateway, limit=200), "--json", cwd=tmp_path)
    assert ran.status == 10
    assert "rl.wrongful_rejection" in ran.rules("TC-RL-001")


def test_a_target_that_is_down_is_never_green(tmp_path: Path, declare: Declare) -> None:
    target = declare(f"http://127.0.0.1:{free_port()}")
    ran = proofload("run", "TC-RL-001", "TC-RL-002", "--target", target, "--json", cwd=tmp_path)
    assert ran.status == 13
    assert set(ran.outcomes().values()) == {"ERROR"}
    assert "connect refused" in ran.out
    checked = proofload("check-target", target, cwd=tmp_path)
    assert checked.status == 13
    assert "is the target up?" in checked.err


class Slow(http.server.BaseHTTPRequestHandler):
    """Answers everything, 60 ms late: no window of 3 s holds 100 of its answers one by one."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        time.sleep(0.06)
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def slow() -> Iterator[str]:
    with Listener(Slow) as listener:
        yield listener.url


def test_a_server_too_slow_to_be_tried_is_no_pass(tmp_path: Path, slow: str) -> None:
    (tmp_path / "t.yaml").write_text(
        f"version: 1\naddress: {slow}\noperations: {{read: {{path: /api/x}}}}\n"
        "policies: {rate_limit: [{limit: 100000, window: 3s, probe: read}]}\nceilings: {total_requests: 120}\n"
    )
    ran = proofload("run", "TC-RL-001", "--target", "t.yaml", "--json", cwd=tmp_path)
    assert ran.status == 11, ran.out


def test_a_target_without_a_limit_is_skipped_with_the_reason(tmp_path: Path, slow: str) -> None:
    (tmp_path / "t.yaml").write_text(
        f"version: 1\naddress: {slow}\noperations: {{buy: {{path: /x, effect: lasting}}}}\n"
    )
    ran = proofload("run", "--target", "t.yaml", "--json", cwd=tmp_path)
    assert set(ran.outcomes().values()) == {"SKIPPED"}
    assert ran.status == 11, "nothing but skips proves nothing"
    assert "declares no rate limit" in ran.out
    assert "declares no audit log" in ran.out
    checked = proofload("check-target", "t.yaml", cwd=tmp_path)
    assert checked.status == 0
    assert "would be SKIPPED: the target declares no rate limit" in checked.out


GOOD = TARGET.format(gateway="http://127.0.0.1:1", limit=100, more="")


@pytest.mark.parametrize(
    ("text", "status", "told"),
    [
        (GOOD.replace("window:", "windw:"), 12, "t.yaml:14 policies.rate_limit[0].windw: got the unknown key 'windw'"),
        (GOOD.replace("limit: 100", "limit: many"), 12, "policies.rate_limit[0].limit: got 'many'"),
        (
            GOOD.replace("probe: profile", "probe: profil"),
            12,
            "policies.rate_limit[0].probe: got 'profil', expected one",
        ),
        (GOOD.replace("3s", "1 fortnight"), 12, "got '1 fortnight', expected a duration such as 60s"),
        ("- a list\n", 12, "t.yaml: got a list, expected a mapping"),
        (GOOD.replace("127.0.0.1:1", "192.0.2.7:80"), 14, "got the address 192.0.2.7, expected loopback"),
    ],
)
def test_bad_input_is_a_message_with_place_and_remedy(tmp_path: Path, text: str, status: int, told: str) -> None:
    (tmp_path / "t.yaml").write_text(text)
    for command in (["run", "--target", "t.yaml"], ["check-target", "t.yaml"]):
        ran = proofload(*command, cwd=tmp_path)
        assert ran.status == status
        assert told in ran.err
        assert "docs/target.md" in ran.err or "declare it under" in ran.err
    assert not (tmp_path / "runs").exists()


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    ran = proofload("run", cwd=tmp_path)
    assert ran.status == 12
    assert "proofload.yaml: got no such file or directory, expected a target file" in ran.err


def test_a_bundle_that_is_none_is_said(tmp_path: Path) -> None:
    ran = proofload("judge", "nowhere", cwd=tmp_path)
    assert ran.status == 13
    assert "nowhere: got nothing, expected the folder of a bundle" in ran.err

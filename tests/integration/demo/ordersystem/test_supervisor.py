"""The supervisor: nothing is left behind, and what can't start says why."""

from __future__ import annotations

import json
import os
import signal
import socket
from pathlib import Path

import pytest

from proofload.demo.ordersystem.__main__ import main

from .conftest import end, eventually, start

pytestmark = pytest.mark.xdist_group("ordersystem-supervisor")


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A system for all tests that leave it running."""
    running = start(tmp_path_factory.mktemp("supervised"), GATEWAY_UPSTREAM_TIMEOUT="2", BREAKER_FAILURES="100")
    yield running
    end(running)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def pids_of(system) -> list[int]:
    return [pid for service in system.status().values() for pid in service["pids"]]


def test_everything_ends_when_the_supervisor_is_killed(start_system):
    system = start_system()
    pids = pids_of(system)
    assert len(pids) >= 5
    assert all(alive(pid) for pid in pids)
    system.process.kill()
    assert eventually(lambda: not any(alive(pid) for pid in pids), 5.0)


def test_everything_ends_in_order_when_told(start_system):
    system = start_system()
    pids = pids_of(system)
    assert system.order("down")["ok"]
    assert system.process.wait(20) == 0
    assert not any(alive(pid) for pid in pids)
    assert not (Path(system.ready["dir"]) / "ready.json").exists()


def test_metrics_are_switched_off_and_on_in_all_workers(shared):
    folder = shared.ready["dir"]

    def counted() -> float:
        with shared.client() as client:
            lines = client.get("/metrics").text.splitlines()
        return sum(float(one.rsplit(" ", 1)[1]) for one in lines if one.startswith("http_requests_total{"))

    def ask() -> None:
        for _ in range(6):
            with shared.client() as client:
                client.get("/api/v1/orders")

    ask()
    before = counted()
    assert main(["mute", "metrics", "--dir", folder]) == 0
    ask()
    assert counted() == before
    assert main(["unmute", "metrics", "--dir", folder]) == 0
    ask()
    assert counted() == before + 6
    assert main(["mute", "nothing", "--dir", folder]) == 1


def test_a_service_stopped_refuses_and_started_serves_again(shared):
    credentials = {"username": "x", "password": "y"}
    with shared.client() as client:
        assert client.post("/api/v1/auth/login", json=credentials).status_code == 401
        for fault in ("stop", "kill"):
            assert shared.order(fault, "auth")["ok"]
            down = client.post("/api/v1/auth/login", json=credentials)
            assert (down.status_code, down.json()["code"]) == (502, "UPSTREAM_UNREACHABLE")
            assert client.get("/health").status_code == 200
            assert shared.order("start", "auth")["ok"]
            assert client.post("/api/v1/auth/login", json=credentials).status_code == 401


def test_a_paused_service_hangs_and_is_given_up_on(shared):
    credentials = {"username": "x", "password": "y"}
    with shared.client() as client:
        assert shared.order("pause", "auth")["ok"]
        hung = client.post("/api/v1/auth/login", json=credentials)
        assert (hung.status_code, hung.json()["code"]) == (504, "UPSTREAM_TIMEOUT")
        assert shared.order("resume", "auth")["ok"]
        assert eventually(lambda: client.post("/api/v1/auth/login", json=credentials).status_code == 401)


def test_a_worker_that_crashes_is_replaced_and_counts_are_kept(shared):
    with shared.client() as client:
        assert client.get("/api/v1/auth/profile").status_code == 401
        victim = shared.status()["gateway"]["pids"]
        for pid in victim:
            os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: not set(pids_of(shared)) & set(victim) and len(pids_of(shared)) >= 5)

    def counted() -> bool:
        with shared.client() as client:
            return 'route="/api/v1/auth/profile",service="gateway",status="401"} 1.0' in client.get("/metrics").text

    assert eventually(lambda: _answers(shared))
    assert counted()


def _answers(system) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(system.gateway.rsplit(":", 1)[1]))) == 0


def test_orders_that_make_no_sense_are_refused(shared, tmp_path, capsys):
    folder = shared.ready["dir"]
    assert main(["stop", "nobody", "--dir", folder]) == 1
    assert "expected one of redis, auth" in capsys.readouterr().err
    assert main(["resume", "auth", "--dir", folder]) == 1
    assert "not paused" in capsys.readouterr().err
    assert main(["status", "--dir", str(tmp_path / "nowhere")]) == 1
    assert "no system runs" in capsys.readouterr().err
    assert main(["up", "--dir", folder]) == 1
    assert "is running" in capsys.readouterr().err


def test_status_and_logs_are_printed(shared, capsys):
    folder = shared.ready["dir"]
    assert main(["status", "--dir", folder]) == 0
    assert "gateway  running" in capsys.readouterr().out
    assert main(["status", "--json", "--dir", folder]) == 0
    assert json.loads(capsys.readouterr().out)["auth"]["state"] == "running"
    assert main(["logs", "auth", "--dir", folder]) == 0
    assert "Application startup complete" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "settings", "said"),
    [
        (["--defect", "rl.nonsense"], {}, "--defect: got 'rl.nonsense'"),
        (["--defect", "lock.not_released_on_error", "--defect", "lock.contention_not_counted"], {}, "user.user_locks"),
        ([], {"GATEWAY_RATE_LIMIT": "many"}, "GATEWAY_RATE_LIMIT: got 'many', expected a whole number"),
        ([], {"GATEWAY_RATE_WINDOW": "-1"}, "GATEWAY_RATE_WINDOW: got '-1'"),
        ([], {"REDIS_URL": "redis://127.0.0.1:1/0"}, "REDIS_URL: no Redis answers"),
        (["--gateway-port", "TAKEN"], {}, "--gateway-port: port"),
    ],
)
def test_what_cannot_start_says_why(tmp_path, capsys, monkeypatch, arguments, settings, said):
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        given = [port if argument == "TAKEN" else argument for argument in arguments]
        assert main(["up", "--dir", str(tmp_path), *given]) == 1
    errors = capsys.readouterr().err
    assert said in errors
    assert "Traceback" not in errors


def test_without_any_redis_the_message_says_what_to_do(monkeypatch):
    from proofload.demo.ordersystem.supervisor import redis_server

    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(redis_server, "_in_wheel", lambda _module: None)
    with pytest.raises(redis_server.NoRedisError, match="set REDIS_URL, or install"):
        redis_server.find_redis_server()

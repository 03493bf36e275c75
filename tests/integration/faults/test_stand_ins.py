"""Docker, Kubernetes and Toxiproxy against stand-ins that speak their interface: none of the three is at hand here.

The stand-ins keep a state and refuse what the real ones refuse: pausing what is paused, adding a toxic twice.
"""

from __future__ import annotations

import asyncio
import http.server
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from tests.listening import Listener

from proofload.core.clock import SystemClock
from proofload.faults.docker import DockerDriver
from proofload.faults.driver import Driver
from proofload.faults.journal import Journal
from proofload.faults.kubernetes import KubernetesDriver
from proofload.faults.lease import Lease, Patience, lease
from proofload.faults.recipe import FaultError, carry_out
from proofload.faults.toxiproxy import ToxiproxyDriver
from proofload.record.fault_edge import spans

SECOND = 1_000_000_000

DOCKER = """
import json, pathlib, sys
file = pathlib.Path(__file__).with_name("state.json")
state = json.loads(file.read_text())
words = sys.argv[1:]
with file.with_name("calls").open("a") as calls: calls.write(json.dumps(words) + "\\n")
def end(error=""):
    file.write_text(json.dumps(state))
    if error: print("Error response from daemon: " + error, file=sys.stderr)
    sys.exit(1 if error else 0)
if words[-1] != "orders": end("No such container: " + words[-1])
match words[:-1]:
    case ["stop"]: state["running"] = False
    case ["kill"]:
        if not state["running"]: end("cannot kill container: orders: container is not running")
        state["running"] = False
    case ["start"]: state["running"] = True
    case ["pause"]:
        if state["paused"]: end("cannot pause container: orders: container is already paused")
        state["paused"] = True
    case ["unpause"]:
        if not state["paused"]: end("Container 4f1c is not paused")
        state["paused"] = False
    case ["network", "disconnect", "lab"]:
        if not state["connected"]: end("container 4f1c is not connected to network lab")
        state["connected"] = False
    case ["network", "connect", "lab"]:
        if state["connected"]: end("endpoint with name orders already exists in network lab")
        state["connected"] = True
    case _: end("unknown command")
end()
"""

KUBECTL = """
import json, pathlib, sys
file = pathlib.Path(__file__).with_name("state.json")
state = json.loads(file.read_text())
words = sys.argv[1:]
assert words[:2] == ["--namespace", "shop"], words
match words[2:]:
    case ["get", "deployment/orders", "--output=jsonpath={.spec.replicas}"]: print(state["replicas"], end="")
    case ["scale", "deployment/orders", option]: state["replicas"] = int(option.removeprefix("--replicas="))
    case ["rollout", "restart", "deployment/orders"]: state["restarts"] += 1
    case ["rollout", "status", "deployment/orders", "--timeout=55s"]: print("successfully rolled out")
    case _:
        print('Error from server (NotFound): deployments.apps "x" not found', file=sys.stderr)
        sys.exit(1)
file.write_text(json.dumps(state))
"""

WHOLE = {"running": True, "paused": False, "connected": True, "replicas": 3, "restarts": 0}


@dataclass
class Client:
    """A command line client on PATH, and the state that it keeps."""

    folder: Path

    @property
    def state(self) -> dict[str, Any]:
        return cast("dict[str, Any]", json.loads((self.folder / "state.json").read_text()))

    async def broken(self) -> str | None:
        return None if self.state == WHOLE else f"state {self.state}"

    async def whole(self) -> str | None:
        return "whole" if {**self.state, "restarts": 0} == WHOLE else None


def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, code: str) -> Client:
    program = tmp_path / "bin" / name
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\n{code}")
    program.chmod(0o700)
    (program.parent / "state.json").write_text(json.dumps(WHOLE))
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return Client(program.parent)


def hold(driver: Driver, kind: str, there: Any, journal: Path, stays: bool = True) -> Lease:
    async def work() -> Lease:
        async with (
            asyncio.timeout(60),
            lease(
                driver,
                kind,
                fault=kind,
                service="orders",
                clock=SystemClock(),
                journal=Journal(journal),
                duration_ns=60 * SECOND,
                held=there.broken,
                mended=there.whole,
                patience=Patience(held_ns=SECOND, mended_ns=SECOND),
                stays=stays,
            ) as held,
        ):
            pass
        return held

    return asyncio.run(work())


def is_proven(held: Lease) -> bool:
    (span,) = spans(held.edges)
    return span.held and span.mended


@pytest.mark.parametrize("kind", ["stop", "kill", "pause", "disconnect"])
def test_docker_breaks_and_mends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    docker = client(tmp_path, monkeypatch, "docker", DOCKER)
    driver = DockerDriver("orders", "lab")
    assert is_proven(hold(driver, kind, docker, tmp_path / "journal"))
    assert "done" in carry_out(driver.undo_recipe(kind)) or "exit status 0" in carry_out(driver.undo_recipe(kind))
    assert docker.state == WHOLE


def test_docker_is_given_arguments_as_they_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docker = client(tmp_path, monkeypatch, "docker", DOCKER)
    with pytest.raises(FaultError, match="No such container"):
        hold(DockerDriver("; touch trap"), "stop", docker, tmp_path / "journal")
    calls = [json.loads(line) for line in (docker.folder / "calls").read_text().splitlines()]
    assert calls[0] == ["stop", "; touch trap"]
    assert not list(tmp_path.rglob("trap"))


def test_kubernetes_scales_back_to_what_there_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kubectl = client(tmp_path, monkeypatch, "kubectl", KUBECTL)
    driver = KubernetesDriver("deployment/orders", "shop")
    recipe = driver.undo_recipe("stop")
    assert recipe["steps"][0]["command"][-1] == "--replicas=3"
    held = hold(driver, "stop", kubectl, tmp_path / "journal")
    assert is_proven(held)
    assert "'replicas': 0" in held.edges[1].evidence
    assert kubectl.state == WHOLE


def test_kubernetes_restarts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kubectl = client(tmp_path, monkeypatch, "kubectl", KUBECTL)
    assert is_proven(hold(KubernetesDriver("deployment/orders", "shop"), "restart", kubectl, tmp_path / "journal"))
    assert kubectl.state["restarts"] == 1


@pytest.mark.parametrize("replicas", [0, 3])
def test_kubernetes_breaks_nothing_that_it_could_not_mend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replicas: int
) -> None:
    kubectl = client(tmp_path, monkeypatch, "kubectl", KUBECTL)
    (kubectl.folder / "state.json").write_text(json.dumps({**WHOLE, "replicas": replicas}))
    driver = KubernetesDriver("deployment/orders" if replicas == 0 else "deployment/nothing", "shop")
    with pytest.raises(FaultError, match="got 0 replicas" if replicas == 0 else "NotFound"):
        hold(driver, "stop", kubectl, tmp_path / "journal")
    assert kubectl.state["replicas"] == replicas


@dataclass
class Toxiproxy:
    """One proxy of a Toxiproxy server."""

    enabled: bool = True
    toxics: dict[str, Any] = field(default_factory=dict)
    url: str = ""

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        match (method, *path.strip("/").split("/")):
            case ("POST", "proxies", "orders"):
                self.enabled = body["enabled"]
                return 200, {"name": "orders", "enabled": self.enabled}
            case ("POST", "proxies", "orders", "toxics"):
                if body["name"] in self.toxics:
                    return 409, {"error": "toxic already exists", "status": 409}
                if body["type"] not in ("latency", "reset_peer", "timeout") or body["stream"] != "downstream":
                    return 400, {"error": "invalid toxic type", "status": 400}
                self.toxics[body["name"]] = body
                return 200, body
            case ("DELETE", "proxies", "orders", "toxics", name) if name in self.toxics:
                del self.toxics[name]
                return 204, None
            case _:
                return 404, {"error": "not found", "status": 404}

    async def broken(self) -> str | None:
        return f"{self.enabled} {self.toxics}" if self.toxics or not self.enabled else None

    async def whole(self) -> str | None:
        return "whole" if self.enabled and not self.toxics else None


@pytest.fixture
def toxiproxy() -> Iterator[Toxiproxy]:
    state = Toxiproxy()

    class Handler(http.server.BaseHTTPRequestHandler):
        def _handle(self) -> None:
            told = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, answer = state.answer(self.command, self.path, json.loads(told) if told else None)
            data = b"" if answer is None else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_POST = do_DELETE = do_GET = _handle  # noqa: N815 -- the library's names

        def log_message(self, *_: object) -> None:
            pass

    with Listener(Handler) as listener:
        state.url = listener.url
        yield state


@pytest.mark.parametrize("kind", ["stop", "delay", "reset", "black_hole"])
def test_toxiproxy_breaks_and_mends(tmp_path: Path, toxiproxy: Toxiproxy, kind: str) -> None:
    driver = ToxiproxyDriver(toxiproxy.url, "orders", delay_ns=SECOND // 4)
    held = hold(driver, kind, toxiproxy, tmp_path / "journal")
    assert is_proven(held)
    if kind == "delay":
        assert "'latency': 250" in held.edges[1].evidence
    carry_out(driver.undo_recipe(kind))  # twice without harm
    assert (toxiproxy.enabled, toxiproxy.toxics) == (True, {})


def test_a_toxic_that_is_there_already_is_not_ours_to_count_on(tmp_path: Path, toxiproxy: Toxiproxy) -> None:
    toxiproxy.toxics["proofload_delay"] = {"type": "latency"}
    with pytest.raises(FaultError, match="409"):
        hold(ToxiproxyDriver(toxiproxy.url, "orders"), "delay", toxiproxy, tmp_path / "journal")


def test_a_proxy_that_toxiproxy_does_not_know_is_an_error(tmp_path: Path, toxiproxy: Toxiproxy) -> None:
    with pytest.raises(FaultError, match="404"):
        hold(ToxiproxyDriver(toxiproxy.url, "nothing"), "delay", toxiproxy, tmp_path / "journal")

"""The dashboards: as Grafana's builders make them, by its own model, over metrics that a real run left behind."""

from __future__ import annotations

import asyncio
import json
import math
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard
from tests.e2e.cli import proofload
from tests.listening import Listener

from proofload.core.clock import SystemClock
from proofload.core.errors import ToolError
from proofload.demo.prometheus_stack import Stack
from proofload.demo.reference_system import ReferenceSystem
from proofload.observe.prometheus import Prometheus
from proofload.report.grafana import BOARDS, shipped
from proofload.report.grafana.build import build
from proofload.telemetry.grafana import Grafana

_RUNS = 3
DEPLOY = Path(__file__).parents[3] / "deploy"
EXPRESSIONS = [
    (board.name, panel.title, expression)
    for board in BOARDS
    for panel in board.panels
    for expression, _ in panel.targets
]


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.name)
def test_what_is_shipped_is_what_the_builders_make_and_fits_their_model(board: Any) -> None:
    text = build(board)
    content = shipped()[board.name]
    assert content == json.loads(text), "run python -m proofload.report.grafana.build"
    again = json.loads(JSONEncoder(sort_keys=True).encode(Dashboard.from_json(content)))
    assert again == content
    panels = content["panels"]
    assert [one["title"] for one in panels] == [one.title for one in board.panels]
    assert len({one["id"] for one in panels}) == len(panels)
    cells = [
        (x, y)
        for one in panels
        for x in range(one["gridPos"]["x"], one["gridPos"]["x"] + one["gridPos"]["w"])
        for y in range(one["gridPos"]["y"], one["gridPos"]["y"] + one["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells), "panels overlap"
    assert max(x for x, _ in cells) < 24
    for one in panels:
        assert all(target["datasource"]["uid"] == "${datasource}" for target in one["targets"])


def test_the_compose_file_mounts_what_is_there_and_its_prometheus_is_right() -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    for service in compose["services"].values():
        assert ":" in service["image"]
        assert not service["image"].endswith(":latest")
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:")
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert source in compose["volumes"] or (DEPLOY / source).exists(), volume
    promtool = shutil.which("promtool")
    assert promtool
    subprocess.run([promtool, "check", "config", DEPLOY / "prometheus" / "prometheus.yml"], check=True)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A real Prometheus after a real run; and the id of the run."""
    folder = tmp_path_factory.mktemp("grafana")
    settings = {"GATEWAY_RATE_WINDOW": "3", "BREAKER_OPEN": "3", "LOCK_HOLD": "0.1"}
    preset = (resources.files("proofload.plan.presets") / "ordersystem.yaml").read_text()
    with ReferenceSystem.start(folder / "system", settings=settings) as system:
        scrape = {"gateway": system.ready.gateway, **system.ready.services}
        with Stack.start(folder / "stack", scrape, every="1s") as stack:
            asyncio.run(_scraped(stack.prometheus.url))
            target = folder / "proofload.yaml"
            target.write_text(
                f"{preset}\nmonitoring: {{pushgateway: '{stack.pushgateway.url}', every: 500ms}}\n", encoding="utf-8"
            )
            before = dict(os.environ)
            os.environ.update(system.environ("3"))
            try:
                # On a busy machine the circuit's case may give up before it breaks anything; then there is no fault
                # to be seen, and the run is made again.
                for _ in range(_RUNS):
                    result = proofload(
                        "run", "TC-RL-001", "TC-CB-001", "TC-LOCK-001", "--target", target, "--json", cwd=folder
                    )
                    if result.outcomes().get("TC-CB-001") == "PASS":
                        break
            finally:
                for name in system.environ("3"):
                    os.environ.pop(name, None)
                os.environ.update(before)
            # Verdicts are not what this is about, but every case must have driven to its end.
            assert result.status in (0, 11), result.out + result.err
            assert "SKIPPED" not in result.outcomes().values(), result.out
            assert result.outcomes()["TC-CB-001"] == "PASS", result.out
            yield stack.prometheus.url, _run_of(stack.prometheus.url, Path(result.json["bundle"]).name[-8:])


async def _scraped(url: str) -> None:
    """Return once every target is scraped: a counter that was whole before its first scrape has no rate."""
    server = Prometheus(url, SystemClock())
    deadline = time.monotonic() + 30
    while {one["health"] for one in await server.targets()} != {"up"}:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.2)


def _run_of(url: str, run: str) -> str:
    server = Prometheus(url, SystemClock())

    async def look() -> str:
        deadline = time.monotonic() + 20
        while not (found := await server.query(f'proofload_run_finished{{run="{run}"}} == 1')):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.2)
        return found[0].labels["run"]

    return asyncio.run(look())


def test_every_expression_of_every_panel_finds_numbers_after_a_real_run(ran: tuple[str, str]) -> None:
    url, run = ran
    server = Prometheus(url, SystemClock())

    async def has_numbers(text: str) -> bool:
        # A quantile over a window in which nothing rose is a series, but its value is no number and draws nothing.
        return any(math.isfinite(one.value) for one in await server.query(text))

    async def ask() -> list[str]:
        # One scrape that fails on a busy machine makes series stale until the next.
        deadline = time.monotonic() + 20
        wanted = {
            f"{board}, {title}: {expression}": expression.replace("$run", run).replace("$__rate_interval", "2m")
            for board, title, expression in EXPRESSIONS
        }
        while wanted and time.monotonic() < deadline:
            wanted = {panel: text for panel, text in wanted.items() if not await has_numbers(text)}
        return list(wanted)

    assert asyncio.run(ask()) == []
    assert len(EXPRESSIONS) > 25
    (counted,) = asyncio.run(server.query(f'sum(proofload_response_seconds_count{{run="{run}"}})'))
    assert counted.value > 100


def test_dashboards_and_annotations_reach_a_server_with_the_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    got: list[tuple[str, str, Any]] = []

    class StandIn(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            got.append((self.path, self.headers["Authorization"], body))
            refused = self.headers["Authorization"] != "Bearer good"
            answer = json.dumps({"message": "Unauthorized"} if refused else {"url": "/d/x"}).encode()
            self.send_response(401 if refused else 200)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    with Listener(StandIn) as listener:
        url = listener.url
        monkeypatch.setenv("GRAFANA_TOKEN", "good")
        pushed = proofload("grafana", "push", url, "--folder", "f1", cwd=tmp_path)
        monkeypatch.setenv("GRAFANA_TOKEN", "wrong-one")
        refused = proofload("grafana", "push", url, cwd=tmp_path)
        asyncio.run(Grafana(url, "good").annotate("TC-RL-001: PASS", ["proofload"], 1_000_000_000, 3_000_000_000))
        with pytest.raises(ToolError, match="401"):
            asyncio.run(Grafana(url).annotate("x", [], 0, 0))
    assert pushed.status == 0
    assert pushed.out.split() == [f"{url}/d/x"] * len(BOARDS)
    assert {body["dashboard"]["uid"] for path, _, body in got[: len(BOARDS)]} == {
        f"proofload-{board.name}" for board in BOARDS
    }
    assert all(body["overwrite"] and body["folderUid"] == "f1" for _, _, body in got[: len(BOARDS)])
    assert refused.status == 13
    assert "Unauthorized" in refused.err
    assert "wrong-one" not in refused.err
    marked = next(body for path, _, body in got if path == "/api/annotations")
    assert (marked["time"], marked["timeEnd"], marked["tags"]) == (1_000, 3_000, ["proofload"])


def test_export_writes_what_is_shipped(tmp_path: Path) -> None:
    done = proofload("grafana", "export", "boards", cwd=tmp_path)
    assert done.status == 0
    written = {place.stem: json.loads(place.read_text()) for place in (tmp_path / "boards").glob("*.json")}
    assert written == {f"proofload-{name}": content for name, content in shipped().items()}

"""What a run writes of itself, read back from a real Pushgateway and a real Prometheus."""

from __future__ import annotations

import asyncio
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from proofload.core.clock import SystemClock
from proofload.core.errors import ToolError
from proofload.demo.prometheus_stack import Stack, start_pushgateway
from proofload.drive.rows import DTYPE
from proofload.observe.prometheus import Prometheus, Series
from proofload.record.exchange import Ending, Fault
from proofload.telemetry.push import Page, Pushgateway
from proofload.telemetry.remote_write import RemoteWrite
from proofload.telemetry.run_metrics import MOST_OPERATIONS, RunMetrics, exposition

pytestmark = pytest.mark.xdist_group("monitoring")
MS = 1_000_000


def metrics(run: str = "r1") -> RunMetrics:
    made = RunMetrics(run, "shop", "0", ["TC-X-001"], SystemClock().now_ns)
    table = np.zeros(6, dtype=DTYPE)
    table["operation"] = [0, 0, 0, 1, 1, 1]
    table["ending"] = [Ending.ANSWERED + 1] * 5 + [Ending.UNKNOWN + 1]
    table["fault"] = [Fault.NONE] * 5 + [Fault.TIMEOUT]
    table["status"] = [200, 200, 429, 200, 503, 0]
    table["intended_ns"] = 0
    table["done_ns"] = [MS, 2 * MS, 30 * MS, 700 * MS, 20_000 * MS, -1]
    made.add_rows("TC-X-001", ["read", "write"], table)
    made.ended("TC-X-001", "FAIL")
    made.found("rl.over_admission", "FAIL")
    made.fault("order", "stop", held=True)
    return made


async def eventually(server: Prometheus, expression: str) -> tuple[Series, ...]:
    deadline = time.monotonic() + 30
    while not (found := await server.query(expression)):
        assert time.monotonic() < deadline, expression
        await asyncio.sleep(0.1)
    return found


def by(series: Sequence[Series], *labels: str) -> dict[tuple[str, ...], float]:
    return {tuple(one.labels[label] for label in labels): one.value for one in series}


@pytest.mark.parametrize("way", ["pushgateway", "remote_write"])
def test_a_real_prometheus_holds_what_was_written(stack: Stack, way: str) -> None:
    made, run = metrics(), f"by-{way}"
    server = Prometheus(stack.prometheus.url, SystemClock())
    sink = (
        Pushgateway(stack.pushgateway.url, run)
        if way == "pushgateway"
        else RemoteWrite(stack.prometheus.url + "/api/v1/write", run)
    )

    async def check() -> None:
        await sink.write(made.families(), time.time_ns())
        only = f'{{run="{run}",job="proofload"}}'
        assert by(await eventually(server, "proofload_requests_total" + only), "case", "operation", "status") == {
            ("TC-X-001", "read", "200"): 2,
            ("TC-X-001", "read", "429"): 1,
            ("TC-X-001", "write", "200"): 1,
            ("TC-X-001", "write", "503"): 1,
            ("TC-X-001", "write", "TIMEOUT"): 1,
        }
        buckets = by(await server.query("proofload_response_seconds_bucket" + only), "operation", "le")
        assert buckets[("read", "0.001")] == 1
        assert buckets[("read", "0.05")] == 3
        assert buckets[("write", "10" if ("write", "10") in buckets else "10.0")] == 1
        assert buckets[("write", "+Inf")] == 2
        (total,) = await server.query(f'proofload_response_seconds_sum{{run="{run}",operation="read"}}')
        assert total.value == pytest.approx(0.033)
        assert by(await server.query("proofload_verdict" + only), "case", "outcome") == {("TC-X-001", "FAIL"): 1}
        assert by(await server.query("proofload_fault" + only), "service", "kind") == {("order", "stop"): 1}

    asyncio.run(check())


def test_a_group_of_the_pushgateway_is_deleted_and_a_refusal_is_told(stack: Stack) -> None:
    gateway = Pushgateway(stack.pushgateway.url, "a/b run")

    def pushed() -> bytes:
        return bytes(urllib.request.urlopen(stack.pushgateway.url + "/metrics").read())

    async def run() -> None:
        await gateway.write(metrics().families(), 0)
        assert b'run="a/b run"' in await asyncio.to_thread(pushed)
        await gateway.delete()
        assert b'run="a/b run"' not in await asyncio.to_thread(pushed)
        # A Prometheus is no Pushgateway.
        with pytest.raises(ToolError, match=r"40[45]"):
            await Pushgateway(stack.prometheus.url, "x").write(metrics().families(), 0)
        with pytest.raises(ToolError, match=r"40[045]"):
            await RemoteWrite(stack.pushgateway.url + "/metrics/job/x", "x").write(metrics().families(), 1)

    asyncio.run(run())


def test_a_pushgateway_that_goes_away_is_an_error_of_ours_not_a_crash(tmp_path: Path) -> None:
    server = start_pushgateway(tmp_path)
    server.wait_until_ready()
    gateway = Pushgateway(server.url, "r")

    async def run() -> None:
        await gateway.write(metrics().families(), 0)
        server.stop()
        with pytest.raises(ToolError, match="refused"):
            await gateway.write(metrics().families(), 0)

    asyncio.run(run())


def test_the_page_of_the_runner_is_read_by_a_parser_of_others() -> None:
    async def run() -> str:
        made = metrics()
        async with Page("127.0.0.1:0", lambda: exposition(made.families())) as page:
            url = f"http://{page.address}/metrics"
            text: bytes = await asyncio.to_thread(lambda: urllib.request.urlopen(url).read())
            with pytest.raises(urllib.error.HTTPError, match="404"):
                await asyncio.to_thread(urllib.request.urlopen, f"http://{page.address}/")
            with pytest.raises(ToolError, match="can't be had"):
                await Page(page.address, lambda: b"").__aenter__()
            return text.decode()

    families = {family.name: family for family in text_string_to_metric_families(asyncio.run(run()))}
    assert {"proofload_requests", "proofload_response_seconds", "proofload_run_info"} <= families.keys()


def test_labels_stay_bounded_whatever_operations_are_called() -> None:
    made = RunMetrics("r", "shop", "0", [], SystemClock().now_ns)
    names = [f"op {i}" for i in range(500)]
    table = np.zeros(500, dtype=DTYPE)
    table["operation"] = np.arange(500)
    table["ending"] = Ending.ANSWERED + 1
    table["status"] = 200
    made.add_rows("c", names, table)
    requests = next(one for one in made.families() if one.name == "proofload_requests")
    assert len(requests.samples) == MOST_OPERATIONS + 1
    assert sum(one.value for one in requests.samples) == 500

"""The client of a real Prometheus: queries, and counters as of a scrape that surely came later."""

from __future__ import annotations

import asyncio
import time

import pytest

from proofload.core.clock import SystemClock
from proofload.demo.prometheus_stack import Stack
from proofload.judge.reconcile import difference
from proofload.observe.prometheus import Prometheus, PrometheusError
from proofload.observe.side_channel import UnreachableError
from proofload.plan.policies import MetricsPolicy
from proofload.record.ledger import Reading

from .conftest import Book

WHERE = {"service": "gateway"}
pytestmark = pytest.mark.xdist_group("monitoring")


async def fresh(server: Prometheus) -> Reading:
    return await server.fresh("http_requests_total", WHERE, source="prometheus", label="x")


def test_what_was_counted_before_the_question_is_in_the_reading(book: Book, stack: Stack) -> None:
    clock = SystemClock()
    server = Prometheus(stack.prometheus.url, clock)

    async def run() -> list[Reading]:
        book.count("200")
        readings = [await fresh(server)]
        for times in (7, 300, 1):
            book.count("200", times)
            book.count("429", 2)
            asked_ns = clock.now_ns()
            readings.append(await fresh(server))
            assert readings[-1].asked_ns >= asked_ns
        return readings

    readings = asyncio.run(run())
    assert not [one.error for one in readings if one.error]
    for earlier, later, times in zip(readings, readings[1:], (7, 300, 1), strict=False):
        diff = difference([earlier, later], MetricsPolicy(), WHERE)
        assert diff.increments == {("/x", "GET", "200"): times, ("/x", "GET", "429"): 2}
    whole = difference(readings, MetricsPolicy(), WHERE)
    assert whole.increments[("/x", "GET", "200")] == 308
    assert not whole.restarted
    assert not whole.resets


def test_a_process_that_started_anew_is_seen_between_two_readings(book: Book, stack: Stack) -> None:
    server = Prometheus(stack.prometheus.url, SystemClock())

    async def run() -> list[Reading]:
        book.count("500", 50)
        first = await fresh(server)
        book.requests.clear()
        book.started.set(2_000)
        book.count("500", 3)
        return [first, await fresh(server)]

    diff = difference(asyncio.run(run()), MetricsPolicy(), WHERE)
    assert diff.restarted
    assert diff.resets
    assert diff.increments[("/x", "GET", "500")] == 3


def test_every_other_question(book: Book, stack: Stack) -> None:
    server = Prometheus(stack.prometheus.url + "/", SystemClock())

    async def run() -> None:
        book.count("200")
        await fresh(server)
        assert (await server.query("1 + 1"))[0].value == 2
        now_s = time.time()
        (ranged,) = await server.query_range("vector(3)", now_s - 3, now_s, 1)
        assert [value for _, value in ranged.points] == [3] * 4
        assert any(one["status"] == "200" for one in await server.series("http_requests_total"))
        jobs = {one["labels"]["job"]: one["health"] for one in await server.targets()}
        assert jobs == {"gateway": "up", "pushgateway": "up"}
        (known,) = await server.metadata("http_requests_total")
        assert known["type"] == "counter"
        with pytest.raises(PrometheusError, match="parse error"):
            await server.query("sum(")

    asyncio.run(run())


def test_a_server_that_is_down_is_a_reading_that_says_so() -> None:
    server = Prometheus("http://user:secret@127.0.0.1:9", SystemClock())

    async def run() -> Reading:
        with pytest.raises(UnreachableError, match="refused"):
            await server.query("up")
        return await fresh(server)

    reading = asyncio.run(run())
    assert "refused" in reading.error
    assert "secret" not in reading.error
    assert not reading.samples

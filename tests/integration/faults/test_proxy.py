"""The fault proxy on real sockets: what a gateway sees of each fault, and what is counted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from proofload.core.clock import SystemClock
from proofload.faults.http_proxy.server import FaultProxy
from proofload.faults.journal import Journal
from proofload.faults.lease import Lease, Patience, lease
from proofload.faults.probes import Probe, answers, held_by
from proofload.faults.proxy import ProxyDriver
from proofload.record.fault_edge import spans

SECOND = 1_000_000_000


@dataclass
class Backend:
    """A service that echoes, chunked or not, and remembers what it got."""

    seen: list[tuple[bytes, bytes]] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n") if not reader.at_eof() else b"":
            line, *headers = head.split(b"\r\n")
            length = next((int(h[15:]) for h in headers if h.lower().startswith(b"content-length:")), 0)
            body = await reader.readexactly(length)
            self.seen.append((line, body))
            if b"/chunked" in line:
                writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
            elif line.startswith(b"HEAD"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n")
            elif b"/until-end" in line:
                writer.write(b"HTTP/1.1 200 OK\r\n\r\nto the end")
                writer.close()
                return
            else:
                writer.write(b"HTTP/1.1 201 Made\r\nX-Own: yes\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


@dataclass
class World:
    backend: Backend
    proxy: FaultProxy
    client: httpx.AsyncClient


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    backend = Backend()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await backend.serve(reader, writer)
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    proxy = FaultProxy(f"http://127.0.0.1:{port}")
    await proxy.start()
    transport = httpx.AsyncHTTPTransport(verify=False)
    try:
        async with (
            asyncio.timeout(60),
            httpx.AsyncClient(base_url=proxy.url, transport=transport, timeout=10) as client,
        ):
            yield World(backend, proxy, client)
    finally:
        await proxy.close()
        server.close()


def run(work: Callable[[World], Awaitable[Any]]) -> Any:
    async def inside() -> Any:
        async with world() as one:
            return await work(one)

    return asyncio.run(inside())


async def arrived(one: World, kind: str) -> None:
    """Wait until a fault has hit a request."""
    while not one.proxy.hits.of("/orders", kind):  # noqa: ASYNC110 -- a counter has no event; the world has a deadline
        await asyncio.sleep(0)


def hold(one: World, kind: str, journal: Path, held: Probe, **given: Any) -> Any:
    return lease(
        ProxyDriver(one.proxy.control, **given),
        kind,
        fault=kind,
        service="order",
        clock=SystemClock(),
        journal=Journal(journal),
        duration_ns=60 * SECOND,
        held=held,
        mended=answers(one.proxy.url + "/probe", statuses=(201,)),
        patience=Patience(held_ns=5 * SECOND),
        stays=kind != "fail_n",
    )


def test_without_a_fault_it_passes_everything_on() -> None:
    async def work(one: World) -> None:
        posted = await one.client.post("/orders?a=1", content=b"x" * 100_000)
        assert (posted.status_code, posted.headers["x-own"], posted.content) == (201, "yes", b"x" * 100_000)
        assert (await one.client.get("/chunked")).content == b"abc"
        assert (await one.client.head("/orders")).headers["content-length"] == "500"
        assert (await one.client.get("/until-end")).content == b"to the end"
        assert [line for line, _ in one.backend.seen] == [
            b"POST /orders?a=1 HTTP/1.1",
            b"GET /chunked HTTP/1.1",
            b"HEAD /orders HTTP/1.1",
            b"GET /until-end HTTP/1.1",
        ]
        assert one.proxy.hits.total == 4
        assert one.proxy.hits.of("/orders", "none") == 2

    run(work)


def test_a_status_fails_all_of_a_path_and_nothing_else(tmp_path: Path) -> None:
    async def work(one: World) -> Lease:
        probe = answers(one.proxy.url + "/orders", statuses=(503,))
        async with hold(one, "status", tmp_path, probe, path="/orders") as held:
            before = len(one.backend.seen)
            assert (await one.client.get("/orders/1")).status_code == 503
            assert len(one.backend.seen) == before
            assert (await one.client.get("/users")).status_code == 201
        assert (await one.client.get("/orders/1")).status_code == 201
        return held

    (span,) = spans(run(work).edges)
    assert (span.held, span.mended) == (True, True)


def test_fail_n_fails_exactly_n(tmp_path: Path) -> None:
    async def work(one: World) -> list[int]:
        probe = answers(one.proxy.control + "/faults")
        async with hold(one, "fail_n", tmp_path, probe, times=3, status=500) as held:
            statuses = [(await one.client.get("/orders")).status_code for _ in range(5)]
            assert held.proven
        return statuses

    assert run(work) == [500, 500, 500, 201, 201]


def test_a_delay_holds_back_and_lets_go_when_it_is_mended(tmp_path: Path) -> None:
    async def work(one: World) -> None:
        async with hold(one, "delay", tmp_path, held_by("delay", one.proxy.url), delay_ns=3_000 * SECOND):
            waiting = asyncio.create_task(one.client.get("/orders"))
            await arrived(one, "delay")
            assert all(b"/orders" not in line for line, _ in one.backend.seen)
        assert (await waiting).status_code == 201

    run(work)


@pytest.mark.parametrize("kind", ["reset", "black_hole"])
def test_a_connection_is_cut_or_left_waiting(tmp_path: Path, kind: str) -> None:
    async def work(one: World) -> Lease:
        async with hold(one, kind, tmp_path, held_by(kind, one.proxy.url)) as held:
            before = len(one.backend.seen)
            asked = asyncio.create_task(one.client.get("/orders"))
            await arrived(one, kind)
            if kind == "reset":
                with pytest.raises(httpx.ReadError):
                    await asked
            assert len(one.backend.seen) == before
        if kind == "black_hole":
            with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
                await asked
        assert (await one.client.get("/orders")).status_code == 201
        return held

    evidence = run(work).edges[1].evidence
    assert ("no answer" if kind == "black_hole" else "connection lost") in evidence


def test_a_service_that_is_not_there_is_a_connection_cut() -> None:
    async def work(one: World) -> None:
        one.proxy.upstream = "http://127.0.0.1:1"
        with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
            await one.client.get("/")

    run(work)


def test_hits_are_told_as_json_and_as_metrics() -> None:
    async def work(one: World) -> None:
        for path in ("/a", "/a", '/"b"'):
            await one.client.get(path)
        async with httpx.AsyncClient(base_url=one.proxy.control) as control:
            told = (await control.get("/hits")).json()
            assert told["total"] == 3
            assert {"method": "GET", "path": "/a", "fault": "none", "count": 2} in told["hits"]
            page = (await control.get("/metrics")).text
        from proofload.observe.metrics import parse_metrics

        samples = [(sample.name, sample.labels["path"], sample.value) for sample in parse_metrics(page)]
        assert ("http_requests_total", "/a", 2.0) in samples

    run(work)


@pytest.mark.parametrize(
    "rule", ["", "[]", "{}", '{"kind": "melt"}', '{"kind": "status", "status": 99}', '{"kind": "delay", "times": "5"}']
)
def test_a_rule_that_makes_no_sense_is_refused(rule: str) -> None:
    async def work(one: World) -> None:
        async with httpx.AsyncClient(base_url=one.proxy.control) as control:
            answer = await control.put("/faults/x", content=rule)
            assert answer.status_code == 400, answer.text
            assert (await control.get("/faults")).json() == {}

    run(work)


def test_what_is_no_http_hurts_nobody_else() -> None:
    async def work(one: World) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(one.proxy.url.rpartition(":")[2]))
        writer.write(b"\0\xff not http\r\n\r\n")
        try:
            assert await reader.read() == b""
        except ConnectionResetError:
            pass
        finally:
            writer.close()
        assert (await one.client.get("/orders")).status_code == 201

    run(work)


def test_it_runs_as_a_process_that_ends_with_its_owner() -> None:
    async def work(one: World) -> None:
        import sys

        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "proofload.faults.http_proxy", "--end-with-stdin", stdin=-1, stdout=-1
        )
        assert process.stdin is not None
        assert process.stdout is not None
        told = json.loads(await process.stdout.readline())
        async with httpx.AsyncClient() as client:
            assert (await client.get(told["url"])).status_code == 502
            await client.put(told["control"] + "/upstream", json={"url": one.proxy.upstream})
            assert (await client.get(told["url"])).status_code == 201
        process.stdin.close()
        assert await process.wait() == 0

    run(work)

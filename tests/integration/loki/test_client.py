"""Pushing that loses nothing silently, and reading over more pages than one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.asyncio.server import serve

from proofload.core.clock import SystemClock
from proofload.observe.loki import Line, Loki, LokiError
from proofload.observe.side_channel import UnreachableError

from .stand_in import OLDEST_NS, LokiStandIn

LABELS = {"app": "gateway"}
QUERY = '{app="gateway"}'


@pytest.fixture
def server() -> Iterator[LokiStandIn]:
    one = LokiStandIn()
    yield one
    one.close()


def client(server: LokiStandIn, **options: Any) -> Loki:
    return Loki(server.url, SystemClock(), waits_s=(0.01, 0.01, 0.01), **options)


def lines(server: LokiStandIn, count: int, same_instant: int = 1) -> list[Line]:
    begin = server.now_ns() - 1_000_000_000
    return [Line(LABELS, begin + i // same_instant, f"line {i}") for i in range(count)]


@pytest.mark.parametrize(("page", "same"), [(1_000, 1), (7, 1), (7, 3), (3, 3), (4, 9), (100, 250)])
def test_every_line_is_read_once_whatever_the_pages(server: LokiStandIn, page: int, same: int) -> None:
    sent = lines(server, 500, same)
    loki = client(server, page=page)

    async def run() -> tuple[Line, ...]:
        await loki.push(sent)
        return await loki.query_range(QUERY, sent[0].at_ns, sent[-1].at_ns + 1)

    found = asyncio.run(run())
    assert sorted(one.text for one in found) == sorted(one.text for one in sent)
    assert loki.pushed.taken == 500


def test_a_limit_below_ours_is_kept_to(server: LokiStandIn) -> None:
    sent = lines(server, 5_200)
    loki = client(server, page=50_000)

    async def run() -> int:
        await loki.push(sent)
        return len(await loki.query_range(QUERY, 0, server.now_ns() + 1))

    assert asyncio.run(run()) == 5_200


def test_more_lines_at_one_instant_than_any_page_holds_can_not_be_told(server: LokiStandIn) -> None:
    loki = client(server)

    async def run() -> None:
        await loki.push(lines(server, 5_100, 10_000))
        with pytest.raises(LokiError, match="at the one instant"):
            await loki.query_range(QUERY, 0, server.now_ns() + 1)

    asyncio.run(run())


def test_flooding_is_tried_again_and_what_stays_refused_is_kept(server: LokiStandIn) -> None:
    server.statuses = [429, 503]
    loki = client(server)
    pushed = asyncio.run(loki.push(lines(server, 10)))
    assert (pushed.taken, pushed.refused, pushed.retries) == (10, 0, 2)
    server.statuses = [429] * 4
    pushed = asyncio.run(loki.push(lines(server, 3)))
    assert (pushed.taken, pushed.refused) == (10, 3)
    assert {one.why[:3] for one in pushed.kept} == {"429"}


def test_one_bad_line_does_not_take_the_good_ones_with_it(server: LokiStandIn) -> None:
    good = lines(server, 20)
    ancient = Line(LABELS, server.now_ns() - 2 * OLDEST_NS, "ancient")
    long = Line(LABELS, server.now_ns(), "x" * 300_000)
    loki = client(server)

    async def run() -> set[str]:
        await loki.push([*good[:7], ancient, *good[7:], long])
        return {one.text for one in await loki.query_range(QUERY, 0, server.now_ns() + 1)}

    assert asyncio.run(run()) == {one.text for one in good}
    assert [one.line for one in loki.pushed.kept] == [ancient, long]
    assert "too old" in loki.pushed.kept[0].why
    assert "Max entry size" in loki.pushed.kept[1].why
    assert loki.pushed.taken == 20


def test_a_server_that_is_gone_raises_when_read_and_keeps_what_was_pushed() -> None:
    loki = Loki("http://127.0.0.1:9", SystemClock(), waits_s=(0.01,))

    async def run() -> None:
        with pytest.raises(UnreachableError):
            await loki.labels(0, 1)
        with pytest.raises(UnreachableError):
            async for _ in loki.tail(QUERY, 0):
                pass
        assert (await loki.push([Line(LABELS, 1, "kept")])).kept[0].line.text == "kept"

    asyncio.run(run())


def test_the_tail_yields_lines_and_says_when_some_were_dropped() -> None:
    asked: list[str] = []

    async def answer(socket: Any) -> None:
        asked.append(socket.request.path)
        stream = {"stream": LABELS, "values": [["1", "a"], ["2", "b"]]}
        await socket.send(json.dumps({"streams": [stream]}))
        await socket.send(json.dumps({"streams": None, "dropped_entries": [{"labels": LABELS, "timestamp": "3"}]}))

    async def run() -> list[str]:
        found: list[str] = []
        async with serve(answer, "127.0.0.1", 0) as running:
            port = next(iter(running.sockets)).getsockname()[1]
            tail = Loki(f"http://127.0.0.1:{port}", SystemClock()).tail(QUERY, 7)
            found += [(await anext(tail)).text, (await anext(tail)).text]
            with pytest.raises(LokiError, match="1 lines were dropped"):
                await anext(tail)
        return found

    assert asyncio.run(run()) == ["a", "b"]
    assert asked == ["/loki/api/v1/tail?query=%7Bapp%3D%22gateway%22%7D&start=7"]

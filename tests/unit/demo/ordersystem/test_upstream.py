"""The gateway's client against servers that misbehave."""

from __future__ import annotations

import asyncio

import pytest

from proofload.demo.ordersystem.common.upstream import HttpUpstream, UpstreamError, UpstreamTimeoutError

WHOLE = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


def talk(*answers: bytes, method="GET", times=1, hang_up=False, timeout_s=0.3):
    """What `times` requests bring when the server says these bytes, piece by piece, and the requests it saw."""
    seen: list[bytes] = []
    connections = 0

    async def serve(reader, writer):
        nonlocal connections
        connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                seen.append(head)
                for piece in answers:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0)
                if hang_up:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def run():
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        upstream = HttpUpstream(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", 1.0, timeout_s, keep=4)
        results = []
        try:
            for _ in range(times):
                try:
                    results.append(await upstream.send(method, b"/x", [(b"a", b"b")], b""))
                except UpstreamError as error:
                    results.append(error)
        finally:
            await upstream.close()
            server.close()
        return results

    results = asyncio.run(run())
    return results, seen, connections


def test_a_connection_is_kept():
    results, seen, connections = talk(WHOLE, times=3)
    assert [(r.status, r.body) for r in results] == [(200, b"{}")] * 3
    assert connections == 1
    assert seen[0].startswith(b"GET /x HTTP/1.1\r\nhost: 127.0.0.1:")


@pytest.mark.parametrize(
    ("answers", "body"),
    [
        ([WHOLE[:5], WHOLE[5:30], WHOLE[30:]], b"{}"),
        ([b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n", b"3\r\nabc\r\n0\r\n\r\n"], b"{}abc"),
        ([b"HTTP/1.1 100 Continue\r\n\r\n", WHOLE], b"{}"),
        ([b"HTTP/1.1 204 No Content\r\n\r\n"], b""),
    ],
)
def test_every_form_of_a_whole_answer(answers, body):
    results, _, _ = talk(*answers)
    assert results[0].body == body


def test_a_body_that_ends_with_the_connection():
    results, _, connections = talk(b"HTTP/1.1 200 OK\r\n\r\nuntil the end", hang_up=True, times=2)
    assert [r.body for r in results] == [b"until the end"] * 2
    assert connections == 2


def test_head_has_no_body_and_its_connection_is_not_reused():
    results, _, connections = talk(b"HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n", method="HEAD", times=2)
    assert [r.status for r in results] == [200, 200]
    assert connections == 2


@pytest.mark.parametrize(
    "answers",
    [[b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf"], [b""], [b"no HTTP at all\r\n\r\n"], [b"HTTP/1.1 2"]],
)
def test_what_is_no_whole_answer_is_an_error_that_may_have_had_its_effect(answers):
    results, _, _ = talk(*answers, hang_up=True)
    assert isinstance(results[0], UpstreamError)
    assert results[0].was_sent


def test_silence_is_a_timeout():
    results, _, _ = talk(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf", timeout_s=0.05)
    assert isinstance(results[0], UpstreamTimeoutError)


def test_bytes_after_an_answer_are_not_taken_for_the_next():
    results, _, connections = talk(WHOLE + WHOLE, times=2)
    assert all(r.status == 200 for r in results if not isinstance(r, UpstreamError))
    assert connections == 2 or isinstance(results[1], UpstreamError)


def test_nobody_there_was_certainly_not_sent():
    async def run():
        with pytest.raises(UpstreamError) as caught:
            await HttpUpstream("http://127.0.0.1:1", 1.0, 1.0, keep=1).send("GET", b"/", [], b"")
        return caught.value.was_sent

    assert asyncio.run(run()) is False

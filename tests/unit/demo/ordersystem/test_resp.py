"""The Redis connection's parser, on any cut of any answer."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofload.demo.ordersystem.common.errors import StoreDownError
from proofload.demo.ordersystem.common.resp import RedisConnection, ReplyError, _Line, encode

VALUES = st.recursive(
    st.none() | st.integers(-(2**63), 2**63 - 1) | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=8,
)


def serialised(value) -> bytes:
    if value is None:
        return b"$-1\r\n"
    if isinstance(value, int):
        return b":%d\r\n" % value
    if isinstance(value, bytes):
        return b"$%d\r\n%b\r\n" % (len(value), value)
    return b"*%d\r\n" % len(value) + b"".join(map(serialised, value))


@given(values=st.lists(VALUES, min_size=1, max_size=5), cuts=st.lists(st.integers(0, 400), max_size=8))
def test_any_fragmentation_of_answers_gives_the_values_in_order(values, cuts):
    async def run():
        loop = asyncio.get_running_loop()
        line = _Line()
        line.transport = type("Sink", (), {"write": lambda *_: None})()
        waiters = [loop.create_future() for _ in values]
        for waiter in waiters:
            line.send(b"", waiter)
        data = b"".join(map(serialised, values))
        edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
        for begin, end in itertools.pairwise(edges):
            line.data_received(data[begin:end])
        return [waiter.result() for waiter in waiters]

    assert asyncio.run(run()) == values


def test_commands_are_framed_by_bytes():
    assert encode(("SET", "ä", 7, b"\r\n")) == b"*4\r\n$3\r\nSET\r\n$2\r\n\xc3\xa4\r\n$1\r\n7\r\n$2\r\n\r\n\r\n"


def against(serve, call):
    async def run():
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        connection = RedisConnection(f"redis://:p%40ss@127.0.0.1:{server.sockets[0].getsockname()[1]}/3", 0.2)
        try:
            return await call(connection)
        finally:
            await connection.close()
            server.close()

    return asyncio.run(run())


async def _greeted(reader, writer, answer: bytes, commands: list[bytes]):
    try:
        for reply in (b"+OK\r\n", b"+OK\r\n", answer):
            commands.append(await reader.read(1000))
            writer.write(reply)
        await reader.read()
    finally:
        writer.close()


def test_password_and_database_are_sent_first_and_errors_are_raised():
    commands: list[bytes] = []

    async def call(connection):
        with pytest.raises(ReplyError, match="wrong kind"):
            await connection.call("GET", "key")

    against(lambda r, w: _greeted(r, w, b"-WRONGTYPE wrong kind\r\n", commands), call)
    assert [command.split(b"\r\n")[2::2] for command in commands] == [
        [b"AUTH", b"p@ss"],
        [b"SELECT", b"3"],
        [b"GET", b"key"],
    ]


def test_silence_ends_in_an_error_for_all_that_wait():
    async def call(connection):
        results = await asyncio.gather(*(connection.call("GET", "k") for _ in range(3)), return_exceptions=True)
        assert all(isinstance(result, StoreDownError) for result in results)

    against(lambda r, w: _greeted(r, w, b"", []), call)

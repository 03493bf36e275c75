"""Raw socket servers that do everything wrong, one thing at a time: each request still ends in one true row."""

import asyncio
import socket
import struct
import time
from collections.abc import Awaitable, Callable

import pytest
import uvloop

from proofload.drive.engine import Engine
from proofload.drive.http.endpoint import Endpoint
from proofload.drive.user import Answer, User
from proofload.plan.operation import Operation
from proofload.plan.workload import Sequence
from proofload.record.exchange import NEVER_NS, Ending, Exchange, Fault

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood"
Misdeed = Callable[[asyncio.StreamWriter], Awaitable[None]]


def sends(*pieces: bytes, then: str = "") -> Misdeed:
    """Write the pieces one by one, then `close`, `reset` or keep quiet."""

    async def act(writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.002)
        if then == "close":
            writer.close()
        elif then == "reset":
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()

    return act


def exchange_twice(
    misdeed: Misdeed, method: str = "GET", *, parts: bool = False
) -> tuple[list[Exchange], list[Answer], int]:
    """Send a request that meets the misdeed, then one that meets a good server; return rows, answers, connections.

    `parts`: the misdeed makes client and server part, and the second request waits for it.
    """

    async def main() -> tuple[list[Exchange], list[Answer], int]:
        requests = connections = 0

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal requests, connections
            connections += 1
            try:
                while True:
                    await reader.readuntil(b"\r\n\r\n")
                    requests += 1
                    if requests == 1:
                        await misdeed(writer)
                    else:
                        writer.write(GOOD)
            except (asyncio.IncompleteReadError, ConnectionError):
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        answers: list[Answer] = []

        async def script(user: User) -> None:
            answers.append(await user.request("first"))
            # What follows the answer takes its time to come in, and must have come before the next request.
            deadline_ns = time.perf_counter_ns() + 10_000_000_000
            while parts and user.connection is not None and time.perf_counter_ns() < deadline_ns:
                await user.pause(0.002)
            answers.append(await user.get("/second"))

        endpoint = Endpoint.of(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        first = Operation.model_validate({"path": "/first", "method": method, "timeout": "500ms"})
        engine = Engine(endpoint, {"first": first}, max_body_bytes=10_000, max_head_bytes=10_000)
        await engine.run(Sequence(name="w", run=script, n=1))
        assert engine.delivery().user_errors == ()
        server.close()
        await server.wait_closed()
        return list(engine.history()), answers, connections

    return uvloop.run(main())


@pytest.mark.parametrize(
    ("misdeed", "status", "body", "connections"),
    [
        pytest.param(sends(GOOD), 200, b"good", 1, id="nothing"),
        pytest.param(sends(*(GOOD[i : i + 1] for i in range(len(GOOD)))), 200, b"good", 1, id="byte by byte"),
        pytest.param(
            sends(CHUNKED, b"2\r\nab\r\n3;x=", b"y\r\ncde\r\n0\r\nT: 1\r\n\r\n"),
            200,
            b"abcde",
            1,
            id="chunked with extension and trailer",
        ),
        pytest.param(sends(b"HTTP/1.1 100 Continue\r\n\r\n", GOOD), 200, b"good", 1, id="interim"),
        pytest.param(
            sends(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + GOOD), 200, b"good", 1, id="early hints"
        ),
        pytest.param(sends(b"HTTP/1.1 204 No Content\r\n\r\n"), 204, b"", 1, id="204"),
        pytest.param(
            sends(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n"), 304, b"", 1, id="304 with a length"
        ),
        pytest.param(sends(OK + b"\r\nabc", b"def", then="close"), 200, b"abcdef", 2, id="until close"),
        pytest.param(sends(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"), 200, b"ok", 2, id="HTTP/1.0"),
        pytest.param(
            sends(OK + b"Connection: close\r\nContent-Length: 2\r\n\r\nok"),
            200,
            b"ok",
            2,
            id="says close, stays",
        ),
        pytest.param(sends(GOOD, then="close"), 200, b"good", 2, id="says nothing, closes"),
        pytest.param(sends(GOOD, then="reset"), 200, b"good", 2, id="answers, resets"),
        pytest.param(sends(GOOD + b"HTTP/1.1 500 Never asked\r\n\r\n"), 200, b"good", 2, id="pipelined garbage"),
        pytest.param(sends(GOOD, b"surplus"), 200, b"good", 2, id="garbage while idle"),
        pytest.param(sends(OK + b"Content-Length: 9000\r\n\r\n" + b"x" * 9_000), 200, b"x" * 9_000, 1, id="9 kB"),
    ],
)
def test_answers_that_are_whole(misdeed: Misdeed, status: int, body: bytes, connections: int) -> None:
    rows, answers, opened = exchange_twice(misdeed, parts=connections == 2)
    assert (answers[0].status, answers[0].body) == (status, body)
    assert (rows[0].ending, rows[0].fault, rows[0].status) == (Ending.ANSWERED, Fault.NONE, status)
    assert rows[0].sent_ns <= rows[0].first_byte_ns <= rows[0].done_ns
    assert (answers[1].status, answers[1].body) == (200, b"good")
    assert opened == connections


@pytest.mark.parametrize(
    ("misdeed", "fault"),
    [
        pytest.param(sends(then="close"), Fault.CLOSED, id="closes unanswered"),
        pytest.param(sends(then="reset"), Fault.RESET, id="resets unanswered"),
        pytest.param(sends(), Fault.TIMEOUT, id="keeps quiet"),
        pytest.param(sends(OK + b"Content-Le"), Fault.TIMEOUT, id="falls silent in the head"),
        pytest.param(sends(OK + b"Content-Length: 9\r\n\r\nabc"), Fault.TIMEOUT, id="falls silent in the body"),
        pytest.param(sends(OK + b"Conte", then="close"), Fault.CLOSED, id="closes in the head"),
        pytest.param(sends(OK + b"Content-Length: 9\r\n\r\nabc", then="close"), Fault.CLOSED, id="truncates"),
        pytest.param(
            sends(CHUNKED + b"5\r\nab", then="close"),
            Fault.CLOSED,
            id="truncates a chunk",
        ),
        pytest.param(sends(OK + b"\r\nabc", then="reset"), Fault.RESET, id="until close, but resets"),
        pytest.param(sends(OK + b"Content-Length: 9\r\n\r\nabc", then="reset"), Fault.RESET, id="resets in the body"),
        pytest.param(sends(b"220 mail.test ESMTP\r\n"), Fault.BAD_RESPONSE, id="speaks SMTP"),
        pytest.param(sends(b"HTTP/1.1 abc\r\n\r\n"), Fault.BAD_RESPONSE, id="no status"),
        pytest.param(sends(b"HTTP/1.1 101 Switch\r\nUpgrade: x\r\n\r\n"), Fault.BAD_RESPONSE, id="switches protocols"),
        pytest.param(
            sends(OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
            Fault.BAD_RESPONSE,
            id="two lengths",
        ),
        pytest.param(sends(OK + b"Content-Length: -1\r\n\r\n"), Fault.BAD_RESPONSE, id="negative length"),
        pytest.param(
            sends(CHUNKED + b"xyz\r\n"),
            Fault.BAD_RESPONSE,
            id="no chunk size",
        ),
        pytest.param(sends(OK + b"X: " + b"y" * 20_000), Fault.TOO_LARGE, id="endless head"),
        pytest.param(
            sends(OK + b"Content-Length: 20000\r\n\r\n" + b"y" * 20_000),
            Fault.TOO_LARGE,
            id="huge body",
        ),
    ],
)
def test_answers_that_are_not(misdeed: Misdeed, fault: Fault) -> None:
    rows, answers, opened = exchange_twice(misdeed)
    assert (rows[0].ending, rows[0].fault, rows[0].status) == (Ending.UNKNOWN, fault, 0)
    assert (answers[0].ending, answers[0].fault, answers[0].status, answers[0].ok) == (Ending.UNKNOWN, fault, 0, False)
    assert rows[0].sent_ns <= rows[0].done_ns
    assert (answers[1].status, opened) == (200, 2)


def test_a_head_request_gets_no_body() -> None:
    rows, answers, opened = exchange_twice(sends(OK + b"Content-Length: 400\r\n\r\n"), method="HEAD")
    assert (answers[0].status, answers[0].body, opened) == (200, b"", 1)
    assert rows[0].ending is Ending.ANSWERED


def _one_request(endpoint: Endpoint, source: str = "") -> Exchange:
    async def main() -> Exchange:
        operation = Operation.model_validate({"path": "/", "timeout": "200ms"})
        engine = Engine(endpoint, {"read": operation})
        await engine.run(Sequence(name="w", run="read", n=1, sources=(source,) if source else ()))
        (row,) = engine.history()
        return row

    return uvloop.run(main())


def test_a_refused_connection_is_a_row_that_was_not_sent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    row = _one_request(Endpoint.of(f"http://127.0.0.1:{port}"))
    assert (row.ending, row.fault, row.sent_ns, row.first_byte_ns) == (
        Ending.NOT_SENT, Fault.CONNECT_REFUSED, NEVER_NS, NEVER_NS,
    )  # fmt: skip
    assert row.done_ns > row.intended_ns


def test_a_connection_that_is_never_accepted_times_out_and_was_not_sent() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        address = server.getsockname()
        # A full backlog: the kernel lets further handshakes hang.
        queue = [socket.socket() for _ in range(4)]
        for one in queue:
            one.setblocking(False)
            one.connect_ex(address)
        row = _one_request(Endpoint.of(f"http://127.0.0.1:{address[1]}"))
        for one in queue:
            one.close()
    assert (row.ending, row.fault) == (Ending.NOT_SENT, Fault.CONNECT_TIMEOUT)


def test_a_source_address_that_is_not_ours_fails_to_connect() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        endpoint = Endpoint.of(f"http://127.0.0.1:{server.getsockname()[1]}")
        row = _one_request(endpoint, source="192.0.2.7")
    assert (row.ending, row.fault) == (Ending.NOT_SENT, Fault.NO_LOCAL_ADDRESS)


def test_plain_http_behind_an_https_address_is_a_tls_failure() -> None:
    async def main() -> Exchange:
        async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        engine = Engine(Endpoint.of(f"https://127.0.0.1:{port}"))
        await engine.run(Sequence(name="w", run="/", n=1))
        server.close()
        await server.wait_closed()
        (row,) = engine.history()
        return row

    row = uvloop.run(main())
    assert (row.ending, row.fault) == (Ending.NOT_SENT, Fault.TLS_FAILED)

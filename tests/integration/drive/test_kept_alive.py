"""Kept-alive connections that a server closes as the next request comes: no error of the target's."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import uvloop

from proofload.drive.engine import Engine
from proofload.drive.http.endpoint import Endpoint
from proofload.drive.user import User
from proofload.plan.operation import Operation
from proofload.plan.workload import PerUserIterations, Sequence
from proofload.record.exchange import NEVER_NS, Ending, Exchange, Fault

GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood"
Deed = Callable[[Any, int], None]


class Answers(asyncio.Protocol):
    """Answers the first request of a connection; with each later one it does as told."""

    def __init__(self, later: Deed) -> None:
        self.later = later
        self.requests = 0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.requests += 1
        if self.requests == 1:
            self.transport.write(GOOD[:-4] if data.startswith(b"HEAD") else GOOD)
        else:
            self.later(self.transport, self.requests)


def closes(transport: Any, _number: int) -> None:
    transport.close()


def resets(transport: Any, _number: int) -> None:
    transport.abort()


def begins_and_closes(transport: Any, _number: int) -> None:
    transport.write(GOOD[:10])
    transport.close()


def works_and_dies(transport: Any, _number: int) -> None:
    asyncio.get_running_loop().call_later(0.4, transport.close)


def rows_of(method: str, later: Deed, *, stop_listening: bool = False) -> list[Exchange]:
    """Send two requests over one connection to a server that answers the first."""

    async def main() -> list[Exchange]:
        loop = asyncio.get_running_loop()

        def deed(transport: Any, number: int) -> None:
            if stop_listening:
                server.close()
            later(transport, number)

        server = await loop.create_server(lambda: Answers(deed), "127.0.0.1", 0)
        operation = Operation.model_validate({"path": "/", "method": method})
        engine = Engine(Endpoint.of(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"), {"read": operation})

        async def script(user: User) -> None:
            await user.request("read")
            await user.request("read")

        await engine.run(Sequence(name="w", run=script, n=1))
        assert engine.delivery().user_errors == ()
        server.close()
        # A turn or two of the loop for the server's own ends.
        await asyncio.sleep(0.01)
        return list(engine.history())

    return uvloop.run(main())


@pytest.mark.parametrize("later", [closes, resets])
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
def test_a_request_that_may_be_repeated_is_sent_again(method: str, later: Deed) -> None:
    first, second = rows_of(method, later)
    assert (second.ending, second.fault, second.status) == (Ending.ANSWERED, Fault.NONE, 200)
    assert second.connection != first.connection
    assert first.done_ns <= second.sent_ns <= second.first_byte_ns <= second.done_ns
    assert second.intended_ns <= second.sent_ns


@pytest.mark.parametrize("later", [closes, resets])
def test_a_post_on_a_closed_connection_is_no_error_of_the_target(later: Deed) -> None:
    _, second = rows_of("POST", later)
    assert (second.ending, second.fault) == (Ending.UNKNOWN, Fault.REUSED_CONNECTION_CLOSED)


@pytest.mark.parametrize(
    ("later", "fault"),
    [
        pytest.param(begins_and_closes, Fault.CLOSED, id="an answer had begun"),
        pytest.param(works_and_dies, Fault.CLOSED, id="the server had the request"),
    ],
)
def test_a_request_that_the_server_had_is_not_sent_again(later: Deed, fault: Fault) -> None:
    _, second = rows_of("GET", later)
    assert (second.ending, second.fault) == (Ending.UNKNOWN, fault)


def test_a_second_attempt_that_finds_nobody_may_still_have_had_its_effect() -> None:
    first, second = rows_of("GET", closes, stop_listening=True)
    assert (second.ending, second.fault) == (Ending.UNKNOWN, Fault.CONNECT_REFUSED)
    assert first.done_ns <= second.sent_ns != NEVER_NS


class Impatient(asyncio.Protocol):
    """Answers at once, and closes a connection that was idle for 50 ms, as many servers do after 5 s."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(GOOD)
        asyncio.get_running_loop().call_later(0.05, self.transport.close)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_users_that_pause_as_long_as_the_server_keeps_connections_meet_no_error(method: str) -> None:
    async def main() -> list[Exchange]:
        server = await asyncio.get_running_loop().create_server(Impatient, "127.0.0.1", 0)
        operation = Operation.model_validate({"path": "/", "method": method})
        engine = Engine(Endpoint.of(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"), {"read": operation})

        async def script(user: User) -> None:
            await user.request("read")
            await user.pause(0.05)

        await engine.run(PerUserIterations(name="w", run=script, users=10, iterations=20))
        server.close()
        # A turn or two of the loop for the server's own ends.
        await asyncio.sleep(0.01)
        return list(engine.history())

    rows = uvloop.run(main())
    assert len(rows) == 200
    lost = [row for row in rows if row.ending is not Ending.ANSWERED]
    if method == "GET":
        assert lost == []
    assert {row.fault for row in lost} <= {Fault.REUSED_CONNECTION_CLOSED}
